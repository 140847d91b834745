package mime

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A Message is a message to be written. The zero value of every field leaves something out or
// lets the builder choose; From alone is required (RFC 5322 §3.6). A Message may be written
// again if none of its readers was used up. It is not safe for concurrent use.
type Message struct {
	From, Sender, ReplyTo, To, Cc Addresses
	Subject                       string
	// Date is written with its zone. Zero means the time of writing.
	Date time.Time
	// MessageID is without angle brackets. "" means a random one in the domain of From.
	MessageID string
	// InReplyTo and References are ids without angle brackets.
	InReplyTo, References []string
	// Fields come after these, in their order: List-Unsubscribe, Auto-Submitted, ... Names that
	// the builder writes are refused.
	Fields []Field

	// Text and HTML are alternatives of one another.
	Text, HTML string
	// Inline are files that HTML shows by their ContentID.
	Inline []File
	// Attachments are files beside the text.
	Attachments []File
	// Body takes the place of Text, HTML, Inline and Attachments where it is set.
	Body *Entity

	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rand makes boundaries and ids; nil means crypto/rand.
	Rand io.Reader
}

// A File is an attachment or inline image. One of Body and Message is set.
type File struct {
	Name      string
	Type      string // such as "image/png"; "" means application/octet-stream
	ContentID string // without angle brackets; for Inline
	Body      io.Reader
	Message   Content // an embedded message instead of Body
}

// WriteTo writes the message with CRLF line ends. All header values are checked before the
// first octet is written: the error is a *ValueError that names the value, or what a reader or
// w returned.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	b := builder{rand: m.Rand}
	body, err := b.prepare(m.tree())
	if err != nil {
		return 0, err
	}
	head, err := m.head()
	if err != nil {
		return 0, err
	}
	cw := &countingWriter{w: w}
	if _, err := io.WriteString(cw, head+"MIME-Version: 1.0\r\n"+body.header+"\r\n"); err != nil {
		return cw.n, err
	}
	err = body.write(cw)
	if err == nil && cw.last != '\n' {
		_, err = io.WriteString(cw, "\r\n")
	}
	return cw.n, err
}

// head writes the fields of the message itself.
func (m *Message) head() (string, error) {
	var h fieldWriter
	date := m.Date
	if date.IsZero() {
		date = m.now()
	}
	if date.Year() < 1900 || date.Year() > 9999 {
		return "", &ValueError{What: "Date", Reason: "year out of range"}
	}
	h.add("Date", FormatDate(date))
	if len(m.From) == 0 {
		return "", &ValueError{What: "From", Reason: "missing"}
	}
	h.addresses("From", m.From)
	h.addresses("Sender", m.Sender)
	h.addresses("Reply-To", m.ReplyTo)
	h.addresses("To", m.To)
	h.addresses("Cc", m.Cc)
	id, err := m.id()
	if err != nil {
		return "", err
	}
	h.ids("Message-ID", []string{id})
	h.ids("In-Reply-To", m.InReplyTo)
	h.ids("References", m.References)
	if m.Subject != "" {
		h.text("Subject", m.Subject)
	}
	for _, f := range m.Fields {
		if id := interpreted([]byte(f.Name())); id < envelopeFields && id != fieldBcc {
			return "", &ValueError{What: f.Name(), Reason: "is written by the builder"}
		}
	}
	h.fields(m.Fields)
	return h.b.String(), h.err
}

func (m *Message) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

func (w *fieldWriter) addresses(name string, as Addresses) {
	if len(as) == 0 {
		return
	}
	s, err := FormatAddresses(as)
	if err != nil {
		w.fail(fmt.Errorf("%s: %w", name, err))
		return
	}
	w.add(name, s)
}

func (w *fieldWriter) ids(name string, ids []string) {
	if len(ids) == 0 {
		return
	}
	s, err := FormatMessageIDs(ids...)
	if err != nil {
		w.fail(fmt.Errorf("%s: %w", name, err))
		return
	}
	w.add(name, s)
}

// id returns the caller's message id or a random one (RFC 5322 §3.6.4).
func (m *Message) id() (string, error) {
	if m.MessageID != "" {
		return m.MessageID, nil
	}
	domain := ""
	for a := range m.From.Mailboxes() {
		domain = a.Domain
		break
	}
	return NewMessageID(domain, m.Rand)
}

// NewMessageID returns a random message id without angle brackets, in the domain, "" meaning
// the name of this machine. random nil means crypto/rand.
func NewMessageID(domain string, random io.Reader) (string, error) {
	if random == nil {
		random = rand.Reader
	}
	if domain == "" || strings.HasPrefix(domain, "[") {
		domain = "localhost"
		if host, err := os.Hostname(); err == nil && isDotAtom(host) {
			domain = host
		}
	}
	var raw [16]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return "", fmt.Errorf("mime: random message id: %w", err)
	}
	return hex.EncodeToString(raw[:]) + "@" + domain, nil
}

// tree nests what there is: mixed(related(alternative(text, html), inline...), attachments...).
func (m *Message) tree() *Entity {
	if m.Body != nil {
		return m.Body
	}
	var text []*Entity
	if m.Text != "" || m.HTML == "" {
		text = append(text, &Entity{Text: m.Text})
	}
	if m.HTML != "" {
		html := &Entity{Type: ContentType{Type: "text", Subtype: "html"}, Text: m.HTML}
		if len(m.Inline) > 0 {
			html = multipart("related", append([]*Entity{html}, files(m.Inline, "inline")...)...)
			html.Type.Params = Params{{"type", "text/html"}} // RFC 2387 §3.1
		}
		text = append(text, html)
	}
	root := text[0]
	if len(text) > 1 {
		root = multipart("alternative", text...)
	}
	attached := files(m.Attachments, "attachment")
	if m.HTML == "" {
		attached = append(files(m.Inline, "inline"), attached...)
	}
	if len(attached) > 0 {
		root = multipart("mixed", append([]*Entity{root}, attached...)...)
	}
	return root
}

func multipart(subtype string, parts ...*Entity) *Entity {
	return &Entity{Type: ContentType{Type: "multipart", Subtype: subtype}, Parts: parts}
}

func files(fs []File, disposition string) []*Entity {
	var out []*Entity
	for _, f := range fs {
		e := &Entity{
			Disposition: disposition, Filename: f.Name, ContentID: f.ContentID,
			Body: f.Body, Message: f.Message,
		}
		if f.Type != "" {
			typ, sub, _ := strings.Cut(f.Type, "/")
			e.Type = ContentType{Type: typ, Subtype: sub}
		}
		if e.Body == nil && e.Message == nil {
			e.Body = strings.NewReader("")
		}
		out = append(out, e)
	}
	return out
}

type countingWriter struct {
	w    io.Writer
	n    int64
	last byte
}

// Write implements io.Writer.
func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if n > 0 {
		c.last = p[n-1]
	}
	return n, err
}

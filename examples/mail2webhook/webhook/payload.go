package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

// Limits of what is held in memory of one message.
const (
	maxHeaderBytes      = 1 << 20
	maxTotalHeaderBytes = 4 << 20
)

var errHeader = goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "header of the message is larger than the limit of 1 MiB")

// writer collects the segments of a document.
type writer struct {
	document
	static bytes.Buffer // what follows the last segment
	err    error
}

func (w *writer) flush() {
	if w.static.Len() == 0 {
		return
	}
	text := bytes.Clone(w.static.Bytes())
	w.static.Reset()
	w.segments = append(w.segments, func(*documentReader) io.Reader { return bytes.NewReader(text) })
}

// member writes one member of an object, and the comma behind it.
func (w *writer) member(name string, value any) {
	b, err := json.Marshal(value)
	if err != nil && w.err == nil {
		w.err = err
	}
	fmt.Fprintf(&w.static, "%q:%s,", name, b)
}

// stream writes a member whose value is a string that open gives, encoded, at each reading.
func (w *writer) stream(name string, open segment) {
	fmt.Fprintf(&w.static, `%q:"`, name)
	w.flush()
	w.segments = append(w.segments, open)
	w.static.WriteString(`",`)
}

// end closes an object or a list, and takes the last comma away.
func (w *writer) end(bracket string) {
	if b := w.static.Bytes(); len(b) > 0 && b[len(b)-1] == ',' {
		w.static.Truncate(len(b) - 1)
	}
	w.static.WriteString(bracket)
}

// payload is a message on its way to the hook.
type payload struct {
	writer
	env *goniec.Envelope
	msg goniec.Content
	s   *mime.Structure
}

// newPayload reads the structure of a message and lays its document out.
func newPayload(env *goniec.Envelope, msg goniec.Content, raw bool) (*payload, error) {
	s, err := mime.Parse(msg, mime.Options{MaxHeaderBytes: maxHeaderBytes, MaxTotalHeaderBytes: maxTotalHeaderBytes})
	if err != nil {
		return nil, err
	}
	if s.Parts[0].BodyStart > maxHeaderBytes {
		return nil, errHeader
	}
	p := &payload{env: env, msg: msg, s: s}
	p.static.WriteByte('{')
	p.envelope()
	if err := p.header(); err != nil {
		return nil, err
	}
	p.parts()
	p.notes()
	if raw {
		p.stream("raw", func(*documentReader) io.Reader { return base64Reader(goniec.NewReader(msg)) })
	}
	p.end("}")
	p.flush()
	return p, p.err
}

func (p *payload) envelope() {
	e := Envelope{From: p.env.From.String(), Recipients: []string{}, Body: p.env.Body.String(), SMTPUTF8: p.env.UTF8, EnvID: p.env.EnvID}
	for _, to := range p.env.To {
		e.Recipients = append(e.Recipients, to.Address.String())
	}
	o := p.env.Origin
	origin := Origin{Helo: o.Helo, RDNS: o.RDNS, Protocol: o.Protocol, TLS: o.TLSVersion, User: o.User}
	if o.Remote.IsValid() {
		origin.Remote = o.Remote.String()
	}
	p.member("version", Version)
	p.member("id", p.env.ID)
	p.member("received", p.env.Received.UTC())
	p.member("size", p.msg.Size())
	p.member("envelope", e)
	p.member("origin", origin)
}

func (p *payload) header() error {
	h, err := p.s.Header(p.msg, 0)
	if err != nil {
		return err
	}
	e := p.s.Parts[0].Envelope
	p.member("subject", mime.DecodeText(e.Subject()))
	id := ""
	if ids := mime.ParseMessageIDs(e.MessageID()); len(ids) > 0 {
		id = mime.Display(ids[0])
	}
	p.member("message_id", id)
	p.member("date", date(e.Date()))
	p.member("from", mailboxes(e.From()))
	p.member("to", mailboxes(e.To()))
	p.member("cc", mailboxes(e.Cc()))
	p.member("reply_to", mailboxes(e.ReplyTo()))
	fields := make([]Header, 0, h.Len())
	for _, f := range h.All() {
		fields = append(fields, Header{f.Name(), f.Value(), f.Text()})
	}
	p.member("headers", fields)
	return nil
}

// date is null where there is none, and where JSON has no form for it (RFC 3339 has four digits for the year).
func date(t time.Time) *time.Time {
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	t = t.UTC()
	return &t
}

func mailboxes(as mime.Addresses) []Mailbox {
	list := []Mailbox{}
	for a := range as.Mailboxes() {
		list = append(list, Mailbox{a.Text(), a.Addr()})
	}
	return list
}

// parts writes the bodies: text, HTML, and everything else.
func (p *payload) parts() {
	text, html := -1, -1
	var others []int
	inside := make([]bool, len(p.s.Parts)) // of an embedded message: it goes with that
	for i := range p.s.Parts {
		part := &p.s.Parts[i]
		if up := part.Parent; up >= 0 {
			inside[i] = inside[up] || p.s.Parts[up].Kind == mime.Embedded
		}
		switch {
		case inside[i]:
		case part.Kind == mime.Multipart && hasChildren(p.s, i):
		case text < 0 && isBody(part, "text/plain"):
			text = i
		case html < 0 && isBody(part, "text/html"):
			html = i
		default:
			others = append(others, i)
		}
	}
	p.text("text", text)
	p.text("html", html)
	p.static.WriteString(`"attachments":[`)
	for _, i := range others {
		p.attachment(i)
	}
	p.end("],")
}

func hasChildren(s *mime.Structure, i int) bool {
	for range s.Children(i) {
		return true
	}
	return false
}

// isBody reports whether a part is text to be read, rather than a file.
func isBody(part *mime.Part, kind string) bool {
	_, raw := part.Filename()
	return part.Kind == mime.Leaf && part.Type.Is(kind) && part.Disposition != "attachment" && raw == ""
}

func (p *payload) text(name string, i int) {
	if i < 0 {
		p.member(name, "")
		return
	}
	p.stream(name, func(*documentReader) io.Reader { return textReader(p.s.Text(p.msg, i)) })
}

func (p *payload) attachment(i int) {
	part := &p.s.Parts[i]
	clean, raw := part.Filename()
	path := make([]string, 0, 4)
	for _, n := range p.s.Path(i) {
		path = append(path, fmt.Sprint(n))
	}
	p.static.WriteByte('{')
	p.member("part", strings.Join(path, "."))
	p.member("filename", clean)
	p.member("raw_filename", raw)
	p.member("type", part.Type.String())
	if c := part.Type.Charset(); c != "" {
		p.member("charset", c)
	}
	p.member("disposition", part.Disposition)
	if id := mime.ParseMessageIDs(part.ID); len(id) > 0 {
		p.member("content_id", id[0])
	}
	p.stream("content", func(r *documentReader) io.Reader {
		r.count = 0
		return base64Reader(&counter{p.s.Decoded(p.msg, i), &r.count})
	})
	p.static.WriteString(`"size":`)
	p.flush()
	p.segments = append(p.segments, func(r *documentReader) io.Reader {
		return strings.NewReader(strconv.FormatInt(r.count, 10))
	})
	p.static.WriteString("},")
}

// notes writes what was odd.
func (p *payload) notes() {
	warnings := []string{}
	for i := range p.s.Warnings {
		warnings = append(warnings, p.s.Warnings[i].Error())
	}
	p.member("warnings", warnings)
	p.member("truncated", p.s.Truncated)
}

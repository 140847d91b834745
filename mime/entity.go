package mime

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/quotedprintable"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-textwrapper"
)

// An Entity is a part to be written: its content is exactly one of Text, Body, Message and
// Parts. Whatever is written is checked before the first octet is: a value that could break out
// of its place is a *ValueError.
type Entity struct {
	// Type of the content. Zero means text/plain for Text, application/octet-stream for Body,
	// message/rfc822 for Message and multipart/mixed for Parts. The charset of Text is UTF-8
	// and is added; so is the boundary of Parts.
	Type ContentType
	// Disposition is "attachment" or "inline"; "" writes none.
	Disposition string
	// Filename goes with the disposition, encoded by RFC 2231 where needed.
	Filename string
	// ContentID is written in angle brackets, without which HTML names it as "cid:...".
	ContentID string
	// Description is free text.
	Description string
	// Fields are written after all others. Those that the Entity writes itself are refused.
	Fields []Field

	// Text is text: its lines may end with LF or CRLF and are written with CRLF, in the
	// encoding that suits: 7bit, quoted-printable or base64.
	Text string
	// Body is octets, kept exactly: base64.
	Body io.Reader
	// Message is a message, written as it is. Its size may change the encoding label only:
	// 7bit, 8bit or binary.
	Message Content
	// Parts are the parts of a multipart.
	Parts []*Entity
}

// A builder writes a tree of entities. It looks at everything first, so that an error comes
// before the first octet.
type builder struct {
	rand  io.Reader // boundaries; nil = crypto/rand
	depth int
}

// prepared is an Entity whose header is written out.
type prepared struct {
	entity   *Entity
	header   string // MIME fields, without the empty line
	encoding string
	boundary string
	children []*prepared
}

// prepare checks an entity and decides its encoding. The tree is the caller's own and not
// deeper than what Parse opens.
func (b *builder) prepare(e *Entity) (*prepared, error) {
	if b.depth++; b.depth > DefaultMaxDepth {
		return nil, &ValueError{What: "entity", Reason: "nested too deeply"}
	}
	defer func() { b.depth-- }()
	p := &prepared{entity: e}
	t := e.Type
	if t.Type == "" {
		t.Type, t.Subtype = e.defaultType()
	}
	t.Params = slices.DeleteFunc(slices.Clone(t.Params), func(p Param) bool { return p.Name == "boundary" })
	var err error
	switch {
	case e.Parts != nil || t.Type == "multipart":
		if p.boundary, err = b.boundary(); err != nil {
			return nil, err
		}
		t.Params = append(t.Params, Param{"boundary", p.boundary})
		p.encoding, err = b.prepareParts(p)
	case e.Message != nil:
		p.encoding, err = classifyContent(e.Message)
	case e.Body != nil:
		p.encoding = "base64"
	default:
		p.encoding = textEncoding(e.Text, t.Type == "text")
		if t.Type == "text" && t.Params.Get("charset") == "" {
			t.Params = append(t.Params, Param{"charset", "utf-8"})
		}
	}
	if err != nil {
		return nil, err
	}
	p.header, err = e.mimeHeader(t, p.encoding)
	return p, err
}

func (e *Entity) defaultType() (typ, sub string) {
	switch {
	case e.Parts != nil:
		return "multipart", "mixed"
	case e.Message != nil:
		return "message", "rfc822"
	case e.Body != nil:
		return "application", "octet-stream"
	}
	return "text", "plain"
}

// prepareParts prepares the children; a multipart is labelled with the widest of their
// encodings (RFC 2045 §6.4).
func (b *builder) prepareParts(p *prepared) (string, error) {
	widest := "7bit"
	for _, e := range p.entity.Parts {
		c, err := b.prepare(e)
		if err != nil {
			return "", err
		}
		p.children = append(p.children, c)
		if c.encoding == "binary" || c.encoding == "8bit" && widest == "7bit" {
			widest = c.encoding
		}
	}
	return widest, nil
}

// boundary returns one that is in no quoted-printable or base64 text, and in no other by
// chance.
func (b *builder) boundary() (string, error) {
	r := b.rand
	if r == nil {
		r = rand.Reader
	}
	var raw [15]byte
	if _, err := io.ReadFull(r, raw[:]); err != nil {
		return "", fmt.Errorf("mime: random boundary: %w", err)
	}
	return "=_" + hex.EncodeToString(raw[:]), nil
}

// mimeHeader writes the fields that describe a part.
func (e *Entity) mimeHeader(t ContentType, encoding string) (string, error) {
	if !isToken(t.Type) || !isToken(t.Subtype) {
		return "", &ValueError{What: "Content-Type", Reason: "malformed type"}
	}
	var h fieldWriter
	if isASCII(e.Filename) && e.Filename != "" && t.Params.Get("name") == "" {
		t.Params = append(t.Params, Param{"name", e.Filename})
	}
	h.params("Content-Type", t.String(), t.Params)
	if encoding != "7bit" {
		h.add("Content-Transfer-Encoding", encoding)
	}
	if e.Disposition != "" || e.Filename != "" {
		h.disposition(e)
	}
	if e.ContentID != "" {
		id, err := FormatMessageIDs(e.ContentID)
		if err != nil {
			return "", err
		}
		h.add("Content-ID", id)
	}
	if e.Description != "" {
		h.text("Content-Description", e.Description)
	}
	h.fields(e.Fields)
	return h.b.String(), h.err
}

// fieldWriter writes fields and keeps the first error.
type fieldWriter struct {
	b   strings.Builder
	err error
}

func (w *fieldWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// add writes a field whose value is in its final form.
func (w *fieldWriter) add(name, value string) {
	f, err := NewField(name, value)
	if err != nil {
		w.fail(err)
		return
	}
	w.b.WriteString(f.raw)
}

// text writes free text, encoded where needed. Encoded words would hide control characters from
// add, so they are refused here.
func (w *fieldWriter) text(name, value string) {
	if err := checkValue(name, value); err != nil {
		w.fail(err)
		return
	}
	w.add(name, EncodeText(value))
}

// params writes a value with parameters, each on a line of its own where the line would get
// long.
func (w *fieldWriter) params(name, value string, ps Params) {
	for _, p := range ps {
		s, err := formatParam(name, p)
		if err != nil {
			w.fail(err)
			return
		}
		value += ";" + s
	}
	w.add(name, value)
}

func (w *fieldWriter) disposition(e *Entity) {
	d := e.Disposition
	if d == "" {
		d = "attachment"
	}
	if !isToken(d) {
		w.fail(&ValueError{What: "Content-Disposition", Reason: "malformed"})
		return
	}
	var ps Params
	if e.Filename != "" {
		ps = Params{{"filename", e.Filename}}
	}
	w.params("Content-Disposition", d, ps)
}

// fields writes the caller's own. A Field was checked when NewField made it; one that was read
// may be anything.
func (w *fieldWriter) fields(fs []Field) {
	for _, f := range fs {
		switch interpreted([]byte(f.Name())) {
		case fieldType, fieldEncoding, fieldDisposition:
			w.fail(&ValueError{What: f.Name(), Reason: "is written by the builder"})
			return
		}
		if strings.EqualFold(f.Name(), "MIME-Version") {
			w.fail(&ValueError{What: f.Name(), Reason: "is written by the builder"})
			return
		}
		w.add(f.Name(), f.Value())
	}
}

// maxParamValue is how much of a parameter value goes on one line.
const maxParamValue = 60

// formatParam writes " name=value": as a token, a quoted string, or by RFC 2231 in UTF-8, in
// pieces where it is long.
func formatParam(field string, p Param) (string, error) {
	if !isToken(p.Name) || strings.Contains(p.Name, "*") {
		return "", &ValueError{What: field, Reason: "malformed parameter name"}
	}
	if err := checkValue(field+" parameter "+p.Name, p.Value); err != nil {
		return "", err
	}
	switch short := len(p.Value) <= maxParamValue; {
	case isToken(p.Value) && short:
		return " " + p.Name + "=" + p.Value, nil
	case isPlain(p.Value) && short:
		return " " + p.Name + "=" + quote(p.Value), nil
	}
	return formatExtended(p), nil
}

// formatExtended writes name*=utf-8”value, or name*0*=utf-8”va; name*1*=lue.
func formatExtended(p Param) string {
	var pieces []string
	var b strings.Builder
	b.WriteString("utf-8''")
	for i := 0; i < len(p.Value); {
		_, n := utf8.DecodeRuneInString(p.Value[i:])
		if b.Len()+3*n > maxParamValue {
			pieces = append(pieces, b.String())
			b.Reset()
		}
		for _, c := range []byte(p.Value[i : i+n]) {
			if c < 0x80 && isAttributeChar(c) {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			}
		}
		i += n
	}
	if len(pieces) == 0 {
		return " " + p.Name + "*=" + b.String()
	}
	pieces = append(pieces, b.String())
	var out strings.Builder
	for i, s := range pieces {
		if i > 0 {
			out.WriteByte(';')
		}
		fmt.Fprintf(&out, " %s*%d*=%s", p.Name, i, s)
	}
	return out.String()
}

// isAttributeChar is RFC 2231 §7's attribute-char.
func isAttributeChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`*'%()<>@,;:\"/[]?=`, c) < 0
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// write writes the body of a prepared entity.
func (p *prepared) write(w io.Writer) error {
	switch e := p.entity; {
	case p.boundary != "":
		return p.writeParts(w)
	case e.Message != nil:
		_, err := io.Copy(w, io.NewSectionReader(e.Message, 0, e.Message.Size()))
		return err
	case e.Body != nil:
		return encodeBase64(w, e.Body)
	}
	text := strings.NewReader(canonicalText(p.entity.Text))
	switch p.encoding {
	case "base64":
		return encodeBase64(w, text)
	case "quoted-printable":
		q := quotedprintable.NewWriter(w)
		if _, err := io.Copy(q, text); err != nil {
			return err
		}
		return q.Close()
	}
	_, err := text.WriteTo(w)
	return err
}

func (p *prepared) writeParts(w io.Writer) error {
	before := ""
	for _, c := range p.children {
		if _, err := io.WriteString(w, before+"--"+p.boundary+"\r\n"+c.header+"\r\n"); err != nil {
			return err
		}
		before = "\r\n"
		if err := c.write(w); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\r\n--"+p.boundary+"--\r\n")
	return err
}

// encodeBase64 writes lines of 76 characters.
func encodeBase64(w io.Writer, r io.Reader) error {
	enc := base64.NewEncoder(base64.StdEncoding, textwrapper.NewRFC822(w))
	if _, err := io.Copy(enc, r); err != nil {
		return err
	}
	return enc.Close()
}

// canonicalText gives text the line ends of RFC 2046 §4.1.1.
func canonicalText(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// textEncoding chooses the encoding of text: 7bit for short lines of ASCII, else
// quoted-printable while it stays the shorter one. Lines that begin with "From " or are a
// single dot suffer on the way through careless programs. qp tells whether quoted-printable is
// allowed: message/delivery-status and its kind must be 7bit unless they hold more than ASCII.
func textEncoding(s string, qp bool) string {
	special, sevenBit := 0, true
	line := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n' || c == '\r':
			line = 0
			continue
		case c >= 0x80 || c < ' ' && c != '\t' || c == 0x7f:
			special++
			sevenBit = false
		case c == '=':
			special++
		}
		if line++; line > maxLineOctets {
			sevenBit = false
		}
	}
	switch {
	case sevenBit && !(qp && (strings.HasPrefix(s, "From ") || strings.Contains(s, "\nFrom "))):
		return "7bit"
	case special > len(s)/5 || !utf8.ValidString(s):
		return "base64"
	}
	return "quoted-printable"
}

// maxLineOctets is the longest line without its CRLF (RFC 5322 §2.1.1).
const maxLineOctets = 998

// Classify tells what a transport must carry (RFC 2045 §2.7 to 2.9): "7bit" for ASCII in lines
// of at most 998 octets, "8bit" for other octets in such lines, "binary" for longer lines, NUL,
// and CR or LF alone. The error is one of reading.
func Classify(r io.Reader) (string, error) {
	class, _, err := classify(r)
	return class, err
}

// classifyContent is Classify for a message at rest, which must be as long as it says.
func classifyContent(c Content) (string, error) {
	class, n, err := classify(io.NewSectionReader(c, 0, c.Size()))
	if err == nil && n != c.Size() {
		err = fmt.Errorf("mime: content has %d octets of %d: %w", n, c.Size(), io.ErrUnexpectedEOF)
	}
	return class, err
}

func classify(r io.Reader) (class string, total int64, err error) {
	window := windows.Get().(*[windowSize]byte)
	defer windows.Put(window)
	var c classifier
	for {
		n, err := r.Read(window[:])
		c.add(window[:n])
		total += int64(n)
		if err == io.EOF {
			return c.result(), total, nil
		}
		if err != nil {
			return "", total, err
		}
	}
}

// classifier looks at octets as they come.
type classifier struct {
	line                       int
	cr                         bool
	bits, nul, long, bareBreak bool
}

func (c *classifier) add(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		chunk := p
		if i >= 0 {
			chunk = p[:i]
		}
		c.text(chunk)
		if i < 0 {
			return
		}
		c.bareBreak = c.bareBreak || !c.cr
		c.cr, c.line = false, 0
		p = p[i+1:]
	}
}

// text takes octets that are no LF.
func (c *classifier) text(p []byte) {
	if len(p) == 0 {
		return
	}
	c.bareBreak = c.bareBreak || c.cr
	last := len(p) - 1
	c.cr = p[last] == '\r'
	c.line += len(p)
	if c.line > maxLineOctets+1 || c.line > maxLineOctets && !c.cr {
		c.long = true
	}
	for i, b := range p {
		switch {
		case b >= 0x80:
			c.bits = true
		case b == 0:
			c.nul = true
		case b == '\r' && i != last:
			c.bareBreak = true
		}
	}
}

func (c *classifier) result() string {
	switch {
	case c.long || c.nul || c.bareBreak || c.cr:
		return "binary"
	case c.bits:
		return "8bit"
	}
	return "7bit"
}

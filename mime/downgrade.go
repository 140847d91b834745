package mime

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"

	"github.com/emersion/go-textwrapper"
)

// ErrCannotDowngrade is the error for a message that cannot be put into a narrower encoding
// without damage: signed parts (RFC 1847 §2.1 demands 7bit there), containers that cannot be
// opened, which must not be encoded themselves (RFC 2045 §6.4), and messages beyond the limits
// of Parse (100,000 parts here). It is permanent.
var ErrCannotDowngrade = errors.New("mime: message cannot be converted without damage")

// Downgrade converts a message for a server that does not offer 8BITMIME (to is "7bit": RFC
// 6152) or BINARYMIME (to is "8bit": RFC 3030). Bodies that are too wide become
// quoted-printable where they are text with lines, else base64; only their
// Content-Transfer-Encoding field changes, and the labels of the multiparts around them.
// Everything else stays octet for octet, the header of the message included (header octets
// above 0x7f need SMTPUTF8, for which nothing here can stand in; in the headers of parts they
// become encoded words). 8-bit octets in preambles become question marks: nobody is shown them.
//
// The message is read twice: now, for errors, and while the result is read. The error is one of
// reading or wraps ErrCannotDowngrade. The result implements io.WriterTo; it is not safe for
// concurrent use.
func Downgrade(c Content, to string) (io.Reader, error) {
	if to != "7bit" && to != "8bit" {
		return nil, fmt.Errorf("mime: downgrade to %q: want 7bit or 8bit", to)
	}
	class, err := classifyContent(c)
	if err != nil {
		return nil, err
	}
	if class == "7bit" || class == to {
		d := downgrader{c: c}
		d.verbatim(c.Size())
		return &segmentReader{segments: d.out}, nil
	}
	s, err := Parse(c, Options{MaxParts: maxDowngradeParts})
	switch {
	case err != nil:
		return nil, err
	case s.Truncated:
		return nil, fmt.Errorf("%w: too many or too deeply nested parts, or too long a header", ErrCannotDowngrade)
	}
	d := &downgrader{s: s, c: c, to: to, signed: make([]bool, len(s.Parts))}
	for i := range s.Parts {
		if err := d.part(i); err != nil {
			return nil, err
		}
	}
	d.gap(c.Size())
	return &segmentReader{segments: d.out}, nil
}

// downgrader lays out the converted message as segments: what stays, what is new, and what is
// encoded on the way.
type downgrader struct {
	s   *Structure
	c   Content
	to  string
	pos int64 // everything before is laid out
	out []segment
	// signed tells of each part that it is inside a multipart/signed.
	signed []bool
}

const maxDowngradeParts = 100_000

// A segment opens one stretch of the result.
type segment func() io.Reader

// fits reports whether a class of octets may stay.
func (d *downgrader) fits(class string) bool {
	return class == "7bit" || class == "8bit" && d.to == "8bit"
}

// part lays out the part's header, and its body if it is a leaf.
func (d *downgrader) part(i int) error {
	p := &d.s.Parts[i]
	if i > 0 {
		parent := &d.s.Parts[p.Parent]
		d.signed[i] = d.signed[p.Parent] || parent.Kind == Multipart && parent.Type.Subtype == "signed"
	}
	d.gap(p.HeaderStart)
	if p.Kind != Leaf {
		return d.container(i)
	}
	class, err := Classify(d.s.Body(d.c, i))
	if err != nil {
		return err
	}
	encoding := ""
	switch {
	case d.fits(class):
		if !isIdentity(p.Encoding) || d.fits(identity(p.Encoding)) {
			break
		}
		encoding = class // a label wider than the content
	case p.Type.Type == "multipart" || p.Type.Type == "message" && p.Type.Subtype == "rfc822" || d.signed[i]:
		return fmt.Errorf("%w: %s in part %v", ErrCannotDowngrade, p.Type, d.s.Path(i))
	default:
		encoding = "base64"
		if class == "8bit" && p.Type.Type == "text" && isIdentity(p.Encoding) {
			encoding = "quoted-printable"
		}
	}
	if err := d.header(i, encoding); err != nil {
		return err
	}
	if d.fits(class) {
		d.verbatim(p.BodyEnd)
		return nil
	}
	d.pos = p.BodyEnd
	d.out = append(d.out, func() io.Reader { return newEncodeReader(d.s.Decoded(d.c, i), encoding) })
	if i == 0 && encoding == "base64" {
		d.literal([]byte("\r\n")) // a message ends with a line end
	}
	return nil
}

// identity is an absent encoding spelled out (RFC 2045 §6.1).
func identity(encoding string) string {
	if encoding == "" {
		return "7bit"
	}
	return encoding
}

// container lays out a multipart's or embedded message's header, whose label must not be wider
// than what is inside.
func (d *downgrader) container(i int) error {
	p := &d.s.Parts[i]
	label := ""
	if isIdentity(p.Encoding) && !d.fits(identity(p.Encoding)) {
		label = d.to
	}
	return d.header(i, label)
}

// header lays out a header, with another transfer encoding unless it is "".
func (d *downgrader) header(i int, encoding string) error {
	p := &d.s.Parts[i]
	h, err := d.s.Header(d.c, i)
	if err != nil {
		return err
	}
	wide := i > 0 && d.to == "7bit" && !isASCII(string(h.Bytes()))
	if encoding == "" && !wide {
		d.verbatim(p.BodyStart)
		return nil
	}
	if wide {
		if d.signed[i] {
			return fmt.Errorf("%w: header of signed part %v", ErrCannotDowngrade, d.s.Path(i))
		}
		for k := range h.fields {
			h.fields[k] = asciiField(h.fields[k])
		}
	}
	if encoding != "" {
		f, err := NewField("Content-Transfer-Encoding", encoding)
		if err != nil {
			return err
		}
		h.Replace(f)
	}
	if h.end == "" { // else the encoded body could be taken for a field
		h.end = "\r\n"
	}
	d.literal(h.Bytes())
	d.pos = p.BodyStart
	return nil
}

// asciiField encodes the words of a field that have more than ASCII. Parameters get their RFC
// 2231 form.
func asciiField(f Field) Field {
	if isASCII(f.raw) || f.name == 0 {
		return f
	}
	var w fieldWriter
	switch interpreted([]byte(f.Name())) {
	case fieldType:
		ct, _ := ParseContentType(f.Value())
		w.params(f.Name(), ct.String(), asciiParams(ct.Params))
	case fieldDisposition:
		disp, ps, _ := ParseDisposition(f.Value())
		w.params(f.Name(), disp, asciiParams(ps))
	default:
		words := strings.Split(fallbackText(f.Value()), " ")
		for i, word := range words {
			if !isASCII(word) {
				words[i] = EncodeText(Display(word))
			}
		}
		w.add(f.Name(), strings.Join(words, " "))
	}
	if w.err != nil || !isASCII(w.b.String()) {
		return parseField(strings.Map(questionMark, f.raw))
	}
	return parseField(w.b.String())
}

// asciiParams puts together parameters that have several pieces; those in one piece stay.
func asciiParams(ps Params) Params {
	var out Params
	for _, p := range ps {
		name, _, _ := strings.Cut(p.Name, "*")
		if out.Get(name) == "" {
			out = append(out, Param{name, Display(ps.Get(name))})
		}
	}
	return out
}

func questionMark(r rune) rune {
	if r >= 0x80 {
		return '?'
	}
	return r
}

// gap lays out what stands between parts: delimiter lines and text that nobody is shown.
func (d *downgrader) gap(end int64) {
	if end <= d.pos {
		return
	}
	from, n := d.pos, end-d.pos
	d.pos = end
	if d.to == "8bit" {
		d.out = append(d.out, func() io.Reader { return io.NewSectionReader(d.c, from, n) })
		return
	}
	d.out = append(d.out, func() io.Reader { return asciiReader{io.NewSectionReader(d.c, from, n)} })
}

// verbatim lays out what stays.
func (d *downgrader) verbatim(end int64) {
	if from, n := d.pos, end-d.pos; n > 0 {
		d.out = append(d.out, func() io.Reader { return io.NewSectionReader(d.c, from, n) })
	}
	d.pos = end
}

func (d *downgrader) literal(p []byte) {
	d.out = append(d.out, func() io.Reader { return bytes.NewReader(p) })
}

// asciiReader replaces octets that are not ASCII.
type asciiReader struct{ r io.Reader }

// Read implements io.Reader.
func (a asciiReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	for i, c := range p[:n] {
		if c >= 0x80 || c == 0 {
			p[i] = '?'
		}
	}
	return n, err
}

// segmentReader reads one segment after the other.
type segmentReader struct {
	segments []segment
	current  io.Reader
}

// Read implements io.Reader.
func (s *segmentReader) Read(p []byte) (int, error) {
	for {
		if s.current == nil {
			if len(s.segments) == 0 {
				return 0, io.EOF
			}
			s.current = s.segments[0]()
			s.segments = s.segments[1:]
		}
		n, err := s.current.Read(p)
		if err == io.EOF {
			s.current, err = nil, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// WriteTo implements io.WriterTo.
func (s *segmentReader) WriteTo(w io.Writer) (int64, error) {
	window := windows.Get().(*[windowSize]byte)
	defer windows.Put(window)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{s}, window[:])
}

// encodeReader encodes what it reads.
type encodeReader struct {
	src io.Reader
	enc io.WriteCloser // writes to buf
	buf bytes.Buffer
	raw [8 << 10]byte
	err error
}

func newEncodeReader(src io.Reader, encoding string) io.Reader {
	e := &encodeReader{src: src}
	if encoding == "quoted-printable" {
		e.enc = quotedprintable.NewWriter(&e.buf)
	} else {
		e.enc = base64.NewEncoder(base64.StdEncoding, textwrapper.NewRFC822(&e.buf))
	}
	return e
}

// Read implements io.Reader.
func (e *encodeReader) Read(p []byte) (int, error) {
	for e.buf.Len() == 0 {
		if e.err != nil {
			return 0, e.err
		}
		n, err := e.src.Read(e.raw[:])
		if _, werr := e.enc.Write(e.raw[:n]); werr != nil {
			return 0, werr
		}
		if e.err = err; err == io.EOF {
			if cerr := e.enc.Close(); cerr != nil {
				return 0, cerr
			}
		}
	}
	return e.buf.Read(p)
}

package mime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A Report is a multipart/report (RFC 6522): text for people, fields for programs, and perhaps
// what it is about. DSN, MDN and Feedback give the fields their types; Report is what they have
// in common.
type Report struct {
	// Type is the report-type: "delivery-status", "disposition-notification" or
	// "feedback-report"; others are read too.
	Type string
	// Text is the part for people, in UTF-8, at most 64 KiB of it when read.
	Text string
	// Groups are the fields of the second part. Groups are separated by empty lines: a DSN has
	// one for the message and one for each recipient, the others have one.
	Groups []*Header
	// Original is the message that the report is about, or its header; nil if it was not sent
	// back.
	Original Content
	// HeadersOnly says that Original is a header (text/rfc822-headers).
	HeadersOnly bool
}

// ErrNotReport is the error for a message that is no report of the type asked for.
var ErrNotReport = errors.New("mime: not a report of this type")

// Limits of reports.
const (
	maxReportText   = 64 << 10
	maxReportFields = 10 << 20
	// MaxReportGroups is how many groups of fields, and so recipients, of a report are read.
	MaxReportGroups = 10_000
	// maxOriginalHeader is how much of the header of the original is sent back, and how much of
	// an encoded original is read.
	maxOriginalHeader = 1 << 20
	// maxDiagnostic is how much of what a remote server said goes into a report.
	maxDiagnostic = 800
)

// reportSubtypes returns the types of the second part, by report-type. RFC 6533 has its own for
// internationalised reports.
func reportSubtypes(report string) (ascii, utf8 string, ok bool) {
	switch report {
	case "delivery-status":
		return report, "global-delivery-status", true
	case "disposition-notification":
		return report, "global-disposition-notification", true
	case "feedback-report":
		return report, report, true
	}
	return "", "", false
}

// ReadReport reads the report that the message is, or that is the first one inside it (mailing
// lists wrap them). Parts that are missing are left empty; without a part of fields the error
// is ErrNotReport.
func (s *Structure) ReadReport(c Content) (*Report, error) {
	for i := range s.Parts {
		p := &s.Parts[i]
		if p.Kind == Multipart && p.Type.Subtype == "report" {
			return s.readReport(c, i)
		}
	}
	return nil, ErrNotReport
}

func (s *Structure) readReport(c Content, root int) (*Report, error) {
	r := &Report{Type: strings.ToLower(s.Parts[root].Type.Params.Get("report-type"))}
	found := false
	for i := range s.Children(root) {
		p := &s.Parts[i]
		var err error
		switch kind := reportType(p); {
		case kind != "" && !found:
			found = true
			if r.Type == "" {
				r.Type = kind
			}
			r.Groups, err = readGroups(s.Decoded(c, i))
		case isOriginal(p):
			r.HeadersOnly = p.Type.Subtype == "rfc822-headers" || p.Type.Subtype == "global-headers"
			r.Original, err = s.original(c, i)
		case !found && r.Text == "":
			r.Text, err = s.reportText(c, i)
		}
		if err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, ErrNotReport
	}
	return r, nil
}

// isOriginal recognises the third part.
func isOriginal(p *Part) bool {
	switch p.Type.String() {
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers":
		return true
	}
	return false
}

// original returns the body of the third part. One with a transfer encoding, which small
// programs write, is decoded into memory.
func (s *Structure) original(c Content, i int) (Content, error) {
	if s.Parts[i].Kind != Leaf || isIdentity(s.Parts[i].Encoding) {
		return s.Body(c, i), nil
	}
	d := s.Decoded(c, i)
	defer d.Close()
	raw, err := io.ReadAll(io.LimitReader(d, maxOriginalHeader))
	return bytes.NewReader(raw), err
}

// reportType recognises a part of fields.
func reportType(p *Part) string {
	if p.Type.Type != "message" {
		return ""
	}
	sub := strings.TrimPrefix(p.Type.Subtype, "global-")
	if _, _, ok := reportSubtypes(sub); !ok {
		return ""
	}
	return sub
}

// reportText reads the text for people: the part itself or the first text inside a
// multipart/alternative.
func (s *Structure) reportText(c Content, i int) (string, error) {
	for end := s.Parts[i].BodyEnd; i < len(s.Parts) && s.Parts[i].HeaderStart < end; i++ {
		if s.Parts[i].Type.Type == "text" && s.Parts[i].Kind == Leaf {
			r := s.Text(c, i)
			defer r.Close()
			text, err := io.ReadAll(io.LimitReader(r, maxReportText))
			return strings.ToValidUTF8(string(text), "\uFFFD"), err
		}
	}
	return "", nil
}

// readGroups reads fields up to the limits; empty lines separate groups.
func readGroups(d *Decoder) ([]*Header, error) {
	defer d.Close()
	raw, err := io.ReadAll(io.LimitReader(d, maxReportFields))
	if err != nil {
		return nil, err
	}
	var groups []*Header
	for rest := string(raw); rest != "" && len(groups) < MaxReportGroups; {
		h, n := readHeader(rest)
		rest = rest[n:]
		if h.Len() > 0 {
			groups = append(groups, h)
		}
	}
	return groups, nil
}

// Entity makes the body of a message of the report: Message.Body. The fields must have come
// from NewField or from a message.
func (r *Report) Entity() (*Entity, error) {
	sub, globalSub, ok := reportSubtypes(r.Type)
	if !ok {
		return nil, &ValueError{What: "report-type", Reason: fmt.Sprintf("unknown type %q", r.Type)}
	}
	var fields strings.Builder
	for i, g := range r.Groups {
		if i > 0 {
			fields.WriteString("\r\n")
		}
		for _, f := range g.fields {
			f, err := NewField(f.Name(), f.Value())
			if err != nil {
				return nil, err
			}
			fields.WriteString(f.raw)
		}
	}
	if !isASCII(fields.String()) {
		sub = globalSub // RFC 6533 §6: the fields may hold UTF-8
	}
	root := multipart("report",
		&Entity{Text: r.Text},
		&Entity{Type: ContentType{Type: "message", Subtype: sub}, Text: fields.String()})
	root.Type.Params = Params{{"report-type", r.Type}}
	if r.Original != nil {
		original, err := r.original()
		if err != nil {
			return nil, err
		}
		root.Parts = append(root.Parts, original)
	}
	return root, nil
}

// original makes the third part. A header with more than ASCII needs the types of RFC 6533
// (message/global).
func (r *Report) original() (*Entity, error) {
	block, err := headerBlock(r.Original)
	if err != nil {
		return nil, err
	}
	utf8Header := !isASCII(block) && utf8.ValidString(block)
	e := &Entity{Type: ContentType{Type: "message", Subtype: "rfc822"}, Message: r.Original}
	switch {
	case r.HeadersOnly && utf8Header:
		e = &Entity{Type: ContentType{Type: "message", Subtype: "global-headers"}, Text: block}
	case r.HeadersOnly:
		e = &Entity{Type: ContentType{Type: "text", Subtype: "rfc822-headers"}, Text: strings.ToValidUTF8(block, "?")}
	case utf8Header:
		e.Type.Subtype = "global"
	}
	return e, nil
}

// headerBlock reads the header of a message without its empty line, up to the limit.
func headerBlock(c Content) (string, error) {
	r := NewReader(io.NewSectionReader(c, 0, c.Size()), Options{MaxHeaderBytes: maxOriginalHeader})
	defer r.Close()
	if _, err := r.Next(); err != nil {
		return "", err
	}
	h := r.Header()
	h.end = ""
	return string(h.Bytes()), nil
}

// Typed is a value with its type in front: "dns; mx.example.org", "rfc822; joe@example.org",
// "smtp; 550 no such user". The zero value writes nothing.
type Typed struct{ Type, Value string }

// String returns the value as it is written in a field.
func (t Typed) String() string {
	if t == (Typed{}) {
		return ""
	}
	return t.Type + "; " + t.Value
}

// parseTyped reads a field body; without a type all is value.
func parseTyped(v string) Typed {
	typ, value, ok := strings.Cut(v, ";")
	if !ok {
		return Typed{Value: strings.Trim(v, " \t")}
	}
	x := lexer{s: typ}
	x.skipCFWS()
	return Typed{Type: strings.ToLower(x.until(endOfWord)), Value: strings.Trim(value, " \t")}
}

// groupWriter makes a group of fields and keeps the first error. Empty values are left out.
type groupWriter struct {
	h   Header
	err error
}

func (w *groupWriter) add(name, value string) {
	if value == "" || w.err != nil {
		return
	}
	f, err := NewField(name, value)
	if err != nil {
		w.err = err
		return
	}
	w.h.fields = append(w.h.fields, f)
}

// typed writes a value with its type, which must be there.
func (w *groupWriter) typed(name string, t Typed) {
	if t != (Typed{}) && !isToken(t.Type) && w.err == nil {
		w.err = &ValueError{What: name, Reason: fmt.Sprintf("malformed type %q", t.Type)}
	}
	w.add(name, t.String())
}

// diagnostic makes one safe line of what a remote server said: without control characters, cut
// to 800 octets (L02).
func diagnostic(s string) string {
	s = strings.Join(strings.Fields(Display(s)), " ")
	if len(s) > maxDiagnostic {
		s = strings.ToValidUTF8(s[:maxDiagnostic], "") + "..."
	}
	return s
}

package imap

import (
	"strings"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mime"
)

// renderer writes ENVELOPE and BODYSTRUCTURE. Its strings are quoted where they are ASCII and
// literals where not, so that the result can be kept and serves sessions with and without UTF-8.
type renderer struct{ enc wire.Encoder }

// nstring writes a value, NIL when it is empty.
func (r *renderer) nstring(s string) { r.value(s, s != "") }

func (r *renderer) value(s string, ok bool) {
	if strings.IndexByte(s, 0) >= 0 { // no string of IMAP can hold it
		s = strings.ReplaceAll(s, "\x00", "")
	}
	r.enc.NString(s, ok)
}

// renderEnvelope returns the wire form of an envelope (RFC 9051 §7.5.2).
func renderEnvelope(e *mime.Envelope) []byte {
	var out textBuffer
	r := &renderer{}
	r.enc.Reset(&out)
	r.envelope(e)
	return out
}

func (r *renderer) envelope(e *mime.Envelope) {
	field := func(name string) {
		v, ok := e.Lookup(name)
		r.value(v, ok)
	}
	r.enc.Raw("(")
	field("Date")
	r.enc.SP()
	field("Subject")
	for _, list := range [...]mime.Addresses{e.From(), e.Sender(), e.ReplyTo(), e.To(), e.Cc(), e.Bcc()} {
		r.enc.SP()
		r.addresses(list)
	}
	r.enc.SP()
	r.nstring(e.InReplyTo())
	r.enc.SP()
	r.nstring(e.MessageID())
	r.enc.Raw(")")
}

func (r *renderer) addresses(list mime.Addresses) {
	if len(list) == 0 {
		r.enc.Raw("NIL")
		return
	}
	r.enc.Raw("(")
	for i := range list {
		r.address(&list[i])
	}
	r.enc.Raw(")")
}

func (r *renderer) address(a *mime.Address) {
	switch a.Kind {
	case mime.GroupStart: // mailbox is the group's name, host is NIL
		r.enc.Raw("(NIL NIL ")
		r.value(a.Name, true)
		r.enc.Raw(" NIL)")
		return
	case mime.GroupEnd:
		r.enc.Raw("(NIL NIL NIL NIL)")
		return
	}
	r.enc.Raw("(")
	r.nstring(a.Name)
	r.enc.SP()
	r.nstring(a.Route)
	r.enc.SP()
	r.value(a.Local, true) // NIL would be the mark of a group
	r.enc.SP()
	r.value(a.Domain, true)
	r.enc.Raw(")")
}

// renderBody returns the wire form of a structure: BODYSTRUCTURE, or BODY without extension data.
func renderBody(st *mime.Structure, extended bool) []byte {
	var out textBuffer
	r := &bodyRenderer{st: st, extended: extended}
	r.enc.Reset(&out)
	r.run()
	return out
}

// bodyRenderer walks the flat list of parts with the open ones on a stack: nothing in a message makes
// it recurse.
type bodyRenderer struct {
	renderer
	st       *mime.Structure
	extended bool
	open     []int
}

func (r *bodyRenderer) run() {
	for i := range r.st.Parts {
		for len(r.open) > 0 && r.open[len(r.open)-1] != r.st.Parts[i].Parent {
			r.closeLast()
		}
		r.part(i)
	}
	for len(r.open) > 0 {
		r.closeLast()
	}
}

// part writes a leaf, or the beginning of another part.
func (r *bodyRenderer) part(i int) {
	p := &r.st.Parts[i]
	r.enc.Raw("(")
	switch p.Kind {
	case mime.Multipart:
		r.open = append(r.open, i)
		if i+1 == len(r.st.Parts) || r.st.Parts[i+1].Parent != i {
			// The grammar has no multipart without parts.
			r.enc.Raw(`("text" "plain" NIL NIL NIL "7bit" 0 0)`)
		}
	case mime.Embedded:
		r.open = append(r.open, i)
		r.basic(p, p.Type.Type, p.Type.Subtype)
		r.enc.SP()
		r.envelope(r.st.Parts[i+1].Envelope)
		r.enc.SP()
	default:
		r.leaf(p)
		r.extension(p)
		r.enc.Raw(")")
	}
}

func (r *bodyRenderer) leaf(p *mime.Part) {
	switch kind := p.Type.Type; {
	case kind == "multipart" || kind == "message" && (p.Type.Subtype == "rfc822" || p.Type.Subtype == "global"):
		// It was not opened; a client would expect the parts or the envelope.
		r.basic(p, "application", "octet-stream")
	case kind == "text":
		r.basic(p, kind, p.Type.Subtype)
		r.enc.SP()
		r.enc.Number(uint64(p.Lines))
	default:
		r.basic(p, kind, p.Type.Subtype)
	}
}

// basic writes type, subtype, parameters, id, description, encoding and octets.
func (r *bodyRenderer) basic(p *mime.Part, kind, subtype string) {
	r.value(kind, true)
	r.enc.SP()
	r.value(subtype, true)
	r.enc.SP()
	r.params(p.Type.Params)
	r.enc.SP()
	r.nstring(p.ID)
	r.enc.SP()
	r.nstring(p.Description)
	r.enc.SP()
	encoding := p.Encoding
	if encoding == "" {
		encoding = "7bit"
	}
	r.value(encoding, true)
	r.enc.SP()
	r.enc.Number(uint64(p.Size()))
}

func (r *bodyRenderer) params(ps mime.Params) {
	if len(ps) == 0 {
		r.enc.Raw("NIL")
		return
	}
	for i, p := range ps {
		r.enc.Raw(opener(i))
		r.value(p.Name, true)
		r.enc.SP()
		r.value(p.Value, true)
	}
	r.enc.Raw(")")
}

// closeLast writes the end of the innermost open part.
func (r *bodyRenderer) closeLast() {
	last := len(r.open) - 1
	p := &r.st.Parts[r.open[last]]
	r.open = r.open[:last]
	if p.Kind == mime.Embedded {
		r.enc.SP()
		r.enc.Number(uint64(p.Lines))
		r.extension(p)
		r.enc.Raw(")")
		return
	}
	r.enc.SP()
	r.value(p.Type.Subtype, true)
	if r.extended {
		r.enc.SP()
		r.params(p.Type.Params)
		r.common(p)
	}
	r.enc.Raw(")")
}

// extension writes the extension data of a part that is no multipart.
func (r *bodyRenderer) extension(p *mime.Part) {
	if r.extended {
		r.enc.SP()
		r.nstring(p.MD5)
		r.common(p)
	}
}

// common writes disposition, language and location.
func (r *bodyRenderer) common(p *mime.Part) {
	r.enc.SP()
	if p.Disposition == "" {
		r.enc.Raw("NIL")
	} else {
		r.enc.Raw("(")
		r.value(p.Disposition, true)
		r.enc.SP()
		r.params(p.DispositionParams)
		r.enc.Raw(")")
	}
	r.enc.SP()
	switch len(p.Language) {
	case 0:
		r.enc.Raw("NIL")
	case 1:
		r.value(p.Language[0], true)
	default:
		for i, l := range p.Language {
			r.enc.Raw(opener(i))
			r.value(l, true)
		}
		r.enc.Raw(")")
	}
	r.enc.SP()
	r.nstring(p.Location)
}

// opener is what stands before element i of a list: "(" or a space.
func opener(i int) string {
	if i == 0 {
		return "("
	}
	return " "
}

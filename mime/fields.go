package mime

import "strings"

// headerState is what is known of the header block being read.
type headerState struct {
	message bool  // it is the header of a message, which has an Envelope
	inside  bool  // the last field goes on
	muted   bool  // a limit is reached: fields are passed over
	fields  int   // seen in this block
	bytes   int64 // of this block
	total   int64 // of all blocks

	open    fieldID // the field being collected, fieldOther = none
	text    []byte  // unfolded values of the interpreted fields, one after the other
	values  [interpretedFields]span
	present uint32 // bit n: field n was seen
}

type span struct{ from, to int }

func (h *headerState) reset(message bool) {
	h.message = message
	h.inside, h.muted = false, false
	h.fields, h.bytes = 0, 0
	h.open = fieldOther
	h.text = h.text[:0]
	h.present = 0
}

// beginField takes the first piece of a field, whose name has n octets and whose value begins at body.
func (p *parser) beginField(raw []byte, n, body int) {
	h := &p.header
	h.fields++
	h.open = fieldOther
	p.count(raw)
	id := interpreted(raw[:n])
	if h.muted || id == fieldOther || id < envelopeFields && !h.message {
		return
	}
	if h.present&(1<<id) != 0 {
		p.warn(WarnDuplicateField, p.scan.pos()-int64(len(raw)), len(p.out.Parts)-1)
		return
	}
	h.open = id
	h.present |= 1 << id
	from := len(h.text)
	h.text = appendUnfolded(h.text, raw[body:])
	h.values[id] = span{from, len(h.text)}
}

// oddLine decides about a line in a header that is no field, after so many fields: it belongs there, and is returned, or
// the body begins with it, and it is put back. Like Postfix, sendmail and Python, the body does;
// unless a field follows that belongs into a header, for then the line is a badly wrapped one.
func (s *scanner) oddLine(raw []byte, fields int, unfinished bool) ([]byte, bool) {
	if fields == 0 && mayPrecedeFields(raw) {
		return raw, true
	}
	n := len(raw)
	s.unread(n)
	if fields == 0 || unfinished || !wellKnown(s.peekLine(n)) {
		return nil, false
	}
	return s.take(n), true
}

// splitField returns the length of a field's name and where its body begins; 0, 0 if there is
// none.
func splitField(raw []byte) (name, body int) {
	n := nameLen(raw)
	body = n
	for body < len(raw) && isWSP(raw[body]) {
		body++
	}
	if n == 0 || body == len(raw) || raw[body] != ':' {
		return 0, 0
	}
	return n, body + 1
}

// malformed passes over a line of a header that is no field.
func (p *parser) malformed(raw []byte) {
	p.header.fields++
	p.header.open = fieldOther
	p.count(raw)
	p.warn(WarnMalformedField, p.scan.pos()-int64(len(raw)), len(p.out.Parts)-1)
}

// wellKnown reports whether a line begins a field that is found in almost every header, and
// hardly in text.
func wellKnown(line []byte) bool {
	n, _ := splitField(line)
	if n == 0 {
		return false
	}
	name := string(line[:n])
	return interpreted(line[:n]) >= fieldType && interpreted(line[:n]) < interpretedFields ||
		interpreted(line[:n]) == fieldMessageID || strings.EqualFold(name, "MIME-Version") || strings.EqualFold(name, "Received")
}

// mayPrecedeFields reports what is seen before the first field of real messages: an mbox
// separator, also a quoted one, and a continuation line of nothing.
func mayPrecedeFields(raw []byte) bool {
	return isWSP(raw[0]) || strings.HasPrefix(string(raw[:min(len(raw), 6)]), "From ") || string(raw[:min(len(raw), 6)]) == ">From "
}

// continueField takes a further piece of a long field.
func (p *parser) continueField(raw []byte) {
	h := &p.header
	p.count(raw)
	if h.open != fieldOther && !h.muted {
		h.text = appendUnfolded(h.text, raw)
		h.values[h.open].to = len(h.text)
	}
}

// count holds the header to its limits.
func (p *parser) count(raw []byte) {
	h := &p.header
	h.bytes += int64(len(raw))
	h.total += int64(len(raw))
	if !h.muted && (h.bytes > p.limits.header || h.total > p.limits.total || h.fields > p.limits.fields) {
		h.muted = true
		p.warn(WarnHeaderBytes, p.scan.pos(), len(p.out.Parts)-1)
	}
}

// finishHeader fills in the part from the values collected. All its strings are cut from one.
func (p *parser) finishHeader(part *Part, digest bool) {
	h := &p.header
	text := string(h.text)
	get := func(id fieldID) string {
		if h.present&(1<<id) == 0 {
			return ""
		}
		return strings.Trim(text[h.values[id].from:h.values[id].to], " \t\r\n")
	}
	p.contentFields(part, get, digest)
	part.ID = get(fieldID_)
	part.Description = get(fieldDescription)
	part.Location = get(fieldLocation)
	part.MD5 = get(fieldMD5)
	if v := get(fieldLanguage); v != "" {
		part.Language = languages(v)
	}
	if h.message {
		e := &Envelope{}
		for id := range envelopeFields {
			if h.present&(1<<id) != 0 {
				e.set(id, get(id))
			}
		}
		part.Envelope = e
	}
}

// contentFields reads the fields that say what the part is.
func (p *parser) contentFields(part *Part, get func(fieldID) string, digest bool) {
	n := len(p.out.Parts) - 1
	switch v := get(fieldType); {
	case v == "" && digest:
		part.Type = ContentType{Type: "message", Subtype: "rfc822"}
	case v == "":
		part.Type = ContentType{Type: "text", Subtype: "plain"}
	default:
		p.params.reset(v)
		part.Type = p.params.contentType()
		p.warnParams(part, n)
		if part.Type.Type == "text" {
			if _, known := findCharset(part.Type.Charset()); !known {
				p.warn(WarnCharset, part.HeaderStart, n)
			}
		}
	}
	if v := get(fieldDisposition); v != "" {
		p.params.reset(v)
		part.Disposition = p.params.disposition()
		part.DispositionParams = p.params.params()
		p.warnParams(part, n)
	}
	part.Encoding = encodingToken(get(fieldEncoding))
	if !knownEncoding(part.Encoding) {
		p.warn(WarnEncoding, part.HeaderStart, n)
	}
}

func (p *parser) warnParams(part *Part, n int) {
	switch p.params.err {
	case nil:
	case errNoContentType:
		p.warn(WarnContentType, part.HeaderStart, n)
	default:
		p.warn(WarnParams, part.HeaderStart, n)
	}
}

// encodingToken reads a Content-Transfer-Encoding, whose comments and quotes real mail has too.
func encodingToken(v string) string {
	x := lexer{s: v}
	x.skipCFWS()
	return strings.ToLower(strings.Trim(x.until(endOfItem), `"'`))
}

// languages reads a Content-Language field (RFC 3282).
func languages(v string) []string {
	var out []string
	x := lexer{s: v}
	for len(out) < DefaultMaxParams {
		x.skipCFWS()
		if tag := x.until(endOfTag); tag != "" {
			out = append(out, tag)
		}
		if x.skipCFWS(); !x.eat(',') {
			return out
		}
	}
	return out
}

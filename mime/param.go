package mime

import (
	"errors"
	"path"
	"strings"
	"unicode/utf8"
)

// A Param is one parameter of a Content-Type or Content-Disposition field, as it is written
// there: Name in lower case, and perhaps one of several of an encoded parameter
// ("filename*0*"); Value without its quoting.
type Param struct{ Name, Value string }

// Params are the parameters of one field in the order of the message, as IMAP's BODYSTRUCTURE
// shows them. Get puts encoded and continued ones together.
type Params []Param

// ContentType is the value of a Content-Type field. Type and Subtype are in lower case.
type ContentType struct {
	Type, Subtype string
	Params        Params
}

// String returns "type/subtype", without parameters.
func (c ContentType) String() string { return c.Type + "/" + c.Subtype }

// Is reports whether the type is t, such as "text/plain" or, for any subtype, "text".
func (c ContentType) Is(t string) bool {
	typ, sub, both := strings.Cut(t, "/")
	return strings.EqualFold(typ, c.Type) && (!both || strings.EqualFold(sub, c.Subtype))
}

// Charset returns the charset parameter, "" if there is none.
func (c ContentType) Charset() string { return c.Params.Get("charset") }

// Errors of ParseContentType and ParseDisposition. The value returned beside them is usable.
var (
	errNoContentType  = errors.New("mime: no type/subtype")
	errTooManyParams  = errors.New("mime: too many parameters")
	errMalformedParam = errors.New("mime: malformed parameter")
)

// ParseContentType reads the unfolded body of a Content-Type field (RFC 2045 §5.1). A missing
// or malformed type is text/plain, as RFC 2045 §5.2 says, with an error beside it where v is
// not empty. At most 100 parameters are kept.
func ParseContentType(v string) (ContentType, error) {
	p := paramParser{lexer: lexer{s: v}, max: DefaultMaxParams}
	ct := p.contentType()
	return ct, p.err
}

// ParseDisposition reads the unfolded body of a Content-Disposition field (RFC 2183). The
// disposition is in lower case.
func ParseDisposition(v string) (disposition string, params Params, err error) {
	p := paramParser{lexer: lexer{s: v}, max: DefaultMaxParams}
	disposition = p.disposition()
	return disposition, p.params(), p.err
}

// paramParser reads the field bodies that end in parameters, more tolerantly than the grammar:
// values with spaces or special characters but without quotes, missing semicolons, empty
// parameters.
type paramParser struct {
	lexer
	max  int
	slab []Param // params are cut from it, so that a message costs few allocations
	err  error
}

// reset starts a new value with the same slab.
func (p *paramParser) reset(v string) {
	p.lexer = lexer{s: v}
	p.err = nil
}

func (p *paramParser) contentType() ContentType {
	p.skipCFWS()
	typ := p.until(endOfType)
	p.skipCFWS()
	var sub string
	if p.eat('/') {
		p.skipCFWS()
		sub = p.until(endOfSubtype)
	}
	ct := ContentType{Type: strings.ToLower(typ), Subtype: strings.ToLower(sub)}
	if !isToken(typ) || !isToken(sub) {
		if p.s != "" {
			p.err = errNoContentType
		}
		ct = ContentType{Type: "text", Subtype: "plain"}
		if p.peek() == '=' { // "charset=utf-8" alone
			p.i = 0
		}
	}
	ct.Params = p.params()
	return ct
}

func (p *paramParser) disposition() string {
	p.skipCFWS()
	d := strings.ToLower(p.until(endOfItem))
	if !isToken(d) {
		p.err = errMalformedParam
		d = "attachment" // RFC 2183 §2.8: what is not understood is an attachment
	}
	return d
}

// params reads "; name=value" to the end.
func (p *paramParser) params() Params {
	first := len(p.slab)
	for {
		for p.skipCFWS(); p.eat(';'); p.skipCFWS() {
		}
		if p.done() {
			break
		}
		name := strings.ToLower(p.until(endOfName))
		p.skipCFWS()
		if !p.eat('=') {
			p.err = errMalformedParam
			p.until(endOfItem)
			continue
		}
		p.skipBlank()
		value := p.value()
		if len(p.slab)-first == p.max {
			p.err = errTooManyParams
			break
		}
		if p.slab == nil {
			p.slab = make([]Param, 0, 8)
		}
		p.slab = append(p.slab, Param{name, value})
	}
	if p.bad && p.err == nil {
		p.err = errMalformedParam
	}
	if first == len(p.slab) {
		return nil
	}
	return Params(p.slab[first:len(p.slab):len(p.slab)])
}

func (p *paramParser) skipBlank() {
	for !p.done() && isWSP(p.peek()) {
		p.i++
	}
}

// value reads a quoted-string or everything up to the semicolon.
func (p *paramParser) value() string {
	if p.peek() == '"' {
		v := p.quoted()
		p.skipCFWS()
		if !p.done() && p.peek() != ';' && !p.startsParam() {
			p.err = errMalformedParam // junk after the quoted string
			p.skipTo(';')
		}
		return v
	}
	start := p.i
	v := p.until(endOfValue)
	p.skipCFWS()
	if p.done() || p.peek() == ';' || p.startsParam() {
		return v
	}
	// Not a token: a name with spaces, such as "name=my file (1).txt". The search goes on from
	// here, not from start, so that nothing is looked at twice.
	p.err = errMalformedParam
	p.skipTo(';')
	return strings.TrimRight(p.s[start:p.i], " \t")
}

// startsParam reports whether "name=" follows, which tells a missing semicolon from a value
// with spaces.
func (p *paramParser) startsParam() bool {
	i := p.i
	for i < len(p.s) && i-p.i < maxParamName && isAtext(p.s[i]) && p.s[i] != '=' {
		i++
	}
	return i > p.i && i < len(p.s) && p.s[i] == '='
}

const maxParamName = 64

func (p *paramParser) skipTo(c byte) {
	if j := strings.IndexByte(p.s[p.i:], c); j >= 0 {
		p.i += j
	} else {
		p.i = len(p.s)
	}
}

// maxContinuations is how many pieces of one continued parameter are put together (RFC 2231
// §3).
const maxContinuations = 100

// Get returns the value of a parameter in UTF-8, "" if it is missing. A value encoded by RFC
// 2231 is decoded and its pieces are put together in the order of their numbers, up to the
// first gap; it goes before a plain one of the same name. The first of duplicates counts. The
// result may hold control characters; see Display.
func (ps Params) Get(name string) string {
	var pieces [maxContinuations]int // index + 1
	plain, whole := -1, -1
	for i, p := range ps {
		if len(p.Name) < len(name) || !strings.EqualFold(p.Name[:len(name)], name) {
			continue
		}
		switch n, kind := section(p.Name[len(name):]); {
		case kind == sectionNone && plain < 0:
			plain = i
		case kind == sectionWhole && whole < 0:
			whole = i
		case kind == sectionPiece && pieces[n] == 0:
			pieces[n] = i + 1
		}
	}
	switch {
	case pieces[0] > 0:
		return ps.join(pieces[:])
	case whole >= 0:
		charset, v := extended(ps[whole].Value)
		text, _ := decodeCharset(charset, percentDecode(nil, v))
		return text
	case plain >= 0:
		return fallbackText(ps[plain].Value)
	}
	return ""
}

type sectionKind uint8

const (
	sectionNone  sectionKind = iota // name
	sectionWhole                    // name*
	sectionPiece                    // name*N or name*N*
	sectionOther
)

// section reads what follows the name of a parameter. Numbers beyond the limit, with leading
// zeros or signs are none (M03).
func section(s string) (n int, kind sectionKind) {
	switch {
	case s == "":
		return 0, sectionNone
	case s == "*":
		return 0, sectionWhole
	case s[0] != '*':
		return 0, sectionOther
	}
	digits := strings.TrimSuffix(s[1:], "*")
	if digits == "" || len(digits) > 2 || len(digits) == 2 && digits[0] == '0' {
		return 0, sectionOther
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, sectionOther
		}
		n = n*10 + int(digits[i]-'0')
	}
	return n, sectionPiece
}

// join puts continued pieces together. Only those whose name ends in an asterisk are
// percent-encoded; the first tells the charset.
func (ps Params) join(pieces []int) string {
	var charset string
	var out []byte
	for i, at := range pieces {
		if at == 0 {
			break
		}
		p := ps[at-1]
		if !strings.HasSuffix(p.Name, "*") {
			out = append(out, p.Value...)
			continue
		}
		v := p.Value
		if i == 0 {
			charset, v = extended(v)
		}
		out = percentDecode(out, v)
	}
	text, _ := decodeCharset(charset, out)
	return text
}

// extended splits charset'language'value (RFC 2231 §4); without the two quotes all is value.
func extended(v string) (charset, value string) {
	a := strings.IndexByte(v, '\'')
	if a < 0 {
		return "", v
	}
	b := strings.IndexByte(v[a+1:], '\'')
	if b < 0 {
		return "", v
	}
	return v[:a], v[a+1+b+1:]
}

func percentDecode(dst []byte, v string) []byte {
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) && unhex(v[i+1]) < 16 && unhex(v[i+2]) < 16 {
			dst = append(dst, unhex(v[i+1])<<4|unhex(v[i+2]))
			i += 2
			continue
		}
		dst = append(dst, v[i])
	}
	return dst
}

// Filename returns the name of a file as the sender wrote it, and a clean one that is safe to
// create: the base name, without control characters, path separators, leading dots and reserved
// characters, at most 200 octets; "" if nothing is left. The disposition's filename goes before
// the type's name; encoded words inside, which RFC 2047 §5 forbids, are decoded because much
// mail has them.
func Filename(disposition, contentType Params) (clean, raw string) {
	raw = disposition.Get("filename")
	if raw == "" {
		raw = contentType.Get("name")
	}
	text := raw
	if strings.Contains(text, "=?") {
		text = DecodeText(text)
	}
	return CleanFilename(text), raw
}

const maxFilename = 200

// CleanFilename makes a name safe to create in a folder on any system: see Filename.
func CleanFilename(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/'
		case isControl(r), r == utf8.RuneError:
			return -1
		case strings.ContainsRune(`:*?"<>|`, r):
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, ""))
	name = path.Base(strings.TrimRight(name, "/ ."))
	name = strings.Trim(strings.TrimLeft(name, ". "), " ")
	if name == "/" {
		return ""
	}
	if isDevice(name) {
		name = "_" + name
	}
	if len(name) > maxFilename {
		name = shorten(name)
	}
	return name
}

// isDevice reports whether Windows takes the name for a device, whatever its extension.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(base) == 4 && (base[:3] == "COM" || base[:3] == "LPT") && base[3] >= '1' && base[3] <= '9'
}

// shorten cuts a name to maxFilename octets and keeps a short extension.
func shorten(name string) string {
	ext := path.Ext(name)
	if len(ext) > 16 {
		ext = ""
	}
	return strings.ToValidUTF8(name[:maxFilename-len(ext)], "") + ext
}

package mime

import (
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// AddressKind tells mailboxes from the marks around a group.
type AddressKind uint8

// The kinds of entry in an address list.
const (
	Mailbox    AddressKind = iota // name and address
	GroupStart                    // Name is the name of the group; its members follow
	GroupEnd
)

// An Address is one entry of an address list (RFC 5322 §3.4, RFC 6532). IMAP's ENVELOPE shows
// these fields.
type Address struct {
	Kind AddressKind
	// Name is the display name, its quoting removed, its encoded words not decoded: see Text.
	Name string
	// Route is the obsolete source route without its colon ("@a,@b"); it is read and never
	// used.
	Route string
	// Local is the local part with its quoting removed. Addr quotes it again where needed.
	Local string
	// Domain is the domain or [literal] as written, "" where it is missing.
	Domain string
}

// Addresses is a list with its groups laid flat: members stand between GroupStart and GroupEnd.
type Addresses []Address

// Mailboxes ranges over the mailboxes, those of groups included.
func (as Addresses) Mailboxes() iter.Seq[Address] {
	return func(yield func(Address) bool) {
		for _, a := range as {
			if a.Kind == Mailbox && !yield(a) {
				return
			}
		}
	}
}

// A SyntaxError says where a value breaks its grammar.
type SyntaxError struct {
	What   string // "address", "date", ...
	Offset int    // octets into the value
	Reason string
}

// Error returns all of it in words.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("mime: %s: %s at octet %d", e.What, e.Reason, e.Offset)
}

// MaxAddresses is the longest address list that is read.
const MaxAddresses = 100_000

// ParseAddresses reads the unfolded body of a From, To, Cc, ... field. It returns every entry
// it can make out, and beside it the first thing that breaks the grammar (*SyntaxError), so
// that a reader can show what is there and a policy can refuse. What is no address
// ("MAILER-DAEMON") is an entry with an empty Domain. Encoded words are never decoded here
// (P03).
func ParseAddresses(v string) (Addresses, error) {
	p := addressParser{lexer: lexer{s: v}}
	if n := strings.Count(v, ","); n > 0 {
		p.out = make(Addresses, 0, min(n+1, MaxAddresses))
	}
	for !p.done() && len(p.out) < MaxAddresses {
		p.entry()
	}
	if !p.done() {
		p.fail("too many addresses")
	}
	if p.bad {
		p.fail("comment or quoted string does not end")
	}
	if p.inGroup {
		p.fail("group without its semicolon")
		p.out = append(p.out, Address{Kind: GroupEnd})
	}
	if len(p.out) == 0 {
		p.out = nil // as it is without commas
	}
	if p.err != nil {
		return p.out, p.err
	}
	return p.out, nil
}

// ParseAddress reads exactly one mailbox, by the grammar and without repair: what users typed
// and what a message is sent to.
func ParseAddress(v string) (Address, error) {
	as, err := ParseAddresses(v)
	switch {
	case err != nil:
		return Address{}, err
	case len(as) != 1 || as[0].Kind != Mailbox:
		return Address{}, &SyntaxError{What: "address", Reason: "want exactly one mailbox"}
	}
	return as[0], as[0].check()
}

// addressParser reads a list entry by entry: words, and then what the next special character
// makes of them.
type addressParser struct {
	lexer
	out     Addresses
	inGroup bool
	err     *SyntaxError
}

func (p *addressParser) fail(reason string) {
	if p.err == nil {
		p.err = &SyntaxError{What: "address", Offset: p.i, Reason: reason}
	}
}

// words are the atoms and quoted strings before a special character: a phrase, or a local part
// in pieces.
type words struct {
	phrase strings.Builder // joined by spaces
	local  strings.Builder // joined by nothing
	n      int
	first  string // the only word, where there is one
	quoted bool
	gaps   bool // white space between words, which a local part must not have (RFC 5322 §3.4.1, but see obs-local-part)
}

// text returns the words as a phrase.
func (w *words) text() string {
	if w.n <= 1 {
		return w.first
	}
	return w.phrase.String()
}

// localPart returns the words as a local part.
func (w *words) localPart() string {
	if w.n <= 1 {
		return w.first
	}
	return w.local.String()
}

func (w *words) add(s string, spaced bool) {
	switch w.n {
	case 0:
		w.first = s
	case 1:
		w.phrase.WriteString(w.first)
		w.local.WriteString(w.first)
		fallthrough
	default:
		if spaced {
			w.phrase.WriteByte(' ')
			w.gaps = true
		}
		w.phrase.WriteString(s)
		w.local.WriteString(s)
	}
	w.n++
}

// entry reads up to and including the comma, colon or semicolon that ends an entry.
func (p *addressParser) entry() {
	p.comment = ""
	var w words
	p.readWords(&w)
	switch p.peek() {
	case ':':
		p.i++
		p.groupStart(&w)
	case '<':
		p.mailbox(p.angle(w.text()))
	case '@':
		p.i++
		if w.gaps {
			p.fail("white space in a local part")
		}
		p.checkLocal(&w)
		a := Address{Local: w.localPart(), Domain: p.domain()}
		p.skipCFWS()
		a.Name = unescapeComment(p.comment)
		p.mailbox(a)
	default:
		if w.n > 0 {
			p.fail("address without a domain")
			p.mailbox(Address{Local: w.text()})
			return
		}
		p.separator()
	}
}

func (p *addressParser) groupStart(w *words) {
	if p.inGroup || w.n == 0 {
		p.fail("misplaced colon")
		if p.inGroup {
			return
		}
	}
	p.inGroup = true
	p.out = append(p.out, Address{Kind: GroupStart, Name: w.text()})
}

// maxMissingComma is how far ahead the next address is looked for where a comma is missing: a
// display name.
const maxMissingComma = 200

// mailbox ends an entry with a.
func (p *addressParser) mailbox(a Address) {
	p.out = append(p.out, a)
	p.skipCFWS()
	if !p.done() && p.peek() != ',' && p.peek() != ';' {
		p.fail("text after an address")
		next := p.s[p.i:min(len(p.s), p.i+maxMissingComma)]
		if i := strings.IndexAny(next, ",;<"); i >= 0 && next[i] == '<' {
			return // another address, whose comma is missing
		}
		p.skipJunk()
	}
	p.separator()
}

// separator consumes a comma or semicolon. A semicolon outside of a group separates too, as
// some programs write it.
func (p *addressParser) separator() {
	switch {
	case p.eat(','):
	case p.eat(';'):
		if !p.inGroup {
			p.fail("semicolon outside of a group")
			return
		}
		p.inGroup = false
		p.out = append(p.out, Address{Kind: GroupEnd})
		p.skipCFWS()
		p.eat(',')
	case !p.done():
		p.fail(fmt.Sprintf("unexpected %q", p.peek()))
		p.i++
	}
}

// skipJunk goes to the next comma or semicolon outside of quotes.
func (p *addressParser) skipJunk() {
	for p.skipCFWS(); !p.done() && p.peek() != ',' && p.peek() != ';'; p.skipCFWS() {
		if p.peek() == '"' {
			p.quoted()
		} else {
			p.i++
		}
	}
}

// readWords reads atoms, dots and quoted strings.
func (p *addressParser) readWords(w *words) {
	for {
		before := p.i
		p.skipCFWS()
		spaced := p.i > before
		switch c := p.peek(); {
		case p.done():
			return
		case c == '"':
			w.quoted = true
			w.add(p.quoted(), spaced)
		case isAtext(c) || c == '.' || c == '[' || c == ']' || c == '\\' || c < ' ' || c == 0x7f:
			p.atom(w, spaced)
		default:
			return
		}
	}
}

// atom reads one atom with its dots; other characters that have no business in one are kept.
func (p *addressParser) atom(w *words, spaced bool) {
	start := p.i
	for !p.done() {
		c := p.peek()
		if !isAtext(c) && c != '.' {
			if c != '[' && c != ']' && c != '\\' && (c >= ' ' && c != 0x7f || isWSP(c) || c == '\r' || c == '\n') {
				break
			}
			p.fail(fmt.Sprintf("unexpected %q", c))
		}
		p.i++
	}
	w.add(p.s[start:p.i], spaced)
}

// checkLocal notes a local part that is no dot-atom and not quoted.
func (p *addressParser) checkLocal(w *words) {
	l := w.localPart()
	if w.n == 0 {
		p.fail("address without a local part")
	} else if !w.quoted && !isDotAtom(l) {
		p.fail("misplaced dot in a local part")
	}
}

// angle reads "<route:local@domain>".
func (p *addressParser) angle(name string) Address {
	p.i++
	a := Address{Name: name}
	p.skipCFWS()
	if p.peek() == '@' {
		a.Route = p.route()
	}
	var w words
	p.readWords(&w)
	if p.eat('@') {
		if w.gaps {
			p.fail("white space in a local part")
		}
		p.checkLocal(&w)
		a.Local, a.Domain = w.localPart(), p.domain()
	} else {
		a.Local = w.localPart()
		p.fail("address without a domain")
	}
	p.skipCFWS()
	if !p.eat('>') {
		p.fail("address without its closing bracket")
		p.skipAngle()
	}
	return a
}

// skipAngle looks for the closing bracket within this entry.
func (p *addressParser) skipAngle() {
	for !p.done() && p.peek() != ',' && p.peek() != ';' {
		if p.eat('>') {
			return
		}
		p.i++
	}
}

// route reads an obsolete source route (RFC 5322 §4.4).
func (p *addressParser) route() string {
	start := p.i
	for !p.done() && p.peek() != '>' && p.peek() != ':' {
		p.i++
	}
	r := p.s[start:p.i]
	if !p.eat(':') {
		p.fail("source route without its colon")
	}
	return r
}

// domain reads a dot-atom, perhaps with comments between its labels (obs-domain), or a literal.
func (p *addressParser) domain() string {
	p.skipCFWS()
	if p.peek() == '[' {
		return p.literal()
	}
	start := p.i
	d := ""
	for {
		for !p.done() && (isAtext(p.peek()) || p.peek() == '.') {
			p.i++
		}
		d += p.s[start:p.i]
		mark := p.i
		p.skipCFWS()
		// Labels go on only around a dot, so that d grows by at most a domain's length of
		// labels.
		if p.peek() != '.' && !(strings.HasSuffix(d, ".") && !p.done() && isAtext(p.peek())) || mark == p.i || len(d) > maxDomain {
			break
		}
		start = p.i
	}
	if !isDotAtom(d) {
		p.fail("malformed domain")
	}
	return d
}

// maxDomain is the length of a domain name (RFC 1035 §2.3.4), which bounds how long obsolete
// forms are put together.
const maxDomain = 255

func (p *addressParser) literal() string {
	start := p.i
	for !p.done() {
		c := p.peek()
		p.i++
		if c == ']' {
			return p.s[start:p.i]
		}
	}
	p.fail("domain literal does not end")
	return p.s[start:]
}

// unescapeComment removes the quoting of a comment that serves as a name.
func unescapeComment(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return strings.Trim(s, " \t")
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return strings.Trim(b.String(), " \t")
}

// isDotAtom reports whether s is atoms with single dots between them.
func isDotAtom(s string) bool {
	dot := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if dot {
				return false
			}
			dot = true
		case !isAtext(c):
			return false
		default:
			dot = false
		}
	}
	return !dot
}

// Text returns the display name for people: decoded, valid UTF-8, without control characters.
// It carries no structure; a name may well say "boss@bank.example" (D07): show the address
// beside it.
func (a Address) Text() string { return DecodeText(a.Name) }

// Addr returns local@domain with the local part quoted where it must be. It is the only form in
// which an address may go back into a protocol or a header (P01). An entry without a domain
// gives its local part alone, one without both "".
func (a Address) Addr() string {
	local := a.Local
	if local == "" && a.Domain == "" {
		return ""
	}
	if !isDotAtom(local) {
		local = quote(local)
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// String returns the entry for a header field, with the name as it is, quoted where it must be;
// see FormatAddresses for names beyond ASCII. Parsing the string gives the entry back.
func (a Address) String() string {
	switch a.Kind {
	case GroupStart:
		return formatPhrase(a.Name) + ":"
	case GroupEnd:
		return ";"
	}
	if a.Name == "" {
		return a.Addr()
	}
	return formatPhrase(a.Name) + " <" + a.Addr() + ">"
}

// formatPhrase writes a display name, which consists of encoded words or atoms, or is quoted.
func formatPhrase(name string) string {
	for word := range strings.SplitSeq(name, " ") {
		if !isDotAtom(word) || strings.Contains(word, ".") {
			return quote(name)
		}
	}
	return name
}

// check holds an address to what may be sent: no control characters, a domain, valid UTF-8.
func (a Address) check() error {
	for _, s := range [...]string{a.Name, a.Local, a.Domain} {
		if err := checkValue("address", s); err != nil {
			return err
		}
	}
	switch {
	case a.Kind != Mailbox:
		return nil
	case a.Domain == "":
		return &ValueError{What: "address", Reason: "no domain"}
	case a.Domain[0] == '[' && !isLiteral(a.Domain) || a.Domain[0] != '[' && !isDotAtom(a.Domain):
		return &ValueError{What: "address", Reason: "malformed domain"}
	}
	return nil
}

// isLiteral reports whether s is a domain literal (RFC 5322 §3.4.1, dtext without its obsolete
// forms).
func isLiteral(s string) bool {
	return len(s) > 2 && s[len(s)-1] == ']' && !strings.ContainsAny(s[1:len(s)-1], "[]\\ \t") && utf8.ValidString(s)
}

// FormatAddresses writes a list for a header field: names beyond ASCII as encoded words, others
// quoted where they must be. Addresses beyond ASCII stay UTF-8 (RFC 6532), and such a message
// needs SMTPUTF8. The error is a *ValueError for a control character or a missing or malformed
// domain; nothing can be injected.
func FormatAddresses(as Addresses) (string, error) {
	var b strings.Builder
	sep := ""
	for _, a := range as {
		if err := a.check(); err != nil {
			return "", err
		}
		if a.Kind != GroupEnd {
			b.WriteString(sep)
		}
		a.Name = encodeName(a.Name)
		b.WriteString(a.String())
		sep = ", "
		if a.Kind == GroupStart {
			sep = " "
		}
	}
	return b.String(), nil
}

// encodeName encodes a name as words unless it is printable ASCII. A name that is encoded words
// already stays.
func encodeName(name string) string {
	if isPlain(name) {
		return name
	}
	return EncodeText(name)
}

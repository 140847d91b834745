package imap

import "strings"

// pattern is a mailbox pattern of LIST: "*" matches anything, "%" anything but the delimiter.
type pattern string

// newPattern joins reference and pattern, and takes runs of wildcards together: "*%*" is "*".
func newPattern(reference, name string) pattern {
	var b strings.Builder
	full := reference + name
	for i := 0; i < len(full); {
		if full[i] != '*' && full[i] != '%' {
			b.WriteByte(full[i])
			i++
			continue
		}
		wild := byte('%')
		for ; i < len(full) && (full[i] == '*' || full[i] == '%'); i++ {
			if full[i] == '*' {
				wild = '*'
			}
		}
		b.WriteByte(wild)
	}
	return pattern(b.String())
}

// matches reports whether a name fits. It takes one step for each octet of the name and each place
// in the pattern that is possible there, and never goes back (I09). at[i] says that the pattern's
// first i octets fit what was read of the name.
func (p pattern) matches(name string) bool {
	if len(name) == len("INBOX") && name == "INBOX" { // RFC 9051 §5.1: INBOX in any case
		p = pattern(strings.ToUpper(string(p)))
	}
	var small [128]bool
	at := small[:]
	if len(p)+1 > len(small) {
		at = make([]bool, len(p)+1)
	}
	at = at[:len(p)+1]
	at[0] = true
	p.skipWild(at)
	for i := range len(name) {
		if !p.step(at, name[i]) {
			return false
		}
	}
	return at[len(p)]
}

// skipWild lets wildcards match nothing.
func (p pattern) skipWild(at []bool) {
	for i := range len(p) {
		if at[i] && (p[i] == '*' || p[i] == '%') {
			at[i+1] = true
		}
	}
}

// step reads one octet of the name. It works downwards, so that places are read before they are
// written.
func (p pattern) step(at []bool, c byte) (possible bool) {
	for i := len(p); i >= 0; i-- {
		ok := i < len(p) && at[i] && (p[i] == '*' || p[i] == '%' && c != delimiter[0])
		ok = ok || i > 0 && at[i-1] && p[i-1] == c && p[i-1] != '*' && p[i-1] != '%'
		at[i] = ok
		possible = possible || ok
	}
	p.skipWild(at)
	return possible
}

package mailbox

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// caseFolder brings text into the form of i;unicode-casemap (RFC 5051 §2): each character to
// titlecase, then decomposed. Folded texts are compared octet by octet. It keeps what it has worked
// out for frequent characters; it is not safe for concurrent use.
type caseFolder struct {
	cache [cachedRunes]string
}

// cachedRunes covers Latin, Greek, Cyrillic, Hebrew, Arabic: what has case, or accents.
const cachedRunes = 0x800

// foldString returns text folded.
func foldString(text string) string {
	var f caseFolder
	out, _ := f.fold(nil, []byte(text), true)
	return string(out)
}

// fold appends src folded to dst. A character that is cut off at the end of src is left: rest is how
// many octets of it there are. At the end of a text (last) it is folded as it is. Octets that are
// no UTF-8 stay.
func (f *caseFolder) fold(dst, src []byte, last bool) (out []byte, rest int) {
	for len(src) > 0 {
		n := asciiPrefix(src)
		dst = appendUpper(dst, src[:n])
		src = src[n:]
		for len(src) > 0 && src[0] >= utf8.RuneSelf {
			if !last && !utf8.FullRune(src) {
				return dst, len(src)
			}
			r, size := utf8.DecodeRune(src)
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, src[0])
			} else {
				dst = append(dst, f.rune(r)...)
			}
			src = src[size:]
		}
	}
	return dst, 0
}

func (f *caseFolder) rune(r rune) string {
	if r >= cachedRunes {
		return foldRune(r)
	}
	if f.cache[r] == "" {
		f.cache[r] = foldRune(r)
	}
	return f.cache[r]
}

func foldRune(r rune) string {
	// The decomposition is of the titlecase character, and it may be lower case again (RFC 5051 takes
	// it as it is): fold once more, so that "ǆ" and "Dž" meet.
	s := norm.NFKD.String(string(unicode.ToTitle(r)))
	out := make([]rune, 0, 4)
	for _, d := range s {
		out = append(out, unicode.ToTitle(d))
	}
	return string(out)
}

// asciiPrefix returns how many octets at the start of b are ASCII.
func asciiPrefix(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if (b[i]|b[i+1]|b[i+2]|b[i+3]|b[i+4]|b[i+5]|b[i+6]|b[i+7])&0x80 != 0 {
			break
		}
	}
	for i < len(b) && b[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// appendUpper appends ASCII text in upper case.
func appendUpper(dst, src []byte) []byte {
	n := len(dst)
	dst = append(dst, src...)
	upper(dst[n:])
	return dst
}

// upper makes ASCII text upper case.
func upper(text []byte) {
	for i, c := range text {
		if c-'a' <= 'z'-'a' {
			text[i] = c - ('a' - 'A')
		}
	}
}

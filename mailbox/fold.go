package mailbox

import (
	"encoding/binary"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
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
	if out, n := appendUpper(nil, text); n == len(text) {
		return string(out)
	}
	var f caseFolder
	out, _ := f.fold(nil, []byte(text), true)
	return string(out)
}

// fold appends src folded to dst. A character that is cut off at the end of src is left: rest is how
// many octets of it there are. At the end of a text (last) it is folded as it is. Octets that are
// no UTF-8 are read as windows-1252, as package mime does in text whose charset is missing or wrong.
func (f *caseFolder) fold(dst, src []byte, last bool) (out []byte, rest int) {
	dst = slices.Grow(dst, len(src))
	for len(src) > 0 {
		n := 0
		dst, n = appendUpper(dst, src[:min(len(src), foldStep)])
		src = src[n:]
		for len(src) > 0 && src[0] >= utf8.RuneSelf {
			if !last && !utf8.FullRune(src) {
				return dst, len(src)
			}
			r, size := utf8.DecodeRune(src)
			if r == utf8.RuneError && size == 1 {
				r = charmap.Windows1252.DecodeByte(src[0])
			}
			dst = append(dst, f.rune(r)...)
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
	// The decomposition of a titlecase character may be lower case again ("ǆ", "ﬁ"). RFC 5051 takes it as
	// it is; here it is folded once more, so that "fish" finds a word that begins with a ligature.
	s := norm.NFKD.String(string(unicode.ToTitle(r)))
	out := make([]rune, 0, 4)
	for _, d := range s {
		out = append(out, unicode.ToTitle(d))
	}
	return string(out)
}

// foldStep is how much is copied at a time: not all that follows, after each character beyond ASCII.
const foldStep = 256

// appendUpper appends the ASCII text at the start of src in upper case, and returns how much it is.
func appendUpper[T string | []byte](dst []byte, src T) ([]byte, int) {
	n := len(dst)
	dst = append(dst, src...)
	up := dst[n:]
	i := 0
	for ; i+8 <= len(up); i += 8 {
		x := binary.LittleEndian.Uint64(up[i:])
		if x&highBits != 0 {
			break
		}
		binary.LittleEndian.PutUint64(up[i:], upper8(x))
	}
	for ; i < len(up) && up[i] < utf8.RuneSelf; i++ {
		if c := up[i]; 'a' <= c && c <= 'z' {
			up[i] = c - ('a' - 'A')
		}
	}
	return dst[:n+i], i
}

const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

// upper8 is upper case of eight ASCII octets at once: the high bit of each sum tells whether the octet
// is above a border; none carries into the next octet, as all are below 0x80.
func upper8(x uint64) uint64 {
	fromA := x + (0x80-'a')*everyByte
	beyondZ := x + (0x80-'z'-1)*everyByte
	return x - (fromA&^beyondZ&highBits)>>2 // 0x80 >> 2 is 'a' - 'A'
}

package mime

import (
	"strings"
	"unicode/utf8"
)

// DecodeText decodes the encoded words (RFC 2047) of unstructured text, such as a Subject, or
// of a display name. The result is valid UTF-8 without control characters, at most four times
// as long as s. What is no encoded word, or is in an unknown charset, stays as it is; octets
// that are neither ASCII nor UTF-8 are read as windows-1252.
//
// Real mail breaks words in the middle of characters and puts them next to other text; both are
// read. Never decode an address before it is parsed: the decoded text has no structure (RFC
// 2047 §5).
func DecodeText(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if strings.Contains(s, "=?") {
		s = decodeWords(s)
	}
	if !utf8.ValidString(s) {
		s = guessText([]byte(s))
	}
	return strings.Trim(Display(s), " ")
}

// A word is one encoded word, not yet decoded.
type word struct {
	charset  string
	encoding byte // 'B' or 'Q'
	text     string
}

// A wordDecoder collects the text of a value.
type wordDecoder struct {
	out     strings.Builder
	pending []byte // decoded octets of neighbouring words in one charset: a character may go across words
	charset string
	inWords bool // the last thing was an encoded word
}

// decodeWords goes once through s.
func decodeWords(s string) string {
	var d wordDecoder
	ends := endFinder{s: s}
	shown := 0 // s[:shown] is decoded
	for i := 0; i < len(s); {
		j := strings.Index(s[i:], "=?")
		if j < 0 {
			break
		}
		i += j
		w, n := ends.word(i)
		if n == 0 {
			i += 2
			continue
		}
		d.add(s[shown:i], w)
		i += n
		shown = i
	}
	d.flush()
	d.out.WriteString(fallbackText(s[shown:]))
	return d.out.String()
}

// add takes the text between the last word and w, and w. RFC 2047 §6.2: white space between two
// words is not shown.
func (d *wordDecoder) add(gap string, w word) {
	between := d.inWords && strings.Trim(gap, " \t\r\n") == ""
	if !between || !strings.EqualFold(d.charset, w.charset) {
		d.flush()
	}
	if !between {
		d.out.WriteString(fallbackText(gap))
	}
	d.inWords, d.charset = true, w.charset
	d.pending = w.append(d.pending)
}

func (d *wordDecoder) flush() {
	if len(d.pending) > 0 {
		text, _ := decodeCharset(d.charset, d.pending)
		d.out.WriteString(text)
		d.pending = d.pending[:0]
	}
}

func fallbackText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return guessText([]byte(s))
}

// endFinder finds encoded words. It remembers where the next "?=" is, so that a flood of
// beginnings without end is not searched again and again (M04).
type endFinder struct {
	s    string
	next int // the first "?=" at or after searched is at next
	from int
}

// maxCharsetLen bounds the charset name of an encoded word, with its language (RFC 2231 §5).
const maxCharsetLen = 80

// word reads an encoded word that starts at i and returns its length, 0 if there is none in a
// usable charset.
func (e *endFinder) word(i int) (w word, n int) {
	if i+2 > len(e.s) {
		return word{}, 0
	}
	rest := e.s[i+2:]
	head := rest[:min(len(rest), maxCharsetLen)]
	q := strings.IndexByte(head, '?')
	if q < 1 || len(rest) < q+3 || rest[q+2] != '?' {
		return word{}, 0
	}
	w.charset, _, _ = strings.Cut(rest[:q], "*")
	w.encoding = rest[q+1] &^ 0x20
	start := i + 2 + q + 3
	end := e.end(start)
	if (w.encoding != 'B' && w.encoding != 'Q') || end < 0 || !isToken(w.charset) {
		return word{}, 0
	}
	w.text = e.s[start:end]
	if _, known := findCharset(w.charset); !known || strings.Contains(w.text, "=?") {
		return word{}, 0
	}
	return w, end + 2 - i
}

// end returns where the next "?=" is at or after i, -1 if there is none. i never goes down.
func (e *endFinder) end(i int) int {
	if e.next >= i && e.from > 0 || e.next < 0 {
		return e.next
	}
	e.from, e.next = i, -1
	if i <= len(e.s) {
		if j := strings.Index(e.s[i:], "?="); j >= 0 {
			e.next = i + j
		}
	}
	return e.next
}

// append decodes the transfer encoding of the word.
func (w word) append(dst []byte) []byte {
	if w.encoding == 'B' {
		var d base64Decoder
		n := len(dst)
		dst = append(dst, make([]byte, len(w.text)*3/4+3)...)
		k, _ := d.decode(dst[n:], []byte(w.text), true, false)
		k += d.finish(dst[n+k:])
		return dst[:n+k]
	}
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		switch {
		case c == '_': // RFC 2047 §4.2: always a space
			c = ' '
		case c == '=' && i+2 < len(w.text) && unhex(w.text[i+1]) < 16 && unhex(w.text[i+2]) < 16:
			c = unhex(w.text[i+1])<<4 | unhex(w.text[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
}

// unhex returns the value of a hexadecimal digit, 0xff for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// maxWordLen is the longest encoded word (RFC 2047 §2).
const maxWordLen = 75

// EncodeText writes text for an unstructured field or a display name: plain ASCII as it is,
// anything else as encoded words in UTF-8, each at most 75 octets and whole characters,
// separated by one space. Text that looks like an encoded word is encoded too, so that
// DecodeText(EncodeText(s)) == s for text that Display leaves unchanged and that has no white
// space at its ends. Control characters become encoded octets; use NewField, which refuses
// them, for what users typed.
func EncodeText(s string) string {
	if isPlain(s) && !strings.Contains(s, "=?") {
		return s
	}
	if strings.ToValidUTF8(s, "") != s {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if shorterInQ(s) {
		return encodeWords(s, "=?utf-8?q?", qLen, appendQ)
	}
	return encodeWords(s, "=?utf-8?b?", nil, nil)
}

// shorterInQ reports whether Q, the more readable encoding, is not longer than B.
func shorterInQ(s string) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		n += qLen(s[i])
	}
	return n <= (len(s)+2)/3*4
}

// qLen is the length of one octet in the Q encoding, in the set that is allowed in phrases too
// (RFC 2047 §5 (3)).
func qLen(c byte) int {
	if c == ' ' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!*+-/", c) >= 0 {
		return 1
	}
	return 3
}

func appendQ(b *strings.Builder, c byte) {
	switch {
	case c == ' ':
		b.WriteByte('_')
	case qLen(c) == 1:
		b.WriteByte(c)
	default:
		b.WriteByte('=')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
}

const upperHex = "0123456789ABCDEF"

// encodeWords cuts s between characters. Without a length function the encoding is B.
func encodeWords(s, open string, length func(byte) int, write func(*strings.Builder, byte)) string {
	room := maxWordLen - len(open) - len("?=")
	var b strings.Builder
	for first := true; s != "" || first; first = false {
		if !first {
			b.WriteByte(' ')
		}
		n := 0
		if length == nil {
			n = wholeRunes(s, room/4*3, func(byte) int { return 1 })
		} else {
			n = wholeRunes(s, room, length)
		}
		b.WriteString(open)
		if length == nil {
			b.WriteString(stdBase64.EncodeToString([]byte(s[:n])))
		} else {
			for i := 0; i < n; i++ {
				write(&b, s[i])
			}
		}
		b.WriteString("?=")
		s = s[n:]
	}
	return b.String()
}

// wholeRunes returns how many octets of s, in whole characters, take at most room.
func wholeRunes(s string, room int, length func(byte) int) int {
	n := 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		for i := n; i < n+size; i++ {
			room -= length(s[i])
		}
		if room < 0 {
			break
		}
		n += size
	}
	return n
}

package mime

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// findCharset returns the decoder of a charset. nil means the fall-back, guessText; known tells
// whether the name is one for which that is right (US-ASCII and UTF-8, whose violations
// guessText repairs).
//
// The names are tried as browsers read them first (htmlindex: latin1 is windows-1252, gb2312 is
// GBK), because that is what senders mean; then as IANA lists them. UTF-7 is never decoded in
// mail (M04): it hides control characters and markup from everybody who looks at the bytes.
func findCharset(name string) (enc encoding.Encoding, known bool) {
	name = strings.ToLower(strings.Trim(name, " \t\r\n\"'"))
	switch name {
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "utf-8", "utf8", "unicode-1-1-utf-8", "iso-10646-utf-8":
		return nil, true
	case "utf-7", "unicode-1-1-utf-7", "utf7":
		return nil, false
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e, true
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e, true
	}
	if e, ok := windowsAlias(name); ok {
		return e, true
	}
	return nil, false
}

// windowsAlias reads the forms cp1252 and windows1252.
func windowsAlias(name string) (encoding.Encoding, bool) {
	for _, prefix := range []string{"cp-", "cp", "windows", "win-", "win"} {
		if n, ok := strings.CutPrefix(name, prefix); ok {
			if e, err := ianaindex.MIME.Encoding("windows-" + n); err == nil && e != nil {
				return e, true
			}
			if e, err := ianaindex.MIME.Encoding("ibm" + n); err == nil && e != nil {
				return e, true
			}
		}
	}
	return nil, false
}

// decodeCharset returns text in UTF-8; ok is false when the charset is unknown and the
// fall-back was used. The result is valid UTF-8 and at most four times as long as p.
func decodeCharset(charset string, p []byte) (text string, ok bool) {
	enc, known := findCharset(charset)
	if enc == nil {
		return guessText(p), known
	}
	out, err := enc.NewDecoder().Bytes(p)
	if err != nil || len(out) > 4*len(p)+4 {
		return guessText(p), false
	}
	return strings.ToValidUTF8(string(out), "\uFFFD"), true
}

// guessText is the fall-back for text without a usable charset: what is UTF-8 is taken as
// UTF-8, every other octet as windows-1252, the most frequent unlabelled charset.
func guessText(p []byte) string {
	if utf8.Valid(p) {
		return string(p)
	}
	var b strings.Builder
	b.Grow(len(p) + len(p)/4)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(p[0])
		}
		b.WriteRune(r)
		p = p[n:]
	}
	return b.String()
}

// textReader converts r to UTF-8.
func textReader(charset string, r io.Reader) io.Reader {
	enc, _ := findCharset(charset)
	if enc == nil {
		return transform.NewReader(r, guesser{})
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// guesser is guessText as a transform.Transformer.
type guesser struct{ transform.NopResetter }

// Transform implements transform.Transformer.
func (guesser) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if c := src[nSrc]; c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		}
		r, n := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && n == 1 {
			if !atEOF && !utf8.FullRune(src[nSrc:]) {
				return nDst, nSrc, transform.ErrShortSrc
			}
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += n
	}
	return nDst, nSrc, nil
}

// isControl reports what must not reach a terminal or a list of subjects: control characters
// (C0, DEL, C1), line and paragraph separators, and the marks that reverse the direction of
// text (U+202E shows "exe.txt" for "txt.exe").
func isControl(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// Display makes s safe to show on one line: valid UTF-8, with a space for each control
// character, line separator and bidirectional override.
func Display(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// isPlain reports whether s is printable ASCII, which most values are.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

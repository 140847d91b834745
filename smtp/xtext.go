package smtp

import (
	"errors"
	"strings"
)

// errXtext says that a value is not xtext of RFC 3461 §4.
var errXtext = errors.New("not xtext: + needs two upper-case hexadecimal digits, = and non-ASCII are not allowed")

const hexUpper = "0123456789ABCDEF"

// appendXtext appends s in the xtext encoding of RFC 3461 §4: printable ASCII as it is, "+", "=" and
// everything else as +HH.
func appendXtext(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c >= '!' && c <= '~' && c != '+' && c != '=' {
			b = append(b, c)
			continue
		}
		b = append(b, '+', hexUpper[c>>4], hexUpper[c&15])
	}
	return b
}

// decodeXtext decodes xtext. What decodes to a control character is refused: nobody needs one in an
// envelope ID or an address, and it could end a line further on.
func decodeXtext(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			if i+2 >= len(s) {
				return "", errXtext
			}
			hi, lo := strings.IndexByte(hexUpper, s[i+1]), strings.IndexByte(hexUpper, s[i+2])
			if hi < 0 || lo < 0 {
				return "", errXtext
			}
			c = byte(hi<<4 | lo)
			i += 2
		case c < '!' || c > '~' || c == '=':
			return "", errXtext
		}
		if c < ' ' || c == 0x7f {
			return "", errXtext
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// decodeUTF8Addr decodes the utf-8-addr-xtext and utf-8-addr-unitext of RFC 6533 §3: \x{HEX} stands for a
// code point, other UTF-8 for itself.
func decodeUTF8Addr(s string) (string, error) {
	var b strings.Builder
	for s != "" {
		plain, rest, escaped := strings.Cut(s, `\x{`)
		if strings.ContainsAny(plain, `\+=`) || hasControl(plain) {
			return "", errXtext
		}
		b.WriteString(plain)
		if !escaped {
			break
		}
		hex, after, ok := strings.Cut(rest, "}")
		r, err := parseScalar(hex)
		if !ok || err != nil {
			return "", errXtext
		}
		b.WriteRune(r)
		s = after
	}
	return b.String(), nil
}

// parseScalar parses the HEXPOINT of RFC 6533 §3: a Unicode scalar value that is no control character.
func parseScalar(hex string) (rune, error) {
	if len(hex) < 2 || len(hex) > 6 {
		return 0, errXtext
	}
	var r rune
	for i := range len(hex) {
		d := strings.IndexByte(hexUpper, hex[i])
		if d < 0 {
			return 0, errXtext
		}
		r = r<<4 | rune(d)
	}
	if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0xd800 && r < 0xe000 || r > 0x10ffff {
		return 0, errXtext
	}
	return r, nil
}

// appendUTF8Addr appends s as utf-8-addr-xtext: ASCII, so that it passes servers without SMTPUTF8 too.
func appendUTF8Addr(b []byte, s string) []byte {
	for _, r := range s {
		if r > ' ' && r <= '~' && r != '\\' && r != '+' && r != '=' {
			b = append(b, byte(r))
			continue
		}
		b = append(b, `\x{`...)
		digits := 2
		for r>>(4*digits) != 0 {
			digits++
		}
		for i := digits - 1; i >= 0; i-- {
			b = append(b, hexUpper[r>>(4*i)&15])
		}
		b = append(b, '}')
	}
	return b
}

// hasControl reports whether s holds a C0 control character or DEL.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

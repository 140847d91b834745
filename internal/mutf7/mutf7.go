// Package mutf7 is the modified UTF-7 of IMAP folder names (RFC 3501 §5.1.3), the form in which
// Maildir++ folders lie on disk too.
//
// Only the canonical form is read: Decode(s) succeeds exactly when Encode of its result is s. What
// can be written in two ways can be let past a check in one and used in the other ("&AC4ALg-" is
// "..", "&AGE-" is "a").
package mutf7

import (
	"encoding/base64"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrForm is Decode's error for anything that is not the canonical form of a valid string.
var ErrForm = errors.New("not canonical modified UTF-7")

// alphabet is base64 with "," for "/"; there is no padding.
var alphabet = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// direct reports whether r stands for itself: printable ASCII ("&" is escaped all the same).
func direct(r rune) bool { return r >= 0x20 && r <= 0x7e }

// Encode returns the modified UTF-7 of s. Octets that are not UTF-8 become U+FFFD.
func Encode(s string) string {
	out := make([]byte, 0, len(s)+8)
	var run []byte // UTF-16, big-endian, of the characters that do not stand for themselves
	for _, r := range s {
		if !direct(r) {
			run = appendUTF16(run, r)
			continue
		}
		out, run = flush(out, run), run[:0]
		out = append(out, byte(r))
		if r == '&' {
			out = append(out, '-')
		}
	}
	return string(flush(out, run))
}

func appendUTF16(run []byte, r rune) []byte {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		return append(run, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
	}
	return append(run, byte(r>>8), byte(r))
}

func flush(out, run []byte) []byte {
	if len(run) == 0 {
		return out
	}
	out = append(out, '&')
	out = alphabet.AppendEncode(out, run)
	return append(out, '-')
}

// Decode returns the string whose modified UTF-7 is s, or ErrForm.
func Decode(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if !direct(rune(s[i])) {
			return "", ErrForm
		}
		if s[i] != '&' {
			out = append(out, s[i])
			continue
		}
		end := i + 1
		for end < len(s) && s[end] != '-' {
			end++
		}
		if end == len(s) {
			return "", ErrForm
		}
		var ok bool
		if out, ok = appendRun(out, s[i+1:end]); !ok {
			return "", ErrForm
		}
		i = end
	}
	// One comparison refuses every other spelling: needless escapes, adjacent runs, stray bits.
	if d := string(out); Encode(d) == s {
		return d, nil
	}
	return "", ErrForm
}

// appendRun appends the characters of what stands between "&" and "-".
func appendRun(out []byte, run string) ([]byte, bool) {
	if run == "" {
		return append(out, '&'), true
	}
	b, err := alphabet.DecodeString(run)
	if err != nil || len(b)%2 != 0 {
		return nil, false
	}
	for ; len(b) > 0; b = b[2:] {
		r := rune(b[0])<<8 | rune(b[1])
		if utf16.IsSurrogate(r) {
			if len(b) < 4 {
				return nil, false
			}
			if r = utf16.DecodeRune(r, rune(b[2])<<8|rune(b[3])); r == utf8.RuneError {
				return nil, false
			}
			b = b[2:]
		}
		out = utf8.AppendRune(out, r)
	}
	return out, true
}

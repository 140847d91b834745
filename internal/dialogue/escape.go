package dialogue

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// variable is ${name}.
const variable = `\$\{([A-Za-z_][A-Za-z0-9_]*)\}`

// unescape turns the text of a line into octets. cut is true when the text ends in a lone backslash: no CRLF follows.
func unescape(text string, vars map[string]string) (octets string, cut bool, err error) {
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 1
		switch {
		case text[i] == '\\' && i+1 == len(text):
			return b.String(), true, nil
		case text[i] == '\\':
			n, err = unescapeOne(&b, text[i:])
		case strings.HasPrefix(text[i:], "${"):
			n, err = expandOne(&b, text[i:], vars)
		default:
			b.WriteByte(text[i])
		}
		if err != nil {
			return "", false, err
		}
		i += n
	}
	return b.String(), false, nil
}

// unescapeOne writes what the escape at the beginning of s stands for and returns the length of the escape.
func unescapeOne(b *strings.Builder, s string) (int, error) {
	switch s[1] {
	case 'r':
		b.WriteByte('\r')
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case '\\', '$', '~', '<':
		b.WriteByte(s[1])
	case 'x':
		if len(s) < 4 {
			return 0, errors.New(`\x needs two hexadecimal digits`)
		}
		v, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return 0, errors.New(`\x needs two hexadecimal digits`)
		}
		b.WriteByte(byte(v))
		return 4, nil
	default:
		return 0, fmt.Errorf("unknown escape %q", s[:2])
	}
	return 2, nil
}

// expandOne writes the value of the ${name} at the beginning of s and returns its length.
func expandOne(b *strings.Builder, s string, vars map[string]string) (int, error) {
	name, _, ok := strings.Cut(s[2:], "}")
	value, known := vars[name]
	if !ok || !known {
		return 0, fmt.Errorf("nothing was captured as ${%s}", name)
	}
	b.WriteString(value)
	return len(name) + 3, nil
}

// compile makes the regular expression of a pattern; variables in it stand for themselves.
func compile(pattern string, vars map[string]string) (*regexp.Regexp, error) {
	var missing error
	pattern = regexp.MustCompile(variable).ReplaceAllStringFunc(pattern, func(ref string) string {
		value, ok := vars[ref[2:len(ref)-1]]
		if !ok {
			missing = fmt.Errorf("nothing was captured as %s", ref)
		}
		return regexp.QuoteMeta(value)
	})
	if missing != nil {
		return nil, missing
	}
	return regexp.Compile(`(?s)\A(?:` + pattern + `)\z`)
}

// escape is the inverse of unescape: the text of a line that expects exactly these octets.
func escape(octets string) string {
	var b strings.Builder
	for i, size := 0, 0; i < len(octets); i += size {
		var r rune
		r, size = utf8.DecodeRuneInString(octets[i:])
		switch {
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\', r == '$' && strings.HasPrefix(octets[i:], "${"), i == 0 && (r == '~' || r == '<'):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && size == 1, !unicode.IsPrint(r):
			for _, c := range []byte(octets[i : i+size]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

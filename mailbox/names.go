package mailbox

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of names, the same for all stores; a store may have narrower ones.
const (
	// MaxNameBytes is the longest name of a folder.
	MaxNameBytes = 1000
	// MaxKeywordBytes is the longest keyword.
	MaxKeywordBytes = 64
)

// CheckName returns an error that wraps ErrName when name can not be a folder's: it is empty, longer
// than MaxNameBytes, not UTF-8, has control characters or an empty level, or a level is "." or
// "..". It is what every store asks for at least.
func CheckName(name string) error {
	bad := func(why string) error { return fmt.Errorf("%w: %s", ErrName, why) }
	switch {
	case name == "":
		return bad("it is empty")
	case len(name) > MaxNameBytes:
		return bad("it is too long")
	case !utf8.ValidString(name):
		return bad("it is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return bad("it has control characters")
	}
	for level := range strings.SplitSeq(name, "/") {
		switch level {
		case "":
			return bad("a level of it is empty")
		case ".", "..":
			return bad("a level of it is . or ..")
		}
	}
	return nil
}

// CheckKeyword returns an error that wraps ErrKeyword when name is not an atom of IMAP (RFC 9051
// flag-keyword) or longer than MaxKeywordBytes.
func CheckKeyword(name string) error {
	if name == "" || len(name) > MaxKeywordBytes {
		return fmt.Errorf("%w: %d octets", ErrKeyword, len(name))
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7F || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return fmt.Errorf("%w: it is not an atom", ErrKeyword)
		}
	}
	return nil
}

// CheckKeywords is CheckKeyword for each of a list.
func CheckKeywords(names []string) error {
	for _, k := range names {
		if err := CheckKeyword(k); err != nil {
			return err
		}
	}
	return nil
}

package imap

import (
	"context"
	"strings"
)

// LANGUAGE (RFC 5255 §3): in which language texts are. Ours are English, both as "en" and as "i-default", the language that all
// servers have (RFC 2277 §4.5), so that nothing changes when one of them is chosen.

// maxLanguageRanges limits the ranges of one LANGUAGE.
const maxLanguageRanges = 100

// language answers LANGUAGE.
func (c *conn) language(context.Context) error {
	var ranges []string
	for c.dec.Try(' ') {
		ranges = append(ranges, c.languageRange())
		if len(ranges) > maxLanguageRanges {
			c.dec.Fail("too many languages")
		}
	}
	if err := c.end(); err != nil {
		return err
	}
	if len(ranges) == 0 {
		c.enc.Raw("* LANGUAGE (en i-default)\r\n")
		return nil
	}
	for _, r := range ranges {
		if tag := languageOf(r); tag != "" {
			c.enc.Raw("* LANGUAGE (" + tag + ")\r\n")
			return nil
		}
	}
	return no("CANNOT", "language is not known")
}

// languageRange reads a language-range of RFC 4647 §2.1, in lower case.
func (c *conn) languageRange() string {
	r := strings.ToLower(c.dec.AString())
	for i, part := range strings.Split(r, "-") {
		ok := len(part) >= 1 && len(part) <= 8
		for j := range len(part) {
			letter, digit := part[j] >= 'a' && part[j] <= 'z', part[j] >= '0' && part[j] <= '9'
			ok = ok && (letter || digit && i > 0)
		}
		if !ok && r != "*" {
			c.dec.Fail("malformed language range")
			return ""
		}
	}
	return r
}

// languageOf is the look-up of RFC 4647 §3.4: a range is made shorter until it is the tag of a language of ours.
func languageOf(r string) string {
	switch r {
	case "default", "*":
		return "en"
	case "i-default":
		return r
	}
	if primary, _, _ := strings.Cut(r, "-"); primary == "en" {
		return "en"
	}
	return ""
}

package mbox

import (
	"fmt"
	"strings"
)

// Dialect is one of the ways in which mbox files tell a message's end. Any of them begins each message with a
// "From " line and ends it with an empty line.
type Dialect uint8

// The four dialects. The zero value is MboxRD: it is read and written without loss, and other programs
// read it.
const (
	// MboxRD quotes lines that match ^>*From with one more ">", and takes one off when it reads.
	MboxRD Dialect = iota
	// MboxO quotes lines that begin with "From " and nothing else; ">From " in a message can not be told
	// from a quoted line then: it comes back as "From ".
	MboxO
	// MboxCL quotes like MboxO, and has a Content-Length field that counts the octets of the body in the
	// file, quotes included.
	MboxCL
	// MboxCL2 quotes nothing and relies on Content-Length.
	MboxCL2
	// Auto is for readers: Detect decides. Writers take it as MboxRD.
	Auto
)

var dialectNames = [...]string{"mboxrd", "mboxo", "mboxcl", "mboxcl2", "auto"}

// String returns the usual name: "mboxrd", "mboxo", "mboxcl", "mboxcl2", or "auto".
func (d Dialect) String() string {
	if int(d) < len(dialectNames) {
		return dialectNames[d]
	}
	return fmt.Sprintf("Dialect(%d)", d)
}

// ParseDialect is the inverse of String, in any case.
func ParseDialect(name string) (Dialect, error) {
	for i, n := range dialectNames {
		if strings.EqualFold(n, name) {
			return Dialect(i), nil
		}
	}
	return 0, fmt.Errorf("mbox: unknown dialect %.40q (known: %s)", name, strings.Join(dialectNames[:], ", "))
}

// hasLength tells whether messages carry Content-Length.
func (d Dialect) hasLength() bool { return d == MboxCL || d == MboxCL2 }

// quotes tells whether a line with n ">" before "From " gets another one.
func (d Dialect) quotes(n int) bool {
	switch d {
	case MboxCL2:
		return false
	case MboxO, MboxCL:
		return n == 0
	default:
		return true
	}
}

// unquotes tells whether a line with n > 0 ">" before "From " loses one.
func (d Dialect) unquotes(n int) bool {
	switch d {
	case MboxCL2:
		return false
	case MboxO, MboxCL:
		return n == 1
	default:
		return true
	}
}

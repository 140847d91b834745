package passwdfile

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName is the longest user name in octets.
const maxName = 255

// Entry is one user's line.
type Entry struct {
	Name     string
	Password string // with its {SCHEME}, as it stands; "" if there is none
	UID, GID string // decimal or a name; "" if there is none
	GECOS    string
	Home     string
	Shell    string
	Extra    string // key=value or key, separated by blanks
}

// Fields iterates over the extra fields in their order. A key without "=" has the value "yes".
func (e *Entry) Fields() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for f := range strings.FieldsSeq(e.Extra) {
			key, value, found := strings.Cut(f, "=")
			if !found {
				value = "yes"
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

// Field returns the first extra field with that key.
func (e *Entry) Field(key string) (value string, ok bool) {
	for k, v := range e.Fields() {
		if k == key {
			return v, true
		}
	}
	return "", false
}

// Line returns the entry as a line without its end. The error tells which field can not be written.
func (e *Entry) Line() (string, error) {
	fields := [...]string{e.Name, e.Password, e.UID, e.GID, e.GECOS, e.Home, e.Shell, e.Extra}
	for i, f := range fields {
		if strings.ContainsAny(f, "\r\n\x00") || i < len(fields)-1 && strings.Contains(f, ":") {
			return "", fmt.Errorf("field %d of user %q contains ':', a line end or NUL", i+1, e.Name)
		}
	}
	if comment(e.Name) {
		return "", fmt.Errorf("user name %q would be read as a comment", e.Name)
	}
	line := strings.TrimRight(strings.Join(fields[:7], ":"), ":")
	if e.Extra != "" {
		line = strings.Join(fields[:], ":")
	}
	if back, ok, err := parse(line); err != nil || !ok || back != *e {
		return "", fmt.Errorf("user %q can not be written so that it reads back: %v", e.Name, err)
	}
	return line, nil
}

// comment reports whether a line says nothing.
func comment(line string) bool { return line == "" || line[0] == '#' || line[0] == ':' }

// parse reads one line without its end. ok is false for a line that says nothing. The strings of
// the entry are parts of line.
func parse(line string) (e Entry, ok bool, err error) {
	if comment(line) {
		return e, false, nil
	}
	e = split(line)
	return e, true, e.check()
}

// split is parse for a line that is known to be good.
func split(line string) (e Entry) {
	rest := line
	for i, f := range [...]*string{&e.Name, &e.Password, &e.UID, &e.GID, &e.GECOS, &e.Home, &e.Shell} {
		field, after, more := strings.Cut(rest, ":")
		*f, rest = field, after
		if !more {
			break
		}
		if i == 6 {
			e.Extra = extra(after)
		}
	}
	return e
}

// extra returns the eighth field. Dovecot before 1.0 had an empty field there and a mail location
// behind it; such files are still around.
func extra(field string) string {
	old, found := strings.CutPrefix(field, ":")
	switch {
	case !found:
		return field
	case old == "":
		return ""
	}
	return "userdb_mail=" + old
}

var (
	errName = errors.New("user name is longer than 255 octets, not UTF-8, or has control characters")
	errID   = errors.New("uid or gid is not in the range 0 to 4294967294")
	errNUL  = errors.New("line contains NUL or a bare CR")
)

func (e *Entry) check() error {
	if len(e.Name) > maxName || !utf8.ValidString(e.Name) || strings.ContainsFunc(e.Name, control) {
		return errName
	}
	for _, id := range [...]string{e.UID, e.GID} {
		if id == "" || id[0] < '0' || id[0] > '9' {
			continue // none, or a name, which only the system can resolve
		}
		if n, err := strconv.ParseUint(id, 10, 32); err != nil || n == 1<<32-1 {
			return errID // (uid_t)-1 means "none" to the system calls
		}
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

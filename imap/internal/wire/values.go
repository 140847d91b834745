package wire

import (
	"strings"
	"time"

	"github.com/goniec-mail/goniec/internal/mutf7"
	"github.com/goniec-mail/goniec/mailbox"
)

// Mailbox reads a mailbox name and returns it as the packages of this module spell it: UTF-8,
// INBOX in capitals. A name that is no canonical modified UTF-7 is an error that BadName tells from
// bad grammar: the session goes on with NO [CANNOT].
func (d *Decoder) Mailbox() string {
	name := d.mailbox(d.AString())
	return mailbox.CanonicalName(name)
}

func (d *Decoder) mailbox(raw string) string {
	if d.err != nil || d.UTF8 {
		return raw
	}
	name, err := mutf7.Decode(raw)
	if err != nil {
		d.fail(badName{})
		return ""
	}
	return name
}

// badName is the error of a mailbox name in a form that is not read.
type badName struct{}

func (badName) Error() string { return "mailbox name is not canonical modified UTF-7" }

// As makes an *Error of it, so that it counts as a fault of the peer and leaves the stream in step.
func (b badName) As(target any) bool {
	e, ok := target.(**Error)
	if ok {
		*e = &Error{Text: b.Error()}
	}
	return ok
}

// BadName reports whether err is that of Mailbox for a name that can not be read.
func BadName(err error) bool {
	_, ok := err.(badName)
	return ok
}

// NumSet reads a sequence-set. saved means that it is "$", the result of the last search (RFC 5182).
func (d *Decoder) NumSet() (set mailbox.NumSet, saved bool) {
	if d.Try('$') {
		return nil, true
	}
	text := d.word(isSet, "a set of numbers")
	if d.err != nil {
		return nil, false
	}
	set, err := mailbox.ParseNumSet(text)
	if err != nil {
		d.fail(syntax("%s", err))
	}
	return set, false
}

func isSet(c byte) bool { return isDigit(c) || c == ',' || c == ':' || c == '*' }

// UIDSet reads a set of UIDs without "*" (RFC 7162 known-uids).
func (d *Decoder) UIDSet() mailbox.UIDSet {
	text := d.word(isSet, "a set of UIDs")
	if d.err != nil {
		return nil
	}
	set, err := mailbox.ParseUIDSet(text)
	if err != nil {
		d.fail(syntax("%s", err))
	}
	return set
}

// Flag reads a flag: a keyword, or "\" and an atom. "\*", which only PERMANENTFLAGS has, is read too.
func (d *Decoder) Flag() string {
	if !d.Try('\\') {
		return d.Atom()
	}
	if d.Try('*') {
		return `\*`
	}
	return `\` + d.Atom()
}

// Flags reads a list of flags and adds them to l. A system flag that this module does not know is
// an error; \Recent, which no client may set (RFC 3501 §2.3.2), is too.
func (d *Decoder) Flags() mailbox.FlagList {
	var l mailbox.FlagList
	d.List(func() { d.AddFlag(&l) })
	return l
}

// AddFlag reads one flag into l.
func (d *Decoder) AddFlag(l *mailbox.FlagList) {
	name := d.Flag()
	if d.err != nil {
		return
	}
	if name[0] != '\\' {
		l.Keywords = append(l.Keywords, name)
		return
	}
	flag := SystemFlag(name)
	if flag == 0 {
		d.fail(syntax("flag %.40q can not be set", name))
	}
	l.System |= flag
}

// SystemFlag returns the bit of a system flag, in any case; 0 for others.
func SystemFlag(name string) mailbox.Flags {
	for i, n := range systemFlags {
		if strings.EqualFold(n, name) {
			return 1 << i
		}
	}
	return 0
}

// systemFlags has the names of mailbox.SystemFlags in the order of their bits.
var systemFlags = [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}

const (
	dateTime = "_2-Jan-2006 15:04:05 -0700" // RFC 9051 date-time, inside quotes
	date     = "2-Jan-2006"                 // RFC 9051 date-text
)

// DateTime reads a date-time in quotes: INTERNALDATE.
func (d *Decoder) DateTime() time.Time {
	if d.Peek() != '"' {
		d.wanted("a date and time")
		return time.Time{}
	}
	return d.time(dateTime, d.quoted())
}

// Date reads a date, with or without quotes, as midnight UTC: RFC 9051 §6.4.4 disregards time and
// time zone.
func (d *Decoder) Date() time.Time {
	if d.Peek() == '"' {
		return d.time(date, d.quoted())
	}
	return d.time(date, d.Atom())
}

func (d *Decoder) time(layout, text string) time.Time {
	if d.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		d.fail(syntax("bad date %.40q", text))
		return time.Time{}
	}
	return t
}

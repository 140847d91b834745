package mime

import (
	"strings"
	"time"
)

// ParseDate reads a date-time in the form of RFC 5322 §3.3, its obsolete forms (§4.3: two- and
// three-digit years, zone names, comments, white space), and what else real mail has: no day
// name, no seconds, no zone, "Mon Jan 2 15:04:05 2006", "2-Jan-2006", and RFC 3339. A missing
// or unknown zone is UTC, as RFC 5322 §4.3 says for unknown names. The time has the zone of the
// message. The error is a *SyntaxError.
func ParseDate(v string) (time.Time, error) {
	p := dateParser{lexer: lexer{s: v}}
	for p.step() {
	}
	return p.time()
}

// dateParser collects the pieces in whatever order they come: their forms differ enough.
type dateParser struct {
	lexer
	year, month, day  int
	hour, minute, sec int
	haveYear, haveDay bool
	haveTime          bool
	zone              *time.Location
	reason            string
}

// step reads one piece; false ends.
func (p *dateParser) step() bool {
	for p.skipCFWS(); p.eat(','); p.skipCFWS() {
	}
	if p.done() || p.reason != "" {
		return false
	}
	c := p.peek()
	switch {
	case c >= '0' && c <= '9':
		p.number()
	case c == '+' || c == '-':
		p.offset()
	case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
		p.name()
	default:
		return false // junk at the end, such as a zone name in brackets
	}
	return true
}

// digits reads a number; of a longer one than nine digits the beginning.
func (p *dateParser) digits() (n, length int) {
	start := p.i
	for !p.done() && p.peek() >= '0' && p.peek() <= '9' {
		if p.i-start < 9 {
			n = n*10 + int(p.peek()-'0')
		}
		p.i++
	}
	return n, p.i - start
}

// number reads a time, a day, a year, or a date made of numbers.
func (p *dateParser) number() {
	n, length := p.digits()
	after := p.i
	p.skipCFWS()
	next := p.peek()
	if next != ':' {
		p.i = after
		next = p.peek()
	}
	switch {
	case length <= 2 && !p.haveTime && (next == ':' || next == '.' && p.haveDay):
		p.clock(n, next)
	case length == 4 && next == '-' && !p.haveDay:
		p.iso(n)
	case !p.haveDay && length <= 2:
		p.day, p.haveDay = n, true
		p.eat('-')
	case !p.haveYear && length <= 4:
		p.year, p.haveYear = fullYear(n, length), true
	default:
		p.reason = "unexpected number"
	}
}

// fullYear is RFC 5322 §4.3's reading of short years.
func fullYear(n, length int) int {
	switch {
	case length <= 2 && n < 50:
		return 2000 + n
	case length <= 3:
		return 1900 + n
	}
	return n
}

// clock reads the rest of hour:minute[:second[.fraction]].
func (p *dateParser) clock(hour int, sep byte) {
	p.hour, p.haveTime = hour, true
	p.eat(sep)
	p.skipCFWS()
	p.minute, _ = p.digits()
	after := p.i
	p.skipCFWS()
	if !p.eat(sep) {
		p.i = after
	} else {
		p.skipCFWS()
		p.sec, _ = p.digits()
		if p.eat('.') {
			p.digits()
		}
	}
}

// iso reads the rest of YYYY-MM-DD and a T.
func (p *dateParser) iso(year int) {
	p.year, p.haveYear = year, true
	p.eat('-')
	p.month, _ = p.digits()
	if !p.eat('-') {
		p.reason = "malformed date"
		return
	}
	p.day, _ = p.digits()
	p.haveDay = true
	if p.peek() == 'T' || p.peek() == 't' {
		p.i++
	}
}

// offset reads +hhmm, +hh:mm or +hh.
func (p *dateParser) offset() {
	sign := 1
	if p.peek() == '-' {
		sign = -1
	}
	p.i++
	n, length := p.digits()
	switch {
	case length <= 2 && p.eat(':'):
		m, _ := p.digits()
		n = n*100 + m
	case length <= 2:
		n *= 100
	case length > 4:
		return // some write +01000; the zone is unknown
	}
	if p.zone == nil && n < 2400 && n%100 < 60 {
		p.zone = fixedZone(sign * (n/100*3600 + n%100*60))
	}
}

func fixedZone(seconds int) *time.Location {
	if seconds == 0 {
		return time.UTC
	}
	return time.FixedZone("", seconds)
}

const (
	monthNames = "janfebmaraprmayjunjulaugsepoctnovdec"
	// zoneNames are those of RFC 5322 §4.3, with their hours. Single letters and other names
	// are unknown: UTC.
	zoneNames = "EST-5EDT-4CST-6CDT-5MST-7MDT-6PST-8PDT-7"
)

// name reads a month, or a zone after the time; the name of a day is skipped unchecked, since
// it says nothing new.
func (p *dateParser) name() {
	start := p.i
	for !p.done() && (p.peek()|0x20 >= 'a' && p.peek()|0x20 <= 'z') {
		p.i++
	}
	word := p.s[start:p.i]
	p.eat('.')
	if m := monthOf(word); m > 0 && p.month == 0 {
		p.month = m
		p.eat('-')
		return
	}
	switch up := strings.ToUpper(word); {
	case !p.haveTime:
	case (up == "PM" || up == "AM") && p.hour <= 12:
		p.hour %= 12
		if up == "PM" {
			p.hour += 12
		}
	case len(word) == 3 && p.zone == nil:
		if i := strings.Index(zoneNames, up); i >= 0 {
			p.zone = fixedZone(-int(zoneNames[i+4]-'0') * 3600)
		}
	case up == "Z" || up == "UT":
		p.zone = time.UTC
	}
}

func monthOf(word string) int {
	if len(word) < 3 {
		return 0
	}
	if i := strings.Index(monthNames, strings.ToLower(word[:3])); i >= 0 && i%3 == 0 {
		return i/3 + 1
	}
	return 0
}

// time checks the ranges. A leap second is read as the second after it.
func (p *dateParser) time() (time.Time, error) {
	switch {
	case p.reason != "":
	case !p.haveDay || !p.haveYear || p.month == 0:
		p.reason = "no day, month and year"
	case p.month > 12 || p.day < 1 || p.day > 31 || p.hour > 24 || p.minute > 59 || p.sec > 60 || p.year > 9999:
		p.reason = "number out of range"
	}
	if p.reason != "" {
		return time.Time{}, &SyntaxError{What: "date", Offset: min(p.i, len(p.s)), Reason: p.reason}
	}
	if p.zone == nil {
		p.zone = time.UTC
	}
	return time.Date(p.year, time.Month(p.month), p.day, p.hour, p.minute, p.sec, 0, p.zone), nil
}

// FormatDate writes t as RFC 5322 §3.3 wants it, with the numerical zone of t.
func FormatDate(t time.Time) string { return t.Format("Mon, 02 Jan 2006 15:04:05 -0700") }

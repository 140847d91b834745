package mbox

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// FromLine is the line that begins a message: "From sender date". It is no header field, and not the
// message's own: programs that deliver write it.
type FromLine struct {
	// Sender is the envelope sender as it stands there, usually an address; "" is written as MAILER-DAEMON.
	Sender string
	// Date is when the message was delivered, to the second. A line without zone is taken as UTC; in
	// files of other programs it is often their local time. The zero time is written as 1970.
	Date time.Time

	marks string // of mark*, see there
}

// Marks stand behind the date as " remote from goniec-rscd", a place that every reader of mbox files passes
// over (UUCP has put a host's name there). A message that any program could have written has none.
const (
	markRaw    = 'r' // octets as they are: no CR was dropped, and one LF after the last octet is not the message's
	markStatus = 's' // the message begins with a status block of ours
	markLength = 'c' // the message begins with a Content-Length of ours
	markQuoted = 'd' // quoted like mboxrd in a file of another dialect, which would lose something

	markPrefix = " remote from goniec-"
)

// maxFromLine is the longest line that is taken for a From_ line, its end included.
const maxFromLine = 1000

const asctime = "Mon Jan _2 15:04:05 2006"

// has reports whether the line has a mark.
func (f FromLine) has(mark byte) bool { return strings.IndexByte(f.marks, mark) >= 0 }

// String returns the line without its end.
func (f FromLine) String() string {
	date := f.Date.UTC()
	if f.Date.IsZero() || date.Year() < 1000 || date.Year() > 9999 {
		date = time.Unix(0, 0).UTC()
	}
	line := "From " + plainSender(f.Sender) + " " + date.Format(asctime)
	if f.marks != "" {
		line += markPrefix + f.marks
	}
	return line
}

// plainSender makes one word of a sender, so that nothing in it can end the line or look like the date.
func plainSender(s string) string {
	if s == "" {
		return "MAILER-DAEMON"
	}
	if len(s) > 512 {
		s = s[:512]
	}
	b := []byte(s) // octet by octet: a sender need not be UTF-8, and must not grow
	for i, c := range b {
		if c <= ' ' || c == 0x7F {
			b[i] = '-'
		}
	}
	return string(b)
}

// ParseFromLine reads a From_ line. ok is false when the line is not plausible: "From " must be followed, after the
// sender, by a weekday, month, day, time and year, in the order of asctime or of a mail header, with a zone
// or without. That is what tells it from a sentence that begins with "From".
func ParseFromLine(line []byte) (f FromLine, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	rest, ok := bytes.CutPrefix(line, []byte("From "))
	if !ok || len(line) > maxFromLine {
		return f, false
	}
	text := string(rest)
	for at := range wordStarts(text) {
		date, after, ok := parseDate(text[at:])
		if !ok {
			continue
		}
		f.Sender, f.Date = strings.Trim(text[:at], " \t"), date
		if marks, ok := strings.CutPrefix(after, markPrefix); ok && strings.Trim(marks, "rscd") == "" {
			f.marks = marks
		}
		return f, true
	}
	return f, false
}

// wordStarts yields where words with the shape of a weekday begin.
func wordStarts(s string) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := 0; i+3 < len(s); i++ {
			if (i == 0 || s[i-1] == ' ') && nameIndex(weekdays, s[i:i+3]) >= 0 && !yield(i) {
				return
			}
		}
	}
}

const (
	weekdays = "SunMonTueWedThuFriSat"
	months   = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// nameIndex returns the place of a name of three letters in a table, -1 when it is not there.
func nameIndex(table, name string) int {
	if len(name) != 3 {
		return -1
	}
	for i := 0; i < len(table); i += 3 {
		if table[i:i+3] == name {
			return i / 3
		}
	}
	return -1
}

// fromDate is a date under construction; -1 is not seen yet.
type fromDate struct {
	month, day, year  int
	hour, minute, sec int
	zone              int // seconds east of UTC
	zoned             bool
}

// parseDate reads a date that begins with a weekday. after is what follows it.
func parseDate(s string) (date time.Time, after string, ok bool) {
	d := fromDate{month: -1, day: -1, year: -1, hour: -1}
	after = strings.TrimPrefix(s[3:], ",")
	for !d.complete() {
		word, rest := nextWord(after)
		if word == "" || !d.take(word) {
			return date, "", false
		}
		after = rest
	}
	if word, rest := nextWord(after); !d.zoned && d.takeZone(word) {
		after = rest
	}
	t := time.Date(d.year, time.Month(d.month+1), d.day, d.hour, d.minute, d.sec, 0, time.UTC)
	if t.Day() != d.day && d.day > 31 {
		return date, "", false
	}
	return t.Add(-time.Duration(d.zone) * time.Second), after, true
}

func nextWord(s string) (word, rest string) {
	s = strings.TrimLeft(s, " ")
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func (d *fromDate) complete() bool { return d.month >= 0 && d.day >= 0 && d.year >= 0 && d.hour >= 0 }

// take puts a word where it belongs; false when it belongs nowhere.
func (d *fromDate) take(word string) bool {
	if m := nameIndex(months, word); m >= 0 && d.month < 0 {
		d.month = m
		return true
	}
	if strings.IndexByte(word, ':') > 0 && d.hour < 0 {
		return d.takeTime(word)
	}
	n, err := strconv.ParseUint(word, 10, 16)
	switch {
	case err == nil && len(word) <= 2 && d.day < 0 && n >= 1 && n <= 31:
		d.day = int(n)
	case err == nil && len(word) == 4 && d.year < 0 && n >= 1000 && word[0] != '+':
		d.year = int(n)
	default: // asctime with a zone has it before the year
		return d.hour >= 0 && !d.zoned && d.takeZone(word)
	}
	return true
}

func (d *fromDate) takeTime(word string) bool {
	var n [3]int
	parts := strings.Split(word, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return false
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 8)
		if err != nil || len(p) > 2 || v > 60 {
			return false
		}
		n[i] = int(v)
	}
	d.hour, d.minute, d.sec = n[0], n[1], n[2]
	return n[0] < 24 && n[1] < 60
}

// takeZone accepts +0100 and names; of these only UTC's are known, the others count as UTC.
func (d *fromDate) takeZone(word string) bool {
	if len(word) == 5 && (word[0] == '+' || word[0] == '-') {
		n, err := strconv.ParseUint(word[1:], 10, 16)
		if err != nil {
			return false
		}
		d.zone, d.zoned = int(n/100*3600+n%100*60), true
		if word[0] == '-' {
			d.zone = -d.zone
		}
		return true
	}
	if len(word) < 1 || len(word) > 5 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return false
	}
	d.zoned = true
	return true
}

package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"

	"github.com/goniec-mail/goniec/mailbox"
)

// The text of the index, in both directions. An index of 100,000 messages has 12 MB and is read when a folder is
// opened: no line of it costs an allocation.

const (
	indexHeader = "goniec-mbox-index 1 "
	typicalLine = 120 // octets of a message's line
)

// text is the whole index.
func (x *index) text() []byte {
	b := make([]byte, 0, 128*(len(x.entries)+2))
	b = append(strconv.AppendUint(append(b, indexHeader...), uint64(x.validity), 10), '\n')
	for _, k := range x.keywords {
		b = appendKeyword(b, k)
	}
	for i := range x.entries {
		b = x.entries[i].appendLine(b)
	}
	for _, e := range x.expunges {
		b = appendExpunge(b, e.at, e.uids)
	}
	return sealed(x.appendTail(b))
}

func appendKeyword(b []byte, k string) []byte { return append(append(append(b, "K "...), k...), '\n') }

func appendExpunge(b []byte, at mailbox.ModSeq, uids mailbox.UIDSet) []byte {
	return fmt.Appendf(b, "X %d %s\n", at, uids)
}

func (e *entry) appendLine(b []byte) []byte {
	b = appendNumbers(append(b, 'M'), int64(e.uid), int64(e.modSeq), e.offset, e.start, e.end, e.next, e.size, e.date, e.saved, int64(e.sum))
	for _, f := range [...]mailbox.Flags{e.flags, e.seen} {
		b = strconv.AppendUint(append(b, ' '), uint64(f), 10)
	}
	return append(strconv.AppendBool(append(b, ' '), e.own), '\n')
}

// appendFlags is for a message of which only the flags have changed.
func (e *entry) appendFlags(b []byte) []byte {
	b = appendNumbers(append(b, 'F'), int64(e.uid), int64(e.modSeq))
	return append(strconv.AppendUint(append(b, ' '), uint64(e.flags), 10), '\n')
}

// appendSeen is for a message of which the status block was written.
func (e *entry) appendSeen(b []byte) []byte {
	b = appendNumbers(append(b, 'S'), int64(e.uid))
	return append(strconv.AppendUint(append(b, ' '), uint64(e.seen), 10), '\n')
}

// appendTail is what every change ends with.
func (x *index) appendTail(b []byte) []byte {
	p := x.at
	b = appendNumbers(append(b, 'P'), p.size, p.mtime)
	b = strconv.AppendUint(append(b, ' '), p.inode, 10)
	b = appendNumbers(b, int64(p.before), int64(x.next), int64(x.modSeq), int64(x.horizon))
	return append(b, '\n')
}

func appendNumbers(b []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	return b
}

// sealed ends a change with its checksum.
func sealed(lines []byte) []byte {
	return fmt.Appendf(lines, "C %08x\n", crc32.Checksum(lines, crcTable))
}

// isSeal tells whether a line is the checksum of lines.
func isSeal(line, lines []byte) bool {
	digits, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("C "))
	sum, err := strconv.ParseUint(string(digits), 16, 32)
	return ok && err == nil && uint32(sum) == crc32.Checksum(lines, crcTable)
}

// parseIndex reads an index; good is the length of what is right.
func parseIndex(text []byte) (x *index, good int) {
	x = &index{next: 1, modSeq: 1, entries: make([]entry, 0, len(text)/typicalLine)}
	begin := 0
	for at := 0; at < len(text); {
		end := bytes.IndexByte(text[at:], '\n') + 1
		if end == 0 {
			break
		}
		if line := text[at : at+end]; line[0] == 'C' {
			if !isSeal(line, text[begin:at]) || !x.apply(text[begin:at]) {
				break
			}
			begin = at + end
			good = begin
		}
		at += end
	}
	if x.validity == 0 {
		return nil, 0
	}
	return x, good
}

// apply takes in the lines of a change; their checksum is right.
func (x *index) apply(lines []byte) bool {
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end <= 0 || x.applyLine(lines[:end]) != nil {
			return false
		}
		lines = lines[end+1:]
	}
	return true
}

var errLine = errors.New("unknown line of an index")

// applyLine takes in a line, or nothing of it.
func (x *index) applyLine(line []byte) error {
	f := fields{rest: line[1:]}
	switch line[0] {
	case 'g':
		text, ok := bytes.CutPrefix(line, []byte(indexHeader[:len(indexHeader)-1]))
		f = fields{rest: text, bad: !ok}
		if validity := uint32(f.number(1, math.MaxUint32)); f.end() == nil {
			x.validity = validity
		}
	case 'K':
		if len(x.keywords) == mailbox.MaxKeywords {
			return mailbox.ErrKeywordLimit
		}
		if k := string(f.word()); f.end() == nil {
			x.keywords = append(x.keywords, k)
		}
	case 'M':
		return x.applyMessage(f)
	case 'F':
		uid, modSeq, flags := mailbox.UID(f.number(1, math.MaxUint32)), mailbox.ModSeq(f.number(0, math.MaxInt64)), mailbox.Flags(f.unsigned())
		if i := x.find(uid); i >= 0 && f.end() == nil {
			x.entries[i].flags, x.entries[i].modSeq = flags, modSeq
		}
	case 'S':
		uid, seen := mailbox.UID(f.number(1, math.MaxUint32)), mailbox.Flags(f.unsigned())
		if i := x.find(uid); i >= 0 && f.end() == nil {
			x.entries[i].seen = seen
		}
	case 'X':
		at := mailbox.ModSeq(f.number(0, math.MaxInt64))
		set := string(f.word())
		if err := f.end(); err != nil {
			return err
		}
		uids, err := mailbox.ParseUIDSet(set)
		if err != nil {
			return err
		}
		x.expunge(at, uids)
	case 'P':
		var p position
		p.size, p.mtime, p.inode, p.before = f.number(0, math.MaxInt64), f.number(math.MinInt64, math.MaxInt64), f.unsigned(), uint32(f.number(0, math.MaxUint32))
		next := mailbox.UID(f.number(1, math.MaxUint32))
		modSeq, horizon := mailbox.ModSeq(f.number(0, math.MaxInt64)), mailbox.ModSeq(f.number(0, math.MaxInt64))
		if f.end() == nil {
			x.at, x.next, x.modSeq, x.horizon = p, next, modSeq, horizon
		}
	default:
		return errLine
	}
	return f.end()
}

func (x *index) applyMessage(f fields) error {
	var e entry
	e.uid, e.modSeq = mailbox.UID(f.number(1, math.MaxUint32)), mailbox.ModSeq(f.number(0, math.MaxInt64))
	// Whatever the file says, a message lies between its offset and the next.
	e.offset = f.number(0, math.MaxInt64)
	e.start = f.number(e.offset, math.MaxInt64)
	e.end = f.number(e.start, math.MaxInt64)
	e.next = f.number(e.end, math.MaxInt64)
	e.size, e.date, e.saved = f.number(-1, math.MaxInt64), f.number(math.MinInt64, math.MaxInt64), f.number(math.MinInt64, math.MaxInt64)
	e.sum = uint32(f.number(0, math.MaxUint32))
	e.flags, e.seen = mailbox.Flags(f.unsigned()), mailbox.Flags(f.unsigned())
	e.own = f.truth()
	if err := f.end(); err != nil {
		return err
	}
	if n := len(x.entries); n == 0 || x.entries[n-1].uid < e.uid {
		x.entries = append(x.entries, e)
	} else if i := x.find(e.uid); i >= 0 {
		x.entries[i] = e
	} else {
		return fmt.Errorf("%w: UIDs out of order", errLine)
	}
	return nil
}

// fields takes a line apart, word by word; the first fault stays until end asks for it.
type fields struct {
	rest []byte // each word with the space before it
	bad  bool
}

func (f *fields) word() []byte {
	if len(f.rest) < 2 || f.rest[0] != ' ' {
		f.bad = true
		return nil
	}
	word := f.rest[1:]
	if i := bytes.IndexByte(word, ' '); i >= 0 {
		word = word[:i]
	}
	f.rest = f.rest[1+len(word):]
	return word
}

// unsigned reads digits and nothing else.
func (f *fields) unsigned() uint64 { return f.digits(f.word()) }

func (f *fields) digits(word []byte) (n uint64) {
	f.bad = f.bad || len(word) == 0 || len(word) > 20
	for _, c := range word {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			f.bad = true
			return 0
		}
		n = 10*n + d
	}
	return n
}

// number reads a number from low to high.
func (f *fields) number(low, high int64) int64 {
	word := f.word()
	digits, negative := bytes.CutPrefix(word, []byte("-"))
	n := f.digits(digits)
	v := int64(n)
	if negative {
		v = -v
	}
	if n > math.MaxInt64 || v < low || v > high {
		f.bad = true
		return low
	}
	return v
}

func (f *fields) truth() bool {
	word := string(f.word())
	f.bad = f.bad || word != "true" && word != "false"
	return word == "true"
}

// end reports a fault: a word that was missing, wrong, or one too many.
func (f *fields) end() error {
	if f.bad || len(f.rest) > 0 {
		return errLine
	}
	return nil
}

package mailbox

import (
	"bytes"
	"time"

	"github.com/goniec-mail/goniec/mime"
)

// holds is what is known of a criterion so far.
type holds uint8

const (
	holdsUnknown holds = iota
	holdsNo
	holdsYes
)

func holdsIf(ok bool) holds {
	if ok {
		return holdsYes
	}
	return holdsNo
}

// query is a search made ready for one goroutine: the criteria as functions of the message at hand.
// They are asked again as more of the message is known: first its Meta, then its header, then its
// texts.
type query struct {
	test    func() holds
	texts   scanner
	headers bool // a test wants the header

	keptHeaders bool // a test wants a field of keptFields

	// The message at hand.
	meta   Meta
	size   int64        // -1: not known
	header *mime.Header // nil: not read, or
	block  []byte       // not parsed
	parsed *mime.Header // of block; nil: no test has asked for it
	plain  []byte       // used again
	whole  bool         // all of it was read
	gen    int          // number of the message: what was found in its header is kept by it
}

func compileSearch(c *Criterion, s State, now time.Time) *query {
	q := &query{}
	q.test = q.compile(c, s, now)
	return q
}

func (q *query) start(meta Meta) {
	q.meta, q.size, q.header, q.block, q.parsed, q.whole = meta, meta.Size, nil, nil, nil, false
	q.gen++
	q.texts.reset()
}

func (q *query) holds() holds { return q.test() }

// compile makes a function of a criterion. Its depth is limited by check.
func (q *query) compile(c *Criterion, s State, now time.Time) func() holds {
	switch c.Key {
	case KeyAnd:
		return all(q.compileAll(c.Of, s, now))
	case KeyOr:
		return anyOf(q.compileAll(c.Of, s, now))
	case KeyNot:
		return not(all(q.compileAll(c.Of, s, now)))
	case KeyHeader:
		return q.headerTest(c)
	case KeyBody:
		return q.textTest(foldString(c.Text), false)
	case KeyText:
		return q.textTest(foldString(c.Text), true)
	case KeySentBefore, KeySentOn, KeySentSince:
		return q.sentTest(c)
	case KeyLarger, KeySmaller:
		return q.sizeTest(c)
	}
	test := metaTest(c, s, now)
	return func() holds { return holdsIf(test(&q.meta)) }
}

func (q *query) compileAll(of []Criterion, s State, now time.Time) []func() holds {
	tests := make([]func() holds, len(of))
	for i := range of {
		tests[i] = q.compile(&of[i], s, now)
	}
	return tests
}

func all(tests []func() holds) func() holds {
	return func() holds {
		res := holdsYes
		for _, t := range tests {
			switch t() {
			case holdsNo:
				return holdsNo
			case holdsUnknown:
				res = holdsUnknown
			}
		}
		return res
	}
}

func anyOf(tests []func() holds) func() holds {
	return func() holds {
		res := holdsNo
		for _, t := range tests {
			switch t() {
			case holdsYes:
				return holdsYes
			case holdsUnknown:
				res = holdsUnknown
			}
		}
		return res
	}
}

func not(test func() holds) func() holds {
	return func() holds {
		switch test() {
		case holdsYes:
			return holdsNo
		case holdsNo:
			return holdsYes
		}
		return holdsUnknown
	}
}

// metaTest is for the keys that the Meta answers.
func metaTest(c *Criterion, s State, now time.Time) func(*Meta) bool {
	switch c.Key {
	case KeyUIDs:
		return func(m *Meta) bool { return c.UIDs.Contains(m.UID) }
	case KeyFlags:
		return func(m *Meta) bool { return m.Flags&c.Flags == c.Flags }
	case KeyKeyword:
		bit := KeywordBit(KeywordIndex(s.Keywords, c.Text))
		return func(m *Meta) bool { return m.Flags&bit != 0 }
	case KeyModSeq:
		return func(m *Meta) bool { return uint64(m.ModSeq) >= c.Number }
	case KeyOlder:
		limit := now.Unix() - int64(min(c.Number, 1<<40))
		return func(m *Meta) bool { return int64(m.Date) <= limit }
	case KeyYounger:
		limit := now.Unix() - int64(min(c.Number, 1<<40))
		return func(m *Meta) bool { return int64(m.Date) >= limit }
	case KeySavedSupports:
		return func(m *Meta) bool { return m.Saved != 0 }
	case KeySavedBefore, KeySavedOn, KeySavedSince:
		compare := dayTest(c.Key-KeySavedBefore+KeyBefore, c.Day)
		return func(m *Meta) bool {
			d := m.Saved
			if d == 0 {
				d = m.Date
			}
			return compare(DayOf(d.Time()))
		}
	default: // KeyBefore, KeyOn, KeySince
		compare := dayTest(c.Key, c.Day)
		return func(m *Meta) bool { return compare(DayOf(m.Date.Time())) }
	}
}

// dayTest compares as KeyBefore, KeyOn and KeySince do.
func dayTest(key SearchKey, day Day) func(Day) bool {
	switch key {
	case KeyBefore:
		return func(d Day) bool { return d < day }
	case KeyOn:
		return func(d Day) bool { return d == day }
	default:
		return func(d Day) bool { return d >= day }
	}
}

// headerTest looks into the fields of a name, and remembers the answer for the message.
func (q *query) headerTest(c *Criterion) func() holds {
	needle := []byte(foldString(c.Text))
	var buf []byte
	return q.oncePerHeader(c.Field, func() bool {
		if q.without(needle) {
			return false
		}
		for _, f := range q.fields().Fields(c.Field) {
			buf, _ = q.texts.fold.fold(buf[:0], []byte(f.Text()), true)
			if bytes.Contains(buf, needle) {
				return true
			}
		}
		return false
	})
}

// sentTest compares the day of the Date field; INTERNALDATE stands in for one that can not be read.
func (q *query) sentTest(c *Criterion) func() holds {
	compare := dayTest(c.Key-KeySentBefore+KeyBefore, c.Day)
	return q.oncePerHeader("Date", func() bool {
		return compare(sentDay(q.fields(), q.meta))
	})
}

// oncePerHeader asks a test of a field at most once for each message, when its header is known.
func (q *query) oncePerHeader(field string, test func() bool) func() holds {
	kept := isKeptField(field)
	q.headers, q.keptHeaders = true, q.keptHeaders || kept
	gen, res := -1, holdsUnknown
	return func() holds {
		if gen == q.gen {
			return res
		}
		if q.header == nil && (q.block == nil || !kept) {
			return holdsUnknown
		}
		gen, res = q.gen, holdsIf(test())
		return res
	}
}

// fields returns the header, or what is kept of it.
func (q *query) fields() *mime.Header {
	if q.header != nil {
		return q.header
	}
	if q.parsed == nil {
		q.parsed = mime.ParseHeader(q.block)
	}
	return q.parsed
}

// without reports that a needle is in no field of what is kept of a header: most are ASCII, and need not be parsed to
// see that.
func (q *query) without(needle []byte) bool {
	if q.header != nil || !isPlainASCII(q.block) {
		return false
	}
	q.plain = appendPlain(q.plain[:0], q.block)
	return !bytes.Contains(q.plain, needle)
}

func (q *query) sizeTest(c *Criterion) func() holds {
	return func() holds {
		switch {
		case q.size < 0:
			return holdsUnknown
		case c.Key == KeyLarger:
			return holdsIf(uint64(q.size) > c.Number)
		default:
			return holdsIf(uint64(q.size) < c.Number)
		}
	}
}

// textTest looks for a folded text in the body, and in the header too.
func (q *query) textTest(needle string, header bool) func() holds {
	if needle == "" {
		return func() holds { return holdsYes }
	}
	i := q.texts.add(needle, header)
	return func() holds {
		switch {
		case q.texts.found(i):
			return holdsYes
		case q.whole:
			return holdsNo
		}
		return holdsUnknown
	}
}

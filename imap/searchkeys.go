package imap

import (
	"strings"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/mailbox"
)

// searchParser reads a search program (RFC 9051 §6.4.4). Keys that hold others wait on a stack: what a client
// nests does not nest here (I03).
type searchParser struct {
	c      *conn
	err    error // why the keys are refused although their grammar is good
	stack  []searchFrame
	keys   int
	placed []placedKey
	modSeq bool // MODSEQ is among the keys: the answer tells it
}

// searchFrame is a key that still waits for others.
type searchFrame struct {
	criterion mailbox.Criterion
	want      int // how many more it takes; list and program have an end of their own
}

// maxSearchKeys leaves room for the program itself and for what the session knows.
const maxSearchKeys = mailbox.MaxSearchKeys - 2

// Limits of the sets in a search: ten octets can mean as many ranges as the mailbox has gaps. What is more than maxSetRanges must not
// be more than maxSetFactor times that.
const (
	maxSetRanges = 10_000
	maxSetFactor = 4
)

const (
	untilParen = -1
	untilEnd   = -2
)

// parse reads keys up to the end of the command.
func (p *searchParser) parse() mailbox.Criterion {
	d := &p.c.dec
	p.stack = []searchFrame{{mailbox.Criterion{Key: mailbox.KeyAnd}, untilEnd}}
	for d.Err() == nil {
		if p.keys++; p.keys > maxSearchKeys || len(p.stack) > mailbox.MaxSearchDepth-1 {
			d.Fail("search is too complex")
			break
		}
		key, whole := p.key()
		if whole && p.finish(key) {
			return p.stack[0].criterion
		}
	}
	return mailbox.Criterion{}
}

// finish gives a key that is whole to the one that waits for it, and goes on with that one as long as it is whole
// by that. True means that the program has ended.
func (p *searchParser) finish(key mailbox.Criterion) bool {
	d := &p.c.dec
	for {
		top := &p.stack[len(p.stack)-1]
		top.criterion.Of = append(top.criterion.Of, key)
		if top.want > 0 {
			top.want--
		}
		switch {
		case top.want == untilEnd && d.AtEnd():
			return true
		case top.want == 0, top.want == untilParen && d.Try(')'):
			key = top.criterion
			p.stack = p.stack[:len(p.stack)-1]
		default:
			d.SP()
			return false
		}
	}
}

// key reads one key; whole is false for one that waits for others.
func (p *searchParser) key() (key mailbox.Criterion, whole bool) {
	d := &p.c.dec
	switch c := d.Peek(); {
	case c == '(':
		d.Try('(')
		p.push(mailbox.KeyAnd, untilParen)
		return key, false
	case c == '$' || c == '*' || c >= '0' && c <= '9':
		set, saved := d.NumSet()
		return p.set(numberedSet{set, saved, byNumber}), true
	}
	switch name := d.Keyword(); name {
	case "NOT":
		d.SP()
		p.push(mailbox.KeyNot, 1)
		return key, false
	case "OR":
		d.SP()
		p.push(mailbox.KeyOr, 2)
		return key, false
	default:
		return p.leaf(name), true
	}
}

func (p *searchParser) push(key mailbox.SearchKey, want int) {
	p.stack = append(p.stack, searchFrame{mailbox.Criterion{Key: key}, want})
}

// set takes a set of messages.
func (p *searchParser) set(s numberedSet) mailbox.Criterion {
	if s.by == byNumber && !s.saved && p.c.has(uidOnly) {
		p.err = uidRequired()
	}
	return p.later(placedKey{set: s})
}

// leaf reads the arguments of a key that holds no others.
func (p *searchParser) leaf(name string) mailbox.Criterion {
	if flag, ok := searchFlags()[strings.TrimPrefix(name, "UN")]; ok {
		return negate(strings.HasPrefix(name, "UN"), mailbox.Criterion{Key: mailbox.KeyFlags, Flags: flag})
	}
	if key, ok := dateKeys()[name]; ok {
		p.c.dec.SP()
		return mailbox.Criterion{Key: key, Day: mailbox.DayOf(p.c.dec.Date())}
	}
	switch name {
	case "ALL", "OLD": // OLD is NOT RECENT, and nothing is recent
		return mailbox.Criterion{Key: mailbox.KeyAnd}
	case "NEW", "RECENT":
		return mailbox.Criterion{Key: mailbox.KeyOr}
	case "KEYWORD", "UNKEYWORD":
		p.c.dec.SP()
		return negate(name == "UNKEYWORD", mailbox.Criterion{Key: mailbox.KeyKeyword, Text: p.c.dec.Atom()})
	case "EMAILID", "THREADID":
		return p.objectID(name)
	case "SAVEDATESUPPORTED":
		return mailbox.Criterion{Key: mailbox.KeySavedSupports}
	case "UID":
		p.c.dec.SP()
		set, saved := p.c.dec.NumSet()
		return p.set(numberedSet{set, saved, byUID})
	}
	return p.textOrNumber(name)
}

func negate(not bool, c mailbox.Criterion) mailbox.Criterion {
	if not {
		return mailbox.Criterion{Key: mailbox.KeyNot, Of: []mailbox.Criterion{c}}
	}
	return c
}

// searchFlags are the keys that ask for a flag; with "UN" in front they ask for its absence.
func searchFlags() map[string]mailbox.Flags {
	return map[string]mailbox.Flags{
		"SEEN": mailbox.Seen, "ANSWERED": mailbox.Answered, "FLAGGED": mailbox.Flagged,
		"DELETED": mailbox.Deleted, "DRAFT": mailbox.Draft,
	}
}

func dateKeys() map[string]mailbox.SearchKey {
	return map[string]mailbox.SearchKey{
		"BEFORE": mailbox.KeyBefore, "ON": mailbox.KeyOn, "SINCE": mailbox.KeySince,
		"SENTBEFORE": mailbox.KeySentBefore, "SENTON": mailbox.KeySentOn, "SENTSINCE": mailbox.KeySentSince,
		"SAVEDBEFORE": mailbox.KeySavedBefore, "SAVEDON": mailbox.KeySavedOn, "SAVEDSINCE": mailbox.KeySavedSince,
	}
}

// textOrNumber reads the other keys.
func (p *searchParser) textOrNumber(name string) mailbox.Criterion {
	d := &p.c.dec
	if !strings.Contains(searchArgument, " "+name+" ") {
		d.Fail("unknown search key " + name)
		return mailbox.Criterion{}
	}
	d.SP()
	number := func(key mailbox.SearchKey) mailbox.Criterion {
		return mailbox.Criterion{Key: key, Number: uint64(d.Number64())}
	}
	switch name {
	case "BCC", "CC", "FROM", "SUBJECT", "TO":
		return mailbox.Criterion{Key: mailbox.KeyHeader, Field: name, Text: p.text()}
	case "HEADER":
		field := p.text()
		d.SP()
		return mailbox.Criterion{Key: mailbox.KeyHeader, Field: field, Text: p.text()}
	case "BODY":
		return mailbox.Criterion{Key: mailbox.KeyBody, Text: p.text()}
	case "TEXT":
		return mailbox.Criterion{Key: mailbox.KeyText, Text: p.text()}
	case "LARGER":
		return number(mailbox.KeyLarger)
	case "SMALLER":
		return number(mailbox.KeySmaller)
	case "OLDER", "YOUNGER": // RFC 5032: of no seconds is an error
		key := map[string]mailbox.SearchKey{"OLDER": mailbox.KeyOlder, "YOUNGER": mailbox.KeyYounger}[name]
		if d.Peek() == '0' {
			d.Fail("an interval of no seconds")
		}
		return number(key)
	}
	return p.modSeqKey()
}

// searchArgument are the keys of textOrNumber.
const searchArgument = " BCC CC FROM SUBJECT TO HEADER BODY TEXT LARGER SMALLER OLDER YOUNGER MODSEQ "

// modSeqKey reads MODSEQ with the entry that it may name (RFC 7162 §3.1.5): mod-sequences of ours are the message's.
func (p *searchParser) modSeqKey() mailbox.Criterion {
	d := &p.c.dec
	if d.Peek() == '"' {
		_ = d.String()
		d.SP()
		if name := d.Keyword(); name != "ALL" && name != "SHARED" && name != "PRIV" {
			d.Fail("unknown entry type " + name)
		}
		d.SP()
	}
	p.modSeq = true
	return mailbox.Criterion{Key: mailbox.KeyModSeq, Number: uint64(d.Number64())}
}

// text reads a text to look for.
func (p *searchParser) text() string {
	s := p.c.dec.AString()
	if !utf8.ValidString(s) {
		p.c.dec.Fail("text is not UTF-8")
	}
	return s
}

// charset reads CHARSET and its name. Texts are UTF-8, of which US-ASCII is a part.
func (c *conn) charset() error {
	d := &c.dec
	d.SP()
	name := d.AString()
	d.SP()
	if err := d.Err(); err != nil {
		return grammar(err)
	}
	switch strings.ToUpper(name) {
	case "UTF-8", "US-ASCII":
		if c.has(utf8Accept) {
			return bad("CHARSET is not for sessions with UTF8=ACCEPT") // RFC 6855 §3
		}
		return nil
	}
	return no("BADCHARSET (US-ASCII UTF-8)", "charset is not known")
}

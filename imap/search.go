package imap

import (
	"context"
	"errors"
	"strconv"

	"github.com/goniec-mail/goniec/mailbox"
)

// returns are the result options of RFC 4731, RFC 5182 and RFC 9394.
type returns uint8

const (
	returnMin returns = 1 << iota
	returnMax
	returnAll
	returnCount
	returnSave
	returnPartial
	returnUpdate // RFC 5267

	returnExtended // RETURN was given: the answer is ESEARCH
)

// searching is one SEARCH command.
type searching struct {
	by      numbering
	returns returns
	partial window
	items   []fetchItem // of UPDATE
	hinted  bool        // CONTEXT was given
	parser  searchParser
	key     mailbox.Criterion
	time    searchTime
}

func (c *conn) search(ctx context.Context) error    { return c.searchBy(ctx, byNumber) }
func (c *conn) uidSearch(ctx context.Context) error { return c.searchBy(ctx, byUID) }

// searchBy answers SEARCH (RFC 9051 §6.4.4).
func (c *conn) searchBy(ctx context.Context, by numbering) (err error) {
	s := c.newSearch(by)
	defer func() { c.saveNothing(&s, err) }()
	c.dec.SP()
	if err := c.searchArguments(&s); err != nil {
		return err
	}
	if err := c.updatable(&s); err != nil {
		return err
	}
	place := c.selectedPlace()
	key, res, err := c.find(ctx, &s, place)
	if err != nil {
		return err
	}
	if s.returns&returnSave != 0 {
		c.box.saved = s.save(res.UIDs)
	}
	c.keepUpdated(&s, &searchContext{key: key, found: res.UIDs})
	if s.returns == 0 && !c.has(rev2) {
		c.searchLine(&s, res)
		return nil
	}
	if s.returns&^returnExtended == 0 && !s.hinted {
		s.returns |= returnAll // RFC 4731 §3.1: RETURN ()
	}
	return c.esearch(ctx, &s, foundIn{SearchResult: res, place: place})
}

func (c *conn) newSearch(by numbering) searching {
	return searching{by: by, parser: searchParser{c: c}, time: c.searchTime()}
}

// searchArguments reads result options, charset and keys.
func (c *conn) searchArguments(s *searching) error {
	d := &c.dec
	if c.peekWord("RETURN") {
		d.Keyword()
		d.SP()
		c.returnsList(s)
		d.SP()
	}
	if c.peekWord("CHARSET") {
		d.Keyword()
		if err := c.charset(); err != nil {
			return err
		}
	}
	return c.searchProgram(s)
}

// searchProgram reads the keys.
func (c *conn) searchProgram(s *searching) error {
	s.key = s.parser.parse()
	if err := c.end(); err != nil {
		return err
	}
	if s.parser.err != nil {
		return failed(s.parser.err)
	}
	if s.parser.modSeq {
		c.turnOn(condStore)
	}
	return nil
}

// peekWord reports whether a word comes next.
func (c *conn) peekWord(word string) bool { return c.dec.PeekKeyword() == word }

// returnsList reads the result options.
func (c *conn) returnsList(s *searching) {
	d := &c.dec
	s.returns |= returnExtended
	d.List(func() {
		switch name := d.Keyword(); name {
		case "MIN":
			s.returns |= returnMin
		case "MAX":
			s.returns |= returnMax
		case "ALL":
			s.returns |= returnAll
		case "COUNT":
			s.returns |= returnCount
		case "SAVE":
			s.returns |= returnSave
		case "PARTIAL":
			d.SP()
			s.returns |= returnPartial
			s.partial = c.window()
		case "CONTEXT": // a hint that the search may come again
			s.hinted = true
		case "UPDATE":
			s.returns |= returnUpdate
			if d.PeekPair(" (") {
				d.SP()
				s.items = c.notifyItems()
			}
		default:
			d.Fail("unknown result option " + name)
		}
	})
	if s.returns&returnPartial != 0 && s.returns&returnAll != 0 {
		d.Fail("ALL and PARTIAL exclude each other") // RFC 9394 §3.1
	}
}

// saveNothing is for a search that failed. RFC 5182 §2.1: after NO "$" is empty; after BAD it is what it was.
func (c *conn) saveNothing(s *searching, err error) {
	var r *reply
	if s.returns&returnSave != 0 && c.box != nil && errors.As(err, &r) && r.status == statusNO {
		c.box.saved = nil
	}
}

// save returns what "$" stands for: with MIN or MAX alone only these (RFC 5182 §2.1).
func (s *searching) save(found mailbox.UIDSet) mailbox.UIDSet {
	if s.returns&(returnAll|returnCount|returnPartial) != 0 || s.returns&(returnMin|returnMax) == 0 {
		return found
	}
	return s.ends(found)
}

// ends returns the lowest and highest of found, as far as they are asked for.
func (s *searching) ends(found mailbox.UIDSet) mailbox.UIDSet {
	var b mailbox.UIDSetBuilder
	if s.returns&returnMin != 0 {
		b.Add(found.Min())
	}
	if s.returns&returnMax != 0 {
		b.Add(found.Max())
	}
	return b.Set()
}

// searchLine writes the answer of IMAP4rev1.
func (c *conn) searchLine(s *searching, res mailbox.SearchResult) {
	c.enc.Raw("* SEARCH")
	for number, uid := range c.box.view.Each(res.UIDs) {
		c.enc.SP()
		c.enc.Number(s.by.choose(number, uid))
	}
	if s.parser.modSeq && res.ModSeq > 0 {
		c.enc.Raw(" (MODSEQ ")
		c.enc.Number(uint64(res.ModSeq))
		c.enc.Raw(")")
	}
	c.enc.CRLF()
}

// choose returns the number by which a command names a message.
func (by numbering) choose(number uint32, uid mailbox.UID) uint64 {
	if by == byUID {
		return uint64(uid)
	}
	return uint64(number)
}

// foundIn is what was found in a mailbox.
type foundIn struct {
	mailbox.SearchResult
	place *searchPlace
	name  string // to be told, as ESEARCH does (RFC 7377 §2.1)
}

// esearchHead begins an ESEARCH response (RFC 4731, RFC 9051 §7.3.4).
func (c *conn) esearchHead(tag, name string, validity uint32, by numbering) {
	c.enc.Raw(`* ESEARCH (TAG "` + tag + `"`)
	if name != "" {
		c.enc.Raw(" MAILBOX ")
		c.enc.Mailbox(name)
		c.enc.Raw(" UIDVALIDITY ")
		c.enc.Number(uint64(validity))
	}
	c.enc.Raw(")")
	if by == byUID {
		c.enc.Raw(" UID")
	}
}

// esearch writes an ESEARCH response.
func (c *conn) esearch(ctx context.Context, s *searching, found foundIn) error {
	if s.returns&^returnExtended == returnSave {
		return nil // RFC 5182 §2.1: nothing is told
	}
	var high mailbox.ModSeq
	if s.parser.modSeq && !found.UIDs.Empty() {
		var err error
		if high, err = modSeqOf(ctx, s, found); err != nil {
			return err
		}
	}
	c.esearchHead(c.tag, found.name, found.place.view.State().UIDValidity, s.by)
	if !found.UIDs.Empty() {
		c.esearchEnds(s, found.UIDs)
		if s.returns&returnAll != 0 {
			c.enc.Raw(" ALL ")
			c.numbers(s.by, found.UIDs)
		}
	}
	if s.returns&returnPartial != 0 {
		c.esearchPartial(s, found.UIDs)
	}
	if s.returns&returnCount != 0 {
		c.enc.Raw(" COUNT ")
		c.enc.Number(uint64(found.UIDs.Len()))
	}
	if high > 0 {
		c.enc.Raw(" MODSEQ " + strconv.FormatUint(uint64(high), 10))
	}
	c.enc.CRLF()
	return nil
}

func (c *conn) esearchEnds(s *searching, found mailbox.UIDSet) {
	if s.returns&returnMin != 0 {
		c.enc.Raw(" MIN ")
		c.numbers(s.by, mailbox.UIDs(found.Min()))
	}
	if s.returns&returnMax != 0 {
		c.enc.Raw(" MAX ")
		c.numbers(s.by, mailbox.UIDs(found.Max()))
	}
}

// esearchPartial writes the messages of a window (RFC 9394 §3.1).
func (c *conn) esearchPartial(s *searching, found mailbox.UIDSet) {
	c.enc.Raw(" PARTIAL (" + s.partial.String() + " ")
	if part := s.partial.of(found); part.Empty() {
		c.enc.Raw("NIL")
	} else {
		c.numbers(s.by, part)
	}
	c.enc.Raw(")")
}

// numbers writes a set of messages as UIDs or sequence numbers.
func (c *conn) numbers(by numbering, uids mailbox.UIDSet) {
	if by == byUID {
		c.enc.UIDSet(uids)
		return
	}
	c.enc.NumSet(c.box.view.Numbers(uids))
}

// modSeqOf is the mod-sequence that an ESEARCH tells: the highest of what it names (RFC 7162 §3.1.10).
func modSeqOf(ctx context.Context, s *searching, found foundIn) (high mailbox.ModSeq, err error) {
	if s.returns&(returnAll|returnCount|returnPartial) != 0 {
		return found.ModSeq, nil
	}
	return highestOf(ctx, found.place.mb, s.ends(found.UIDs))
}

package imap

import (
	"context"

	"github.com/goniec-mail/goniec/mailbox"
)

// ESORT (RFC 5267 §3): SORT with result options. The answer is ESEARCH in the requested order: the first message is MIN,
// the last is MAX.

// esort writes the answer of an extended SORT.
func (c *conn) esort(ctx context.Context, s *searching, sorted []mailbox.UID) error {
	if s.returns&^returnExtended == 0 && !s.hinted {
		s.returns |= returnAll // RFC 5267 §3.3: RETURN ()
	}
	named := mailbox.UIDs(s.named(sorted)...)
	if s.returns&returnSave != 0 {
		c.box.saved = named
	}
	if s.returns&^returnExtended == returnSave {
		return nil
	}
	var high mailbox.ModSeq
	if s.parser.modSeq && !named.Empty() {
		var err error
		if high, err = highestOf(ctx, c.box.mb, named); err != nil {
			return err
		}
	}
	c.esearchHead(c.tag, "", 0, s.by)
	c.esortItems(s, sorted)
	if high > 0 {
		c.enc.Raw(" MODSEQ ")
		c.enc.Number(uint64(high))
	}
	c.enc.CRLF()
	return nil
}

func (c *conn) esortItems(s *searching, sorted []mailbox.UID) {
	list := func(name string, uids []mailbox.UID) {
		c.enc.Raw(name)
		c.sortedNumbers(s.by, uids)
	}
	if n := len(sorted); n > 0 {
		if s.returns&returnMin != 0 {
			list(" MIN ", sorted[:1])
		}
		if s.returns&returnMax != 0 {
			list(" MAX ", sorted[n-1:])
		}
		if s.returns&returnAll != 0 {
			list(" ALL ", sorted)
		}
	}
	if s.returns&returnPartial != 0 {
		if part := s.partial.cut(sorted); len(part) > 0 {
			list(" PARTIAL ("+s.partial.String()+" ", part)
		} else {
			c.enc.Raw(" PARTIAL (" + s.partial.String() + " NIL")
		}
		c.enc.Raw(")")
	}
	if s.returns&returnCount != 0 {
		c.enc.Raw(" COUNT ")
		c.enc.Number(uint64(len(sorted)))
	}
}

// sortedNumbers writes messages in their order; a range stands for ascending ones only (RFC 5267 §3.2).
func (c *conn) sortedNumbers(by numbering, uids []mailbox.UID) {
	if by == byNumber {
		numbers := make([]mailbox.UID, len(uids))
		for i, u := range uids {
			numbers[i] = mailbox.UID(c.box.view.Number(u))
		}
		uids = numbers
	}
	c.enc.UIDs(uids)
}

// named returns what the answer names: with MIN or MAX alone only these (RFC 5182 §2.1, RFC 7162 §3.1.10).
func (s *searching) named(sorted []mailbox.UID) []mailbox.UID {
	if s.returns&(returnAll|returnCount|returnPartial) != 0 || s.returns&(returnMin|returnMax) == 0 || len(sorted) == 0 {
		return sorted
	}
	var ends []mailbox.UID
	if s.returns&returnMin != 0 {
		ends = append(ends, sorted[0])
	}
	if s.returns&returnMax != 0 {
		ends = append(ends, sorted[len(sorted)-1])
	}
	return ends
}

// cut returns the part of a sorted result in the window.
func (w window) cut(sorted []mailbox.UID) []mailbox.UID {
	first, last := w.within(int64(len(sorted)))
	if first > last {
		return nil
	}
	return sorted[first-1 : last]
}

// highestOf returns the highest mod-sequence of messages, at least 1.
func highestOf(ctx context.Context, mb mailbox.Mailbox, uids mailbox.UIDSet) (high mailbox.ModSeq, err error) {
	ch, err := mb.Changes(ctx, 0)
	if err != nil {
		return 0, failed(err)
	}
	for m := range ch.Messages {
		if m.ModSeq > high && uids.Contains(m.UID) {
			high = m.ModSeq
		}
	}
	return max(high, 1), nil
}

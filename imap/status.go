package imap

import (
	"context"
	"fmt"

	"github.com/goniec-mail/goniec/mailbox"
)

// statusItems is a set of what STATUS can tell (RFC 9051 §6.3.11).
type statusItems uint16

const (
	statusMessages statusItems = 1 << iota
	statusUIDNext
	statusUIDValidity
	statusUnseen
	statusDeleted
	statusSize           // RFC 8438
	statusRecent         // RFC 3501
	statusHighestModSeq  // RFC 7162
	statusMailboxID      // RFC 8474
	statusAppendLimit    // RFC 7889
	statusDeletedStorage // RFC 9208 §5.1

	statusCounted = statusUnseen | statusDeleted | statusSize
)

var statusNames = [...]string{
	"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "RECENT", "HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT",
	"DELETED-STORAGE",
}

// statusList reads the list of items of STATUS, and of LIST's RETURN.
func (c *conn) statusList() (items statusItems) {
	c.dec.List(func() {
		name := c.dec.Keyword()
		for i, n := range statusNames {
			if n == name {
				items |= 1 << i
				return
			}
		}
		c.dec.Fail("unknown status item " + name)
	})
	if items == 0 {
		c.dec.Fail("no status items")
	}
	return items
}

// status answers STATUS.
func (c *conn) status(ctx context.Context) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	c.dec.SP()
	items := c.statusList()
	if err := c.end(); err != nil {
		return err
	}
	if items&statusHighestModSeq != 0 { // RFC 7162 §3.1: asking for it enables it
		c.turnOn(condStore)
	}
	return c.tellStatus(ctx, name, items)
}

// tellStatus writes the STATUS response of a mailbox.
func (c *conn) tellStatus(ctx context.Context, name string, items statusItems) error {
	s, reclaim, err := c.stateOf(ctx, name, items)
	if err != nil {
		return failed(fmt.Errorf("status: %w", err))
	}
	c.writeStatus(name, items, s, reclaim)
	return nil
}

// writeStatus writes the items of a state.
func (c *conn) writeStatus(name string, items statusItems, s mailbox.State, reclaim int64) {
	c.enc.Raw("* STATUS ")
	c.enc.Mailbox(name)
	c.enc.Raw(" (")
	sep := ""
	for i, item := range statusNames {
		if items&(1<<i) != 0 {
			c.enc.Raw(sep + item + " ")
			c.statusValue(1<<i, s, reclaim)
			sep = " "
		}
	}
	c.enc.Raw(")\r\n")
}

// stateOf asks the store for no more than the items need. reclaim is how many octets an EXPUNGE would free.
func (c *conn) stateOf(ctx context.Context, name string, items statusItems) (s mailbox.State, reclaim int64, err error) {
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return s, 0, err
	}
	defer mb.Close()
	since := mailbox.Latest
	if items&statusDeletedStorage != 0 {
		since = 0
	}
	ch, err := mb.Changes(ctx, since)
	if err != nil {
		return s, 0, err
	}
	if since == 0 {
		for m := range ch.Messages {
			if m.Flags&mailbox.Deleted != 0 {
				reclaim += max(m.Size, 0)
			}
		}
	}
	if items&statusCounted == 0 {
		return ch.State, reclaim, nil
	}
	s, err = mailbox.Count(ctx, mb, needed(ch.State, items))
	return s, reclaim, err
}

// needed hides what was not asked for, so that it is not counted.
func needed(s mailbox.State, items statusItems) mailbox.State {
	if items&statusUnseen == 0 {
		s.Unseen = 0
	}
	if items&statusDeleted == 0 {
		s.Deleted = 0
	}
	if items&statusSize == 0 {
		s.Size = 0
	}
	return s
}

func (c *conn) statusValue(item statusItems, s mailbox.State, reclaim int64) {
	switch item {
	case statusMessages:
		c.enc.Number(uint64(s.Messages))
	case statusUIDNext:
		c.enc.Number(uint64(s.UIDNext))
	case statusUIDValidity:
		c.enc.Number(uint64(s.UIDValidity))
	case statusUnseen:
		c.enc.Number(uint64(s.Unseen))
	case statusDeleted:
		c.enc.Number(uint64(s.Deleted))
	case statusSize:
		c.enc.Number(uint64(s.Size))
	case statusRecent:
		c.enc.Number(0)
	case statusHighestModSeq:
		c.enc.Number(uint64(s.ModSeq))
	case statusMailboxID:
		c.enc.Raw("(" + s.ID + ")")
	case statusDeletedStorage:
		c.enc.Number(uint64(reclaim))
	case statusAppendLimit:
		if c.MaxMessageBytes < 0 {
			c.enc.Raw("NIL")
			return
		}
		c.enc.Number(uint64(c.MaxMessageBytes))
	}
}

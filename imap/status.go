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
	statusSize          // RFC 8438
	statusRecent        // RFC 3501
	statusHighestModSeq // RFC 7162
	statusMailboxID     // RFC 8474
	statusAppendLimit   // RFC 7889

	statusCounted = statusUnseen | statusDeleted | statusSize
)

var statusNames = [...]string{
	"MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "RECENT", "HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT",
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
	s, err := c.stateOf(ctx, name, items)
	if err != nil {
		return failed(fmt.Errorf("status: %w", err))
	}
	c.enc.Raw("* STATUS ")
	c.enc.Mailbox(name)
	c.enc.Raw(" (")
	sep := ""
	for i, item := range statusNames {
		if items&(1<<i) != 0 {
			c.enc.Raw(sep + item + " ")
			c.statusValue(1<<i, s)
			sep = " "
		}
	}
	c.enc.Raw(")\r\n")
	return nil
}

// stateOf asks the store for no more than the items need.
func (c *conn) stateOf(ctx context.Context, name string, items statusItems) (mailbox.State, error) {
	mb, err := c.account.Open(ctx, name)
	if err != nil {
		return mailbox.State{}, err
	}
	defer mb.Close()
	ch, err := mb.Changes(ctx, mailbox.Latest)
	if err != nil {
		return mailbox.State{}, err
	}
	if items&statusCounted == 0 {
		return ch.State, nil
	}
	want := ch.State
	for item, n := range map[statusItems]*int{statusUnseen: &want.Unseen, statusDeleted: &want.Deleted} {
		if items&item == 0 {
			*n = 0 // not asked for: not worth counting
		}
	}
	if items&statusSize == 0 {
		want.Size = 0
	}
	return mailbox.Count(ctx, mb, want)
}

func (c *conn) statusValue(item statusItems, s mailbox.State) {
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
	case statusAppendLimit:
		if c.MaxMessageBytes < 0 {
			c.enc.Raw("NIL")
			return
		}
		c.enc.Number(uint64(c.MaxMessageBytes))
	}
}

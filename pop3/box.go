package pop3

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/mailbox"
)

// box is a session's snapshot of a folder: message n is messages[n-1].
type box struct {
	account  mailbox.Account
	inbox    mailbox.Mailbox
	unlock   func()
	messages []mailbox.Meta
	deleted  map[int]bool // by index
	octets   int64        // of messages that are not deleted
}

// enter opens the mailbox of an identity and begins the transaction state.
func (c *conn) enter(ctx context.Context, id auth.Identity) error {
	b, err := c.open(ctx, id.Account())
	if err != nil {
		return failed("opening the mailbox", err)
	}
	c.box, c.state, c.account = *b, transaction, id.Account()
	c.errors = 0
	c.ok("%d messages (%d octets)", len(b.messages), b.octets)
	return nil
}

// open locks the INBOX of an account and takes its snapshot.
func (s *settings) open(ctx context.Context, user string) (_ *box, err error) {
	b := &box{deleted: map[int]bool{}}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.account, err = s.Store.Account(ctx, user); err != nil {
		return nil, err
	}
	if b.inbox, err = b.account.Open(ctx, "INBOX"); err != nil {
		return nil, err
	}
	if b.unlock, err = s.locks.Lock(ctx, b.inbox, user); err != nil {
		return nil, err
	}
	ch, err := b.inbox.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	b.messages = make([]mailbox.Meta, 0, ch.State.Messages)
	for m := range ch.Messages {
		b.messages = append(b.messages, m)
	}
	if err = b.measure(ctx); err != nil {
		return nil, err
	}
	for _, m := range b.messages {
		b.octets += m.Size
	}
	return b, nil
}

// measure reads the messages whose size the store does not know: LIST promises exact octets. One message that can not be read
// must not lock its owner out of the others: it counts as empty here, and RETR says what is wrong with it.
func (b *box) measure(ctx context.Context) error {
	var unknown []mailbox.UID
	at := map[mailbox.UID]int{}
	for i, m := range b.messages {
		if m.Size < 0 {
			unknown = append(unknown, m.UID)
			at[m.UID] = i
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	for m, err := range b.inbox.Read(ctx, mailbox.UIDs(unknown...)) {
		switch {
		case err == nil:
			b.messages[at[m.UID]].Size = m.Content.Size()
		case m.UID == 0:
			return err
		case errors.Is(err, mailbox.ErrGone):
			continue
		default:
			b.messages[at[m.UID]].Size = 0
		}
		delete(at, m.UID)
	}
	// What others have expunged meanwhile is no part of the snapshot. Nothing has a number yet.
	b.messages = slices.DeleteFunc(b.messages, func(m mailbox.Meta) bool {
		_, gone := at[m.UID]
		return gone
	})
	return nil
}

// update removes the marked messages, all or none (RFC 1939 §6).
func (b *box) update(ctx context.Context) error {
	var uids []mailbox.UID // joined at once: set by set would take quadratic time
	for i, m := range b.messages {
		if b.deleted[i] {
			uids = append(uids, m.UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	_, err := b.inbox.Expunge(ctx, mailbox.UIDs(uids...))
	return err
}

// reset takes all marks back.
func (b *box) reset() {
	clear(b.deleted)
	b.octets = 0
	for _, m := range b.messages {
		b.octets += m.Size
	}
}

// close frees the snapshot and the lock. It may be called again.
func (b *box) close() {
	if b.unlock != nil {
		b.unlock()
	}
	if b.inbox != nil {
		_ = b.inbox.Close()
	}
	if b.account != nil {
		_ = b.account.Close()
	}
	b.unlock, b.inbox, b.account = nil, nil, nil
}

// leave frees what the session holds.
func (c *conn) leave() { c.box.close() }

// read opens one message and hands its content to f.
func (b *box) read(ctx context.Context, i int, f func(goniec.Content) error) error {
	for m, err := range b.inbox.Read(ctx, mailbox.UIDs(b.messages[i].UID)) {
		if err != nil {
			return err
		}
		return f(m.Content)
	}
	return fmt.Errorf("message %d: %w", i+1, mailbox.ErrGone)
}

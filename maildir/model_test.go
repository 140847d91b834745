//go:build unix

package maildir_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// client follows a folder by Changes alone, as an IMAP client with QRESYNC does, and complains when what it
// knows by that differs from what is there.
type client struct {
	m       mailbox.Mailbox
	state   mailbox.State
	mails   map[mailbox.UID]mailbox.Flags
	highest mailbox.UID
}

func (c *client) follow(ctx context.Context) error {
	ch, err := c.m.Changes(ctx, c.state.ModSeq)
	if err != nil {
		return err
	}
	if c.state.UIDValidity != 0 && (ch.State.UIDValidity != c.state.UIDValidity || !ch.Known ||
		ch.State.ModSeq < c.state.ModSeq || ch.State.UIDNext < c.state.UIDNext) {
		return fmt.Errorf("state went from %+v to %+v, known %v", c.state, ch.State, ch.Known)
	}
	for uid := range c.mails {
		if ch.Expunged.Contains(uid) {
			delete(c.mails, uid)
		}
	}
	for meta := range ch.Messages {
		if _, known := c.mails[meta.UID]; !known && meta.UID <= c.highest {
			return fmt.Errorf("UID %d came after %d", meta.UID, c.highest)
		}
		if meta.UID >= ch.State.UIDNext || meta.ModSeq > ch.State.ModSeq {
			return fmt.Errorf("message %+v is beyond %+v", meta, ch.State)
		}
		c.mails[meta.UID] = meta.Flags
	}
	for uid := range c.mails {
		c.highest = max(c.highest, uid)
	}
	c.state = ch.State
	if len(c.mails) != ch.State.Messages {
		return fmt.Errorf("%d messages by changes, %d by state", len(c.mails), ch.State.Messages)
	}
	return nil
}

// I11: ten clients append, deliver, flag, expunge and move at once, through three Stores as three processes; each client
// that only follows Changes knows at each moment what is there; UIDs strictly rise and UIDNEXT is above all.
func TestI11_TenClients(t *testing.T) {
	root := fastDir(t)
	const clients, stores = 10, 3
	var shared [stores]*maildir.Store
	for i := range shared {
		shared[i] = &maildir.Store{Root: root}
		defer shared[i].Close()
	}
	end := time.Now().Add(time.Second)
	if long {
		end = end.Add(20 * time.Second)
	}
	book := &ledger{stored: map[string]bool{}, doubted: map[string]bool{}, uids: map[string]string{}}
	all := make([]*client, clients)
	var wg sync.WaitGroup
	for i := range all {
		s := shared[i%stores]
		a, m := open(t, s, "u", "INBOX")
		all[i] = &client{m: m, mails: make(map[mailbox.UID]mailbox.Flags)}
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := randomStep(t.Context(), s, a, m, all[i], book); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, all[0].follow(t.Context()))
	for _, c := range all {
		require.NoError(t, c.follow(t.Context()))
		require.Equal(t, all[0].mails, c.mails)
		require.Equal(t, all[0].state.ModSeq, c.state.ModSeq)
	}
	t.Logf("%d stored, %d of them perhaps expunged", len(book.stored), len(book.doubted))
	there := make(map[string]bool)
	for msg, err := range all[0].m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		id := idOf(msg.Content)
		require.False(t, there[id], "%s is there twice", id)
		there[id] = true
	}
	checkLedger(t, root, book)
}

// note adds to a set of the ledger unless there was an error.
func (l *ledger) note(set map[string]bool, id string, err error) {
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		set[id] = true
	}
}

func randomStep(ctx context.Context, s *maildir.Store, a mailbox.Account, m mailbox.Mailbox, c *client, book *ledger) error {
	var some []mailbox.UID
	for uid := range c.mails {
		if some = append(some, uid); len(some) == 3 {
			break
		}
	}
	uids := mailbox.UIDs(some...)
	id := fmt.Sprintf("m%d", rand.Uint64())
	switch rand.IntN(6) {
	case 0:
		meta, err := m.Append(ctx, strings.NewReader(letter(id)), mailbox.AppendOptions{})
		if err == nil && meta.UID <= c.highest {
			err = fmt.Errorf("new message got UID %d, %d was there", meta.UID, c.highest)
		}
		book.note(book.stored, id, err)
		return err
	case 1:
		err := s.Deliver(ctx, "u", "", strings.NewReader(letter(id)), mailbox.AppendOptions{})
		book.note(book.stored, id, err)
		return err
	case 2:
		for msg, err := range m.Read(ctx, uids) {
			if err == nil {
				book.note(book.doubted, idOf(msg.Content), nil)
			}
		}
		_, err := m.Expunge(ctx, uids)
		return err
	case 3:
		_, err := m.SetFlags(ctx, uids, mailbox.FlagChange{
			Op: mailbox.FlagOp(1 + rand.IntN(3)), Flags: mailbox.FlagList{System: mailbox.Flags(rand.IntN(32)), Keywords: []string{fmt.Sprint("k", rand.IntN(4))}},
		})
		return err
	case 4:
		_, err := mailbox.Move(ctx, a, "INBOX", 0, uids, "INBOX")
		return err
	default:
		return c.follow(ctx)
	}
}

// F05: while the disk is full nothing new is taken, with an error that says so and is temporary; messages can
// still be expunged; and afterwards all goes on without a restart.
func TestF05_DiskFull(t *testing.T) {
	c := faultfs.NewCrash(1)
	fault := faultfs.NewFault(c)
	var full atomic.Bool
	fault.Inject = func(call faultfs.Call) error {
		needsRoom := []faultfs.Op{faultfs.OpCreate, faultfs.OpMkdir, faultfs.OpLink, faultfs.OpRename, faultfs.OpWrite}
		if full.Load() && slices.Contains(needsRoom, call.Op) {
			return syscall.ENOSPC
		}
		return nil
	}
	s := &maildir.Store{Root: "/mail", FS: fault}
	_, m := open(t, s, "u", "INBOX")
	for range 5 {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	_, state := list(t, m)
	full.Store(true)
	err := s.Deliver(t.Context(), "u", "", strings.NewReader(hello), mailbox.AppendOptions{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.True(t, goniec.Temporary(err))
	_, err = m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	gone, err := m.Expunge(t.Context(), mailbox.UIDs(1, 2, 3))
	require.NoError(t, err)
	require.Equal(t, "1:3", gone.String())
	require.Equal(t, hello, content(t, m, 4))
	full.Store(false)
	ch, err := m.Changes(t.Context(), state.ModSeq)
	require.NoError(t, err)
	require.Equal(t, "1:3", ch.Expunged.String())
	require.NoError(t, s.Deliver(t.Context(), "u", "", strings.NewReader(hello), mailbox.AppendOptions{}))
	metas, _ := list(t, m)
	require.Len(t, metas, 3)
	require.EqualValues(t, 6, metas[2].UID)
	s.Close()
}

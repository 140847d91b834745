//go:build unix

package maildir_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// fate is where the messages of one operation are, and with what flags; zero is nowhere.
type fate struct {
	folders string // names with a space behind each, sorted
	flags   mailbox.Flags
}

// cutBatch is some messages that are always changed together, and the fates that they may have: one when all was
// acknowledged, else those before and after the operation under way.
type cutBatch struct {
	ids  []string
	may  []fate
	uids map[string][]mailbox.UID // by folder, as acknowledged
}

// cutLedger is what a load has been told. It is kept outside of the disk.
type cutLedger struct {
	mu      sync.Mutex
	batches []*cutBatch
	modSeq  map[string]mailbox.ModSeq // by folder, the highest told
	n       int                       // acknowledgements
	lost    atomic.Bool               // the power has been cut, or is about to be
	errs    []error                   // before that
}

func (l *cutLedger) add(b *cutBatch) *cutBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, b)
	return b
}

func (l *cutLedger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// try notes what an operation may lead to, runs it, and notes what it has led to.
func (l *cutLedger) try(b *cutBatch, between *fate, after fate, op func() error) bool {
	b.may = append(b.may, after)
	if between != nil {
		b.may = append(b.may, *between)
	}
	err := op()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		b.may = []fate{after}
		l.n++
	} else if !l.lost.Load() {
		l.errs = append(l.errs, err)
	}
	return err == nil
}

func (l *cutLedger) told(folder string, m mailbox.ModSeq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.modSeq[folder] = max(l.modSeq[folder], m)
}

// cutLoad is the work on an account until the power goes.
type cutLoad struct {
	*cutLedger
	ctx   context.Context
	store *maildir.Store
	acc   mailbox.Account
	round int
}

func (c *cutLoad) ids(worker, i, n int) (ids []string) {
	for k := range n {
		ids = append(ids, fmt.Sprintf("r%d-w%d-%d-%d", c.round, worker, i, k))
	}
	return ids
}

// deliver delivers to two users at once, and to one.
func (c *cutLoad) deliver(worker, i int) bool {
	id := c.ids(worker, i, 1)
	b := c.add(&cutBatch{ids: id, may: []fate{{}}})
	to := []mailbox.Target{{User: "u"}}
	if i%3 == 0 {
		to = append(to, mailbox.Target{User: "v"})
	}
	if len(to) == 1 {
		return c.try(b, nil, fate{folders: "INBOX "}, func() error {
			return c.store.Deliver(c.ctx, "u", "", strings.NewReader(letter(id[0])), mailbox.AppendOptions{})
		})
	}
	errs := c.store.DeliverAll(c.ctx, to, strings.NewReader(letter(id[0])), mailbox.AppendOptions{})
	other := c.add(&cutBatch{ids: []string{id[0] + "@v"}, may: []fate{{}}})
	first := c.try(b, nil, fate{folders: "INBOX "}, func() error { return errs[0] })
	return c.try(other, nil, fate{folders: "v "}, func() error { return errs[1] }) && first
}

// life appends some messages, flags them, and moves, copies or expunges them, or none of it.
func (c *cutLoad) life(worker, i int) bool {
	b := c.add(&cutBatch{ids: c.ids(worker, i, 1+i%3), may: []fate{{}}, uids: map[string][]mailbox.UID{}})
	var m mailbox.Mailbox
	if !c.try(b, nil, fate{}, func() (err error) { m, err = c.acc.Open(c.ctx, "INBOX"); return err }) {
		return false
	}
	defer m.Close()
	at := fate{folders: "INBOX ", flags: mailbox.Draft}
	ok := c.try(b, nil, at, func() error {
		metas, err := mailbox.AppendAll(c.ctx, m, cutMessages(b.ids))
		for _, meta := range metas {
			b.uids["INBOX"] = append(b.uids["INBOX"], meta.UID)
			c.told("INBOX", meta.ModSeq)
		}
		return err
	})
	if !ok {
		return false
	}
	uids := mailbox.UIDs(b.uids["INBOX"]...)
	for range i % 3 {
		at.flags = mailbox.Flags(rand.IntN(32)) & mailbox.SystemFlags
		ok = c.try(b, nil, at, func() error {
			res, err := m.SetFlags(c.ctx, uids, mailbox.FlagChange{Flags: mailbox.FlagList{System: at.flags}})
			c.told("INBOX", res.ModSeq)
			return err
		})
		if !ok {
			return false
		}
	}
	return c.end(b, m, at, rand.IntN(5))
}

func (c *cutLoad) end(b *cutBatch, m mailbox.Mailbox, at fate, how int) bool {
	uids := mailbox.UIDs(b.uids["INBOX"]...)
	both := fate{"INBOX Other ", at.flags}
	keep := func(res mailbox.CopyResult, err error) error {
		b.uids["Other"] = res.Dest
		return err
	}
	switch how {
	case 0:
		return c.try(b, nil, fate{}, func() error { _, err := m.Expunge(c.ctx, uids); return err })
	case 1:
		return c.try(b, nil, both, func() error { return keep(mailbox.Copy(c.ctx, c.acc, "INBOX", 0, uids, "Other")) })
	case 2, 3:
		return c.try(b, &both, fate{"Other ", at.flags}, func() error { return keep(mailbox.Move(c.ctx, c.acc, "INBOX", 0, uids, "Other")) })
	}
	return true
}

func cutMessages(ids []string) func(yield func(mailbox.NewMessage, error) bool) {
	return func(yield func(mailbox.NewMessage, error) bool) {
		for _, id := range ids {
			o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Draft}}
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(letter(id)), Options: o}, nil) {
				return
			}
		}
	}
}

// folder makes a folder with a child and a message, renames it, and deletes one of them.
func (c *cutLoad) folder(worker, i int) bool {
	name := fmt.Sprintf("F%d-%d-%d", c.round, worker, i)
	child, moved := name+"/child", "to"+name+"/child"
	b := c.add(&cutBatch{ids: c.ids(worker, i, 1), may: []fate{{}}, uids: map[string][]mailbox.UID{}})
	ok := c.try(b, nil, fate{}, func() error {
		if err := c.acc.Create(c.ctx, name, mailbox.CreateOptions{}); err != nil {
			return err
		}
		return c.acc.Create(c.ctx, child, mailbox.CreateOptions{})
	})
	ok = ok && c.try(b, nil, fate{child + " ", mailbox.Draft}, func() error {
		m, err := c.acc.Open(c.ctx, child)
		if err != nil {
			return err
		}
		defer m.Close()
		metas, err := mailbox.AppendAll(c.ctx, m, cutMessages(b.ids))
		for _, meta := range metas {
			b.uids[child] = append(b.uids[child], meta.UID)
			b.uids[moved] = b.uids[child]
		}
		return err
	})
	ok = ok && c.try(b, nil, fate{moved + " ", mailbox.Draft}, func() error { return c.acc.Rename(c.ctx, name, "to"+name) })
	if !ok || i%2 == 0 {
		return ok
	}
	return c.try(b, nil, fate{}, func() error { return c.acc.Delete(c.ctx, moved) })
}

// run works until the power is cut.
func (c *cutLoad) run(disk *peertest.Disk) {
	var wg sync.WaitGroup
	for worker, do := range []func(worker, i int) bool{c.deliver, c.deliver, c.life, c.life, c.life, c.folder} {
		wg.Go(func() {
			for i := 0; do(worker, i) && !c.lost.Load(); i++ {
			}
		})
	}
	time.Sleep(time.Duration(50+rand.IntN(250)) * time.Millisecond)
	for enough := time.Now().Add(time.Minute); c.acknowledged() <= 10*(c.round+1) && time.Now().Before(enough); {
		time.Sleep(time.Millisecond) // a slow machine
	}
	c.lost.Store(true)
	disk.Cut(c.round%3 == 2)
	wg.Wait()
}

// found is what lies where after the disk is back: folders and flags by message.
type found struct {
	fates map[string]fate
	uids  map[string]map[string]mailbox.UID // by folder and message
}

func (f *found) read(t *testing.T, a mailbox.Account, folder, as string) mailbox.State {
	t.Helper()
	m, err := a.Open(t.Context(), folder)
	require.NoError(t, err)
	defer m.Close()
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	f.uids[as] = make(map[string]mailbox.UID)
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		id := idOf(msg.Content)
		text, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		require.Equal(t, letter(id), string(text), "partial message in %s", folder)
		require.NotContains(t, f.uids[as], id, "twice in %s", folder)
		require.Less(t, msg.UID, ch.State.UIDNext)
		f.uids[as][id] = msg.UID
		if as == "v" {
			id += "@v"
		}
		old := f.fates[id]
		require.True(t, old.folders == "" || old.flags == msg.Flags, "%s has different flags in %sand %s", id, old.folders, folder)
		f.fates[id] = fate{old.folders + as + " ", msg.Flags}
	}
	return ch.State
}

// cutCheck compares the disk with the ledger, which takes over what has come of operations that were under way.
func cutCheck(t *testing.T, s *maildir.Store, l *cutLedger, validity map[string]uint32) {
	t.Helper()
	f := &found{map[string]fate{}, map[string]map[string]mailbox.UID{}}
	for _, user := range []string{"u", "v"} {
		a, err := s.Account(t.Context(), user)
		require.NoError(t, err)
		var names []string
		for info, err := range a.Mailboxes(t.Context()) {
			require.NoError(t, err)
			names = append(names, info.Name)
		}
		slices.Sort(names)
		for _, name := range names {
			as := name
			if user == "v" {
				as = "v"
			}
			state := f.read(t, a, name, as)
			require.Contains(t, []uint32{0, state.UIDValidity}, validity[as], "UIDVALIDITY of %s", as)
			validity[as] = state.UIDValidity
			require.GreaterOrEqual(t, state.ModSeq, l.modSeq[as], as)
		}
		problems, err := a.(*maildir.Account).Check(t.Context(), false)
		require.NoError(t, err)
		require.Empty(t, problems)
		require.NoError(t, a.Close())
	}
	known := make(map[string]bool)
	for _, b := range l.batches {
		got := f.fates[b.ids[0]]
		for _, id := range b.ids {
			known[id] = true
			require.Equal(t, got, f.fates[id], "%q: not all or none", b.ids)
			for folder, uids := range b.uids {
				if uid, there := f.uids[folder][id]; there && len(uids) > 0 {
					require.Equal(t, uids[slices.Index(b.ids, id)], uid, "UID of %s in %s", id, folder)
				}
			}
		}
		require.Contains(t, b.may, got, "%q", b.ids)
		b.may = []fate{got}
	}
	for _, id := range slices.Sorted(maps.Keys(f.fates)) {
		require.True(t, known[strings.TrimSuffix(id, "@v")], "%s came from nowhere", id)
	}
}

// F03: the power of a real ext4 goes at any moment of deliveries, appends, flag changes, copies, moves, expunges and folder
// renames. What was acknowledged is there, nothing is there in part, each operation is whole or absent, UIDs mean what they
// meant; and so again with the same mail.
func TestF03_PowerCuts(t *testing.T) {
	cuts := 3
	if long {
		cuts = 20
	}
	disk := peertest.NewDisk(t, 1<<30)
	l := &cutLedger{modSeq: map[string]mailbox.ModSeq{}}
	validity := map[string]uint32{}
	for round := range cuts {
		s := &maildir.Store{Root: filepath.Join(disk.Path, "mail")}
		a, err := s.Account(t.Context(), "u")
		require.NoError(t, err)
		if round == 0 {
			require.NoError(t, a.Create(t.Context(), "Other", mailbox.CreateOptions{}))
		}
		l.lost.Store(false)
		load := &cutLoad{l, t.Context(), s, a, round}
		load.run(disk)
		require.NoError(t, a.Close())
		_ = s.Close()
		disk.Restore()
		require.Empty(t, l.errs)
		again := &maildir.Store{Root: s.Root}
		cutCheck(t, again, l, validity)
		require.NoError(t, again.Close())
	}
	t.Logf("%d power cuts, %d messages, %d acknowledgements", cuts, len(l.batches), l.n)
	require.Greater(t, l.n, 10*cuts)
}

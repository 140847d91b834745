package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/stretchr/testify/require"
)

// tickets is a database of somebody else's, in twenty lines: the five methods of a Source.
type tickets struct {
	mu    sync.Mutex
	rows  map[string][]*ticket // by user and folder
	last  int
	lists int // how often List was called
	fail  error
	wake  chan struct{}
}

type ticket struct {
	item mailbox.Item
	text string
}

func newTickets() *tickets { return &tickets{rows: make(map[string][]*ticket)} }

func (s *tickets) Folders(_ context.Context, user string) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) {
		_ = yield(mailbox.Info{Name: "Tickets"}, nil) && yield(mailbox.Info{Name: "INBOX"}, nil)
	}
}

func (s *tickets) List(_ context.Context, user, folder string) iter.Seq2[mailbox.Item, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	var items []mailbox.Item
	for _, r := range s.rows[user+"/"+folder] {
		items = append(items, r.item)
	}
	return func(yield func(mailbox.Item, error) bool) {
		for _, i := range items {
			if !yield(i, nil) {
				return
			}
		}
		if s.fail != nil {
			yield(mailbox.Item{}, s.fail)
		}
	}
}

func (s *tickets) find(user, folder, key string) *ticket {
	for _, r := range s.rows[user+"/"+folder] {
		if r.item.Key == key {
			return r
		}
	}
	return nil
}

func (s *tickets) Read(_ context.Context, user, folder, key string) (goniec.Content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.find(user, folder, key); r != nil {
		return strings.NewReader(r.text), nil
	}
	return nil, mailbox.ErrNotFound
}

func (s *tickets) SetFlags(ctx context.Context, user, folder, key string, f mailbox.FlagList) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(user, folder, key)
	if r == nil {
		return mailbox.ErrNotFound
	}
	if r.text == "stubborn" {
		return errors.New("row is locked")
	}
	r.item.Flags = f
	return ctx.Err()
}

func (s *tickets) Notify(context.Context, string) <-chan struct{} { return s.wake }

// add puts a row into the table, as the application that owns it does.
func (s *tickets) add(user, folder, text string, o mailbox.AppendOptions) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	key := fmt.Sprintf("row %d", s.last)
	item := mailbox.Item{Key: key, Date: o.Date, Size: int64(len(text)), Flags: o.Flags}
	s.rows[user+"/"+folder] = append(s.rows[user+"/"+folder], &ticket{item, text})
	return key
}

func (s *tickets) remove(user, folder string, keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := s.rows[user+"/"+folder]
	s.rows[user+"/"+folder] = slices.DeleteFunc(rows, func(r *ticket) bool { return slices.Contains(keys, r.item.Key) })
}

// desk is tickets that can be written and deleted by mail.
type desk struct{ *tickets }

func (d desk) AppendItem(_ context.Context, user, folder string, msg io.Reader, o mailbox.AppendOptions) (string, error) {
	text, err := io.ReadAll(msg)
	if err != nil {
		return "", err
	}
	return d.add(user, folder, string(text), o), nil
}

func (d desk) DeleteItems(_ context.Context, user, folder string, keys []string) error {
	d.remove(user, folder, keys...)
	return nil
}

// kept is a SourceState in memory.
type kept struct {
	mu    sync.Mutex
	rows  map[string][]byte
	fail  error
	saves int
}

func (k *kept) LoadState(_ context.Context, user, folder string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rows[user+"/"+folder], k.fail
}

func (k *kept) SaveState(_ context.Context, user, folder string, state []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	k.saves++
	k.rows[user+"/"+folder] = bytes.Clone(state)
	return nil
}

func newKept() *kept { return &kept{rows: make(map[string][]byte)} }

// TestSource: a Source that only lists, reads and sets flags.
func TestSource(t *testing.T) {
	mailboxtest.Suite{
		Open: func(*testing.T) mailbox.Store {
			return &mailbox.SourceStore{Source: newTickets(), State: newKept(), MaxAge: -1}
		},
		Reopen: reopenSource,
		Lacks:  mailboxtest.LacksFolders | mailboxtest.LacksAppend | mailboxtest.LacksExpunge,
		Seed: func(_ *testing.T, s mailbox.Store, user, folder, msg string) {
			s.(*mailbox.SourceStore).Source.(*tickets).add(user, folder, msg, mailbox.AppendOptions{})
		},
	}.Run(t)
}

// TestSourceWritable: a Source that takes messages and deletes them.
func TestSourceWritable(t *testing.T) {
	mailboxtest.Suite{
		Open: func(*testing.T) mailbox.Store {
			return &mailbox.SourceStore{Source: desk{newTickets()}, State: newKept(), MaxAge: -1}
		},
		Reopen: reopenSource,
		Lacks:  mailboxtest.LacksFolders,
	}.Run(t)
}

func reopenSource(_ *testing.T, s mailbox.Store) mailbox.Store {
	old := s.(*mailbox.SourceStore)
	return &mailbox.SourceStore{Source: old.Source, State: old.State, MaxAge: -1}
}

func TestSourceReadOnly(t *testing.T) {
	mailboxtest.Suite{
		Open: func(*testing.T) mailbox.Store {
			return &mailbox.SourceStore{Source: desk{newTickets()}, ReadOnly: true, MaxAge: -1}
		},
		Lacks: mailboxtest.LacksFolders | mailboxtest.LacksAppend | mailboxtest.LacksExpunge | mailboxtest.LacksFlags,
		Seed: func(_ *testing.T, s mailbox.Store, user, folder, msg string) {
			s.(*mailbox.SourceStore).Source.(desk).add(user, folder, msg, mailbox.AppendOptions{})
		},
	}.Run(t)
}

// sourceUIDs lists a folder as "uid=subject".
func sourceUIDs(t *testing.T, m mailbox.Mailbox) string {
	var out []string
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		text, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		out = append(out, fmt.Sprintf("%d=%s", msg.UID, text))
	}
	return strings.Join(out, " ")
}

// TestSourceForeign: the application changes its rows behind the Store's back.
func TestSourceForeign(t *testing.T) {
	src := newTickets()
	_, m := openInbox(t, &mailbox.SourceStore{Source: src, MaxAge: -1})
	a := src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
	src.add("alice", "INBOX", "b", mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"open"}}})
	require.Equal(t, "1=a 2=b", sourceUIDs(t, m))
	v := openView(t, m)
	src.remove("alice", "INBOX", a)
	src.add("alice", "INBOX", "c", mailbox.AppendOptions{})
	src.rows["alice/INBOX"][0].item.Flags = mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"not an atom", "OPEN"}}
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("-1 =2 1:%d", mailbox.Seen|mailbox.KeywordBit(0)), told(u))
	require.Equal(t, "2=b 3=c", sourceUIDs(t, m))
	src.rows["alice/INBOX"] = slices.Insert(src.rows["alice/INBOX"], 0, &ticket{mailbox.Item{Key: a, Size: -1}, "a again"})
	require.Equal(t, "2=b 3=c 4=a again", sourceUIDs(t, m), "a key that comes back is a new message")
	src.rows["alice/INBOX"] = append(src.rows["alice/INBOX"], src.rows["alice/INBOX"]...)
	require.Equal(t, "2=b 3=c 4=a again", sourceUIDs(t, m), "a key listed twice is one message")
}

// TestSourceListFails: a list that breaks off must not look like expunges.
func TestSourceListFails(t *testing.T) {
	src := newTickets()
	_, m := openInbox(t, &mailbox.SourceStore{Source: src, MaxAge: -1})
	src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
	v := openView(t, m)
	rows := src.rows
	src.rows, src.fail = nil, errors.New("database is away")
	_, err := v.Poll(t.Context(), mailbox.Everything)
	require.ErrorIs(t, err, src.fail)
	src.rows, src.fail = rows, nil
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.True(t, u.Empty())
}

// TestSourceListCut: a Source that stops listing when the context ends has not lost its rows.
func TestSourceListCut(t *testing.T) {
	src := &cutTickets{tickets: newTickets()}
	_, m := openInbox(t, &mailbox.SourceStore{Source: src, MaxAge: -1})
	src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
	v := openView(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	src.cut = cancel
	_, err := m.Changes(ctx, 0)
	require.ErrorIs(t, err, context.Canceled)
	src.cut = nil
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.True(t, u.Empty())
}

type cutTickets struct {
	*tickets
	cut func()
}

func (s *cutTickets) List(ctx context.Context, user, folder string) iter.Seq2[mailbox.Item, error] {
	if s.cut == nil {
		return s.tickets.List(ctx, user, folder)
	}
	s.cut()
	return func(func(mailbox.Item, error) bool) {}
}

// TestSourceFlagsFail: the second of three items refuses; the first gets its flags back.
func TestSourceFlagsFail(t *testing.T) {
	src := newTickets()
	_, m := openInbox(t, &mailbox.SourceStore{Source: src, MaxAge: -1})
	for _, text := range []string{"a", "stubborn", "c"} {
		src.add("alice", "INBOX", text, mailbox.AppendOptions{})
	}
	_, err := m.SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{
		Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen},
	})
	require.ErrorContains(t, err, "row is locked")
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	for meta := range ch.Messages {
		require.Zero(t, meta.Flags, meta.UID)
	}
}

func TestSourceCannot(t *testing.T) {
	src := newTickets()
	a, m := openInbox(t, mailbox.FromSource(src))
	_, err := m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(t, err, mailbox.ErrCannot)
	_, err = m.Expunge(t.Context(), mailbox.AllUIDs())
	require.ErrorIs(t, err, mailbox.ErrCannot)
	require.ErrorIs(t, a.Create(t.Context(), "x", mailbox.CreateOptions{}), mailbox.ErrCannot)
	require.ErrorIs(t, a.Create(t.Context(), "Tickets", mailbox.CreateOptions{}), mailbox.ErrExists)
	require.ErrorIs(t, a.Delete(t.Context(), "Tickets"), mailbox.ErrCannot)
	require.ErrorIs(t, a.Rename(t.Context(), "Tickets", "x"), mailbox.ErrCannot)
	_, err = a.Open(t.Context(), "absent")
	require.ErrorIs(t, err, mailbox.ErrNotFound)
}

// TestSourceStateDamaged: kept UIDs that can not be trusted in full are not used (F10).
func TestSourceStateDamaged(t *testing.T) {
	src, k := newTickets(), newKept()
	now := time.Unix(1_000_000, 0)
	open := func() (mailbox.State, mailbox.Mailbox) {
		now = now.Add(time.Minute)
		_, m := openInbox(t, &mailbox.SourceStore{Source: src, State: k, MaxAge: -1, Now: func() time.Time { return now }})
		ch, err := m.Changes(t.Context(), 0)
		require.NoError(t, err)
		return ch.State, m
	}
	src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
	b := src.add("alice", "INBOX", "b", mailbox.AppendOptions{})
	first, _ := open()
	src.remove("alice", "INBOX", b)
	src.add("alice", "INBOX", "c", mailbox.AppendOptions{})
	second, m := open()
	require.Equal(t, first.UIDValidity, second.UIDValidity)
	require.EqualValues(t, 4, second.UIDNext)
	require.Greater(t, second.ModSeq, first.ModSeq)
	require.Equal(t, "1=a 3=c", sourceUIDs(t, m), "b went and c came while the program was down")
	whole := bytes.Clone(k.rows["alice/INBOX"])
	for n := range len(whole) {
		for _, damaged := range [][]byte{whole[:n], append(bytes.Clone(whole[:n]), append([]byte{whole[n] ^ 1}, whole[n+1:]...)...)} {
			k.rows["alice/INBOX"] = damaged
			s, m := open()
			require.Greater(t, s.UIDValidity, second.UIDValidity, "%q", damaged)
			require.Equal(t, "1=a 2=c", sourceUIDs(t, m))
		}
	}
	k.rows["alice/INBOX"] = whole
	last, _ := open()
	require.Equal(t, second.UIDValidity, last.UIDValidity)
}

// TestSourceStateFails: a UID that could not be kept is not shown.
func TestSourceStateFails(t *testing.T) {
	src, k := newTickets(), newKept()
	_, m := openInbox(t, &mailbox.SourceStore{Source: src, State: k, MaxAge: -1})
	src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
	require.Equal(t, "1=a", sourceUIDs(t, m))
	saves := k.saves
	src.rows["alice/INBOX"][0].item.Flags.System = mailbox.Flagged
	require.Equal(t, "1=a", sourceUIDs(t, m))
	require.Equal(t, saves, k.saves, "flags alone need no save")
	k.fail = errors.New("disk full")
	src.add("alice", "INBOX", "b", mailbox.AppendOptions{})
	_, err := m.Changes(t.Context(), 0)
	require.ErrorIs(t, err, k.fail)
	k.fail = nil
	require.Equal(t, "1=a 2=b", sourceUIDs(t, m))
}

// TestSourceAge: the list is read once a second, or when Notify says so.
func TestSourceAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTickets()
		src.wake = make(chan struct{})
		_, m := openInbox(t, mailbox.FromSource(src))
		for range 10 {
			sourceUIDs(t, m)
		}
		require.Equal(t, 1, src.lists)
		src.add("alice", "INBOX", "a", mailbox.AppendOptions{})
		require.Equal(t, "", sourceUIDs(t, m))
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, "1=a", sourceUIDs(t, m))
		ctx, cancel := context.WithCancel(t.Context())
		woken := 0
		require.NoError(t, mailbox.Watch(ctx, m, 0, func() { woken++ }))
		src.add("alice", "INBOX", "b", mailbox.AppendOptions{})
		src.wake <- struct{}{}
		synctest.Wait()
		require.Equal(t, 1, woken)
		require.Equal(t, "1=a 2=b", sourceUIDs(t, m))
		cancel()
		synctest.Wait()
	})
}

// TestSourceWaits: a session that waits for another's list ends with its context.
func TestSourceWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slowTickets{newTickets(), make(chan struct{})}
		_, m := openInbox(t, &mailbox.SourceStore{Source: src, MaxAge: -1})
		done := make(chan error)
		go func() {
			_, err := m.Changes(t.Context(), 0)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("patience"))
		defer cancel()
		_, err := m.Changes(ctx, 0)
		require.EqualError(t, err, "patience")
		close(src.gate)
		require.NoError(t, <-done)
	})
}

type slowTickets struct {
	*tickets
	gate chan struct{}
}

func (s *slowTickets) List(ctx context.Context, user, folder string) iter.Seq2[mailbox.Item, error] {
	<-s.gate
	return s.tickets.List(ctx, user, folder)
}

func ExampleFromSource() {
	src := newTickets() // your database: five methods
	src.add("alice", "INBOX", "Subject: printer is on fire\r\n\r\nHelp!\r\n", mailbox.AppendOptions{})
	store := mailbox.FromSource(src)

	ctx := context.Background()
	account, err := store.Account(ctx, "alice")
	if err != nil {
		panic(err)
	}
	inbox, err := account.Open(ctx, "INBOX")
	if err != nil {
		panic(err)
	}
	for msg, err := range inbox.Read(ctx, mailbox.AllUIDs()) {
		if err != nil {
			panic(err)
		}
		fmt.Println(msg.UID, msg.Content.Size())
	}
	// Output: 1 38
}

package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// concurrentScenarios run with the race detector.
var concurrentScenarios = []scenario{
	{"I11_TenClients", LacksAppend | LacksFolders | LacksFlags | LacksExpunge, testTenClients},
	{"AppendOneFolder", LacksAppend, testAppendOneFolder},
	{"ExpungeOnce", LacksAppend | LacksExpunge, testExpungeOnce},
}

// renameScenarios are run with the optional interfaces and without.
var renameScenarios = []scenario{
	{"TransferAmidRenames", LacksAppend | LacksFolders | LacksExpunge, testTransferAmidRenames},
}

const (
	clientCount = 10
	clientSteps = 30
)

// crowd is what clients of one account know together.
type crowd struct {
	f  *fixture
	mu sync.Mutex
	// texts tells, by folder, what each UID that was ever seen means.
	texts map[string]map[mailbox.UID]string
	// live is how many copies of each message there should be.
	live   map[string]int
	failed error
}

func (c *crowd) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = fmt.Errorf(format, args...)
	}
}

// saw notes what a UID means; it never changes (I11: no UID is used twice).
func (c *crowd) saw(folder string, u mailbox.UID, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.texts[folder][u]; ok && old != text && c.failed == nil {
		c.failed = fmt.Errorf("%s: UID %d was %q and is %q", folder, u, old, text)
	}
	c.texts[folder][u] = text
}

func (c *crowd) count(text string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live[text] += n
}

// countUIDs changes the count of messages known by UID.
func (c *crowd) countUIDs(folder string, uids mailbox.UIDSet, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for u := range uids.All() {
		text, ok := c.texts[folder][u]
		if !ok && c.failed == nil {
			c.failed = fmt.Errorf("%s: UID %d was never seen", folder, u)
		}
		c.live[text] += n
	}
}

// member is one client: a handle on each of two folders, and a View of each.
type member struct {
	c     *crowd
	n     int
	rnd   *rand.Rand
	acc   mailbox.Account
	boxes map[string]mailbox.Mailbox
	views map[string]*mailbox.View
	made  int
}

// testTenClients lets ten clients append, flag, expunge, copy and move in two folders at random. No
// UID is used twice, UIDNEXT and mod-sequences rise, every View follows, and at the end each message
// is there as often as it should.
func testTenClients(f *fixture) {
	require.NoError(f, f.acc.Create(f.ctx, "Other", mailbox.CreateOptions{}))
	c := &crowd{f: f, texts: map[string]map[mailbox.UID]string{"INBOX": {}, "Other": {}}, live: make(map[string]int)}
	// All open their Views before the first appends: what a View has at its start its member does not read, and whoever
	// appended it may not have told yet what it is.
	members := make([]*member, clientCount)
	for n := range members {
		members[n] = c.member(n)
	}
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			for range clientSteps {
				m.step()
			}
		})
	}
	all.Wait()
	require.NoError(f, c.failed)
	found := make(map[string]int)
	for _, name := range []string{"INBOX", "Other"} {
		for _, text := range f.open(name).texts(mailbox.AllUIDs()) {
			found[text]++
		}
	}
	_, atomic := mailbox.As[mailbox.Mover](f.acc)
	for text, n := range c.live {
		require.GreaterOrEqual(f, found[text], n, "copies of %q", text)
		// Where a move is a copy and an expunge, another client may take the copy meanwhile: there may
		// be one too many then, never one too few.
		require.True(f, !atomic || found[text] == max(n, 0), "copies of %q: %d, not %d", text, found[text], n)
	}
}

func (c *crowd) member(n int) *member {
	m := &member{
		c: c, n: n, rnd: rand.New(rand.NewPCG(uint64(n), 7)), acc: c.f.account(c.f.suite.User),
		boxes: make(map[string]mailbox.Mailbox), views: make(map[string]*mailbox.View),
	}
	for _, name := range []string{"INBOX", "Other"} {
		box, err := m.acc.Open(c.f.ctx, name)
		require.NoError(c.f, err)
		c.f.Cleanup(func() { box.Close() })
		m.boxes[name] = box
		m.views[name], err = mailbox.OpenView(c.f.ctx, box)
		require.NoError(c.f, err)
	}
	return m
}

func (m *member) step() {
	name, other := "INBOX", "Other"
	if m.rnd.IntN(2) == 0 {
		name, other = other, name
	}
	switch m.rnd.IntN(8) {
	case 0, 1, 2:
		m.append(name)
	case 3:
		m.flag(name)
	case 4:
		m.expunge(name)
	case 5:
		m.transfer(name, other, mailbox.Copy, 1)
	case 6:
		m.transfer(name, other, mailbox.Move, 0)
	}
	m.poll(name)
}

func (m *member) append(name string) {
	m.made++
	text := fmt.Sprintf("Subject: message %d of client %d\r\n\r\n", m.made, m.n)
	m.c.count(text, 1)
	meta, err := m.boxes[name].Append(m.c.f.ctx, strings.NewReader(text), mailbox.AppendOptions{})
	if err != nil {
		m.c.fail("append: %w", err)
		return
	}
	m.c.saw(name, meta.UID, text)
}

// some picks up to three messages of a View.
func (m *member) some(name string) mailbox.UIDSet {
	v, uids := m.views[name], mailbox.UIDSet(nil)
	for range min(v.Len(), 3) {
		uids = uids.Add(v.UID(uint32(m.rnd.IntN(v.Len()) + 1)))
	}
	return uids
}

func (m *member) flag(name string) {
	ops := []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove, mailbox.FlagsReplace}
	_, err := m.boxes[name].SetFlags(m.c.f.ctx, m.some(name), mailbox.FlagChange{
		Op: ops[m.rnd.IntN(3)], Flags: mailbox.FlagList{System: mailbox.Flags(m.rnd.IntN(int(mailbox.SystemFlags) + 1))},
	})
	if err != nil {
		m.c.fail("set flags: %w", err)
	}
}

func (m *member) expunge(name string) {
	gone, err := m.boxes[name].Expunge(m.c.f.ctx, m.some(name))
	if err != nil {
		m.c.fail("expunge: %w", err)
		return
	}
	m.c.countUIDs(name, gone, -1)
}

func (m *member) transfer(from, to string, do func(context.Context, mailbox.Account, string, uint32, mailbox.UIDSet, string) (mailbox.CopyResult, error), n int) {
	res, err := do(m.c.f.ctx, m.acc, from, m.views[from].State().UIDValidity, m.some(from), to)
	if err != nil {
		// A fall-back may lose a race against another client's expunge; it must have undone its part.
		if !errors.Is(err, mailbox.ErrGone) {
			m.c.fail("copy or move: %w", err)
		}
		return
	}
	if len(res.Source) != len(res.Dest) {
		m.c.fail("%d messages became %d", len(res.Source), len(res.Dest))
		return
	}
	m.c.countUIDs(from, mailbox.UIDs(res.Source...), n)
	for i, u := range res.Dest {
		m.c.mu.Lock()
		text := m.c.texts[from][res.Source[i]]
		m.c.mu.Unlock()
		m.c.saw(to, u, text)
	}
}

// poll moves the View on and looks at what is new.
func (m *member) poll(name string) {
	v := m.views[name]
	before := v.State()
	u, err := v.Poll(m.c.f.ctx, mailbox.Everything)
	if err != nil {
		m.c.fail("poll: %w", err)
		return
	}
	if u.State.ModSeq < before.ModSeq || u.State.UIDNext < before.UIDNext {
		m.c.fail("%s: UIDNEXT or HIGHESTMODSEQ went down", name)
	}
	if !u.Added.Empty() && u.Added.Min() < before.UIDNext {
		m.c.fail("%s: UID %d is new, UIDNEXT was %d", name, u.Added.Min(), before.UIDNext)
	}
	for _, meta := range u.Changed() {
		if meta.ModSeq <= before.ModSeq {
			m.c.fail("%s: a change without a new mod-sequence", name)
		}
	}
	for msg, err := range m.boxes[name].Read(m.c.f.ctx, u.Added) {
		if errors.Is(err, mailbox.ErrGone) && msg.UID != 0 {
			continue
		}
		if err != nil {
			m.c.fail("read: %w", err)
			return
		}
		text, err := io.ReadAll(io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
		if errors.Is(err, mailbox.ErrGone) {
			continue
		}
		if err != nil {
			m.c.fail("read: %w", err)
			return
		}
		m.c.saw(name, msg.UID, string(text))
	}
}

const swapCount = 15

// testTransferAmidRenames: two folders swap their names again and again, while others copy and move messages of each,
// whose UIDs are the same in both. What goes is what was meant, or nothing.
func testTransferAmidRenames(f *fixture) {
	texts := make(map[uint32]string) // by UIDVALIDITY
	for _, name := range []string{"a", "b"} {
		b := f.folder(name)
		v := b.state().UIDValidity
		texts[v] = "Subject: of " + name + "\r\n\r\n"
		for range swapCount {
			b.add(texts[v], mailbox.AppendOptions{})
		}
	}
	var all sync.WaitGroup
	for v, text := range texts {
		to := f.folder("to-" + text[len("Subject: of "):][:1])
		all.Go(func() { transferAmidRenames(f, v, to.name) })
		defer func() {
			for _, got := range to.texts(mailbox.AllUIDs()) {
				require.Equal(f, text, got, "a message of the other folder came along")
			}
		}()
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	for {
		for _, r := range [][2]string{{"a", "c"}, {"b", "a"}, {"c", "b"}} {
			if err := f.acc.Rename(f.ctx, r[0], r[1]); err != nil {
				f.Errorf("rename %s to %s: %v", r[0], r[1], err)
			}
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// transferAmidRenames copies and moves messages of the folder that has a UIDVALIDITY, under whichever name it is found:
// until it was there often enough, and another in its place often enough.
func transferAmidRenames(f *fixture, validity uint32, to string) {
	there, another := 0, 0
	for n := 0; n < 100*swapCount && min(there, another) < swapCount; n++ {
		transfer, from := mailbox.Copy, "a"
		if n%2 == 0 {
			transfer = mailbox.Move
		}
		if n%3 == 0 {
			from = "b"
		}
		_, err := transfer(f.ctx, f.acc, from, validity, mailbox.UIDs(mailbox.UID(n%swapCount+1)), to)
		switch {
		case err == nil:
			there++
		case errors.Is(err, mailbox.ErrUIDValidity):
			another++
		case !errors.Is(err, mailbox.ErrNotFound):
			f.Errorf("copy or move: %v", err)
			return
		}
	}
}

// testAppendOneFolder: many appends at once give each message a UID of its own.
func testAppendOneFolder(f *fixture) {
	var mu sync.Mutex
	seen := make(map[mailbox.UID]string)
	var all sync.WaitGroup
	for n := range clientCount {
		b := f.inbox()
		all.Go(func() {
			for i := range 10 {
				text := fmt.Sprintf("Subject: %d %d\r\n\r\n", n, i)
				meta, err := b.Append(f.ctx, strings.NewReader(text), mailbox.AppendOptions{})
				mu.Lock()
				if err != nil || seen[meta.UID] != "" {
					f.Errorf("append: UID %d, %v", meta.UID, err)
				}
				seen[meta.UID] = text
				mu.Unlock()
			}
		})
	}
	all.Wait()
	b := f.inbox()
	require.Len(f, b.uids(), 10*clientCount)
	for u, text := range seen {
		require.Equal(f, text, b.read(u))
	}
}

// testExpungeOnce: each message is expunged by exactly one of those who try at once.
func testExpungeOnce(f *fixture) {
	uids := f.inbox().fill(20)
	var mu sync.Mutex
	times := make(map[mailbox.UID]int)
	var all sync.WaitGroup
	for range clientCount {
		b := f.inbox()
		all.Go(func() {
			gone, err := b.Expunge(f.ctx, mailbox.UIDs(uids...))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f.Errorf("expunge: %v", err)
			}
			for u := range gone.All() {
				times[u]++
			}
		})
	}
	all.Wait()
	for _, u := range uids {
		require.Equal(f, 1, times[u], "UID %d", u)
	}
}

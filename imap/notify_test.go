package imap_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/goniec-mail/goniec/maildir"
)

// I12 under NOTIFY: whatever is pushed between commands, nobody is told anything that does not fit. A third of the clients
// keep to sequence numbers, with selected-delayed; a third use UIDs, with selected; the others have no NOTIFY.
func TestI12_NotifyStateTracker(t *testing.T) {
	begin := func(i int, c *tracker) {
		const others = " (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange))"
		c.pushed = i%3 != 2
		switch i % 3 {
		case 0:
			c.run(false, "NOTIFY SET (selected-delayed (MessageNew (UID FLAGS) MessageExpunge FlagChange))"+others)
		case 1:
			c.byUID = true
			c.run(false, "NOTIFY SET STATUS (selected (MessageNew (UID FLAGS BODY[HEADER]) MessageExpunge FlagChange))"+others)
		}
	}
	t.Run("memory", func(t *testing.T) { trackStates(t, newFixture(t), begin) })
	t.Run("maildir", func(t *testing.T) {
		f, _ := newMaildirFixture(t)
		trackStates(t, f, begin)
	})
}

// What another program does to a Maildir is pushed: deliveries, flags, folders.
func TestNotifyMaildir(t *testing.T) {
	f, dir := newMaildirFixture(t)
	addr := f.start(t)
	other := &maildir.Store{Root: dir} // another process
	defer other.Close()
	a, err := other.Account(t.Context(), "alice")
	require.NoError(t, err)
	defer a.Close()
	require.NoError(t, a.Create(t.Context(), "Work", mailbox.CreateOptions{}))
	c := login(t, addr)
	c.ok("SELECT INBOX")
	status := c.ok("NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange))")
	require.Len(t, status, 1)
	next := func(pattern string) {
		t.Helper()
		require.Regexp(t, pattern, c.line())
	}
	base := filepath.Join(dir, "alice")
	require.NoError(t, os.WriteFile(base+"/.Work/new/1600000001.x.h", []byte("x\n"), 0o600))
	next(`^\* STATUS Work \(MESSAGES 1 UIDNEXT 2 UIDVALIDITY \d+ UNSEEN 1 HIGHESTMODSEQ \d+\)`)
	require.NoError(t, os.WriteFile(base+"/new/1600000002.x.h", []byte("x\n"), 0o600))
	next(`^\* 1 EXISTS`)
	next(`^\* 1 FETCH \(UID 1 FLAGS \(\)\)`)
	require.NoError(t, a.Rename(t.Context(), "Work", "Play"))
	next(`^\* LIST \(\\HasNoChildren\) "/" Play \("OLDNAME" \(Work\)\)`)
	require.NoError(t, mailbox.Subscribe(t.Context(), a, "Play", true))
	next(`^\* LIST \(\\HasNoChildren \\Subscribed\) "/" Play`)
	require.NoError(t, mailbox.SetAccountAnnotation(t.Context(), a, "/private/comment", []byte("x")))
	next(`^\* METADATA "" "/private/comment"`)
	m, err := a.Open(t.Context(), "Play")
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, mailbox.SetAnnotation(t.Context(), m, "/private/comment", []byte("x")))
	next(`^\* METADATA Play "/private/comment"`)
	require.NoError(t, a.Delete(t.Context(), "Play"))
	next(`^\* LIST \(\\NonExistent \\HasNoChildren \\Subscribed\) "/" Play`)
}

// I14 under NOTIFY: a silent session has one goroutine, and all of them are told.
func TestI14_ManyNotified(t *testing.T) {
	f, _ := newMaildirFixture(t)
	f.MaxConnsPerIP = -1
	n := 100
	if peertest.LongForm() {
		n = 1000
	}
	addr := f.start(t)
	f.deliver(t, "alice", "Work", plainMail)
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = login(t, addr)
		clients[i].ok("NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))")
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < n+n/2+50 }, time.Minute, 10*time.Millisecond, "one goroutine a session")
	f.deliver(t, "alice", "Work", plainMail)
	for _, c := range clients {
		line := c.line()
		for strings.Contains(line, "(MESSAGES 1 ") { // the system may be late with the first delivery
			line = c.line()
		}
		require.Regexp(t, `^\* STATUS Work \(MESSAGES 2 `, line)
	}
}

// A session that ends, in whatever way, watches no more: goleak and the store's own watchers tell.
func TestNotifyEnds(t *testing.T) {
	f, _ := newMaildirFixture(t)
	addr := f.start(t)
	for i, end := range []func(c *client){
		func(c *client) { c.ok("LOGOUT") },
		func(c *client) { c.Close() },
		func(c *client) { c.ok("NOTIFY NONE"); c.Close() },
		func(c *client) { c.ok("UNAUTHENTICATE"); c.Close() },
		func(c *client) { _, _ = io.WriteString(c, "x IDLE\r\n"); c.line(); c.Close() },
		func(c *client) { require.NoError(c.t, c.Conn.(*net.TCPConn).SetLinger(0)); c.Close() },
	} {
		c := login(t, addr)
		c.ok("SELECT INBOX")
		c.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge)) (personal (MessageNew MessageExpunge MailboxName))")
		c.ok("NOTIFY SET (selected (MessageNew (BODY[]) MessageExpunge)) (personal (MessageNew MessageExpunge MailboxName))")
		f.deliver(t, "alice", fmt.Sprintf("F%d", i), plainMail)
		end(c)
	}
	require.Eventually(t, func() bool { return f.Stats().Conns == 0 }, time.Minute, time.Millisecond)
	f.deliver(t, "alice", "INBOX", plainMail)
}

// A store that can not watch an account is offered without NOTIFY, and says so when asked.
func TestNotifyUnsupported(t *testing.T) {
	f := newFixture(t)
	f.Store = mailbox.FromSource(hugeMail{})
	c := login(t, f.start(t))
	require.Contains(t, strings.Join(c.ok("CAPABILITY"), ""), " NOTIFY ", "FromSource can")
	g := newFixture(t)
	g.Store = mailboxtest.Core(g.store)
	c = login(t, g.start(t))
	require.NotContains(t, strings.Join(c.ok("CAPABILITY"), ""), "NOTIFY")
	_, tagged := c.do("NOTIFY SET (personal (MailboxName))")
	require.Equal(t, "NO [CANNOT] the store can not do this", tagged)
	_, tagged = c.do("NOTIFY SET (personal (MailboxMetadataChange))")
	require.Equal(t, "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)] event is not supported", tagged)
}

// BenchmarkNotifySessions measures the memory of a silent session that watches 1,000 mailboxes and their names.
func BenchmarkNotifySessions(b *testing.B) {
	f, _ := newMaildirFixture(b)
	f.MaxConnsPerIP = -1
	a := f.account(b, "alice")
	for i := range 1000 {
		require.NoError(b, a.Create(b.Context(), fmt.Sprintf("Folder number %d", i), mailbox.CreateOptions{}))
	}
	addr := f.start(b)
	const n = 100
	for b.Loop() {
		conns := make([]*client, 0, n)
		var before, after runtime.MemStats
		first := login(b, addr)
		first.ok("NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))")
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := time.Now()
		for range n {
			c := login(b, addr)
			c.ok("NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))")
			conns = append(conns, c)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/n, "us/NOTIFY")
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		client := 4096.0 // of bufio in the client, in this process too
		b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/n-client, "heap-B/session")
		for _, c := range append(conns, first) {
			c.Close()
		}
	}
}

package imap_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// A session whose mailbox was renamed, and which finds another one under the old name with a message of the same UID, never touches that one.
func TestNameTakenOver(t *testing.T) {
	for _, command := range []string{
		"COPY 1 Trash", "UID COPY 1 Trash", "MOVE 1 Trash", "UID MOVE 1 Trash", `STORE 1 +FLAGS (\Deleted)`, `UID STORE 1 +FLAGS (\Deleted)`,
		"REPLACE 1 Trash {3+}\r\nabc", "UID REPLACE 1 Trash {3+}\r\nabc", "EXPUNGE", "UID EXPUNGE 1", "CLOSE", "FETCH 1 BODY[]",
	} {
		for _, kind := range []string{"memory", "maildir"} {
			f := newFixture(t)
			if kind == "maildir" {
				f, _ = newMaildirFixture(t)
			}
			old := f.deliver(t, "alice", "Work", "Subject: old\r\n\r\nx", `\Deleted`)
			f.deliver(t, "alice", "Trash", plainMail)
			addr := f.start(t)
			a, b := login(t, addr), login(t, addr)
			a.ok("SELECT Work")
			b.ok("RENAME Work Play")
			meta := f.deliver(t, "alice", "Work", "Subject: new\r\n\r\nx")
			require.Equal(t, old.UID, meta.UID)
			_, err := io.WriteString(a, "x "+command+"\r\ny LOGOUT\r\n")
			require.NoError(t, err)
			answer, err := io.ReadAll(a.r)
			require.NoError(t, err)
			require.NotContains(t, string(answer), "Subject: new", command)
			texts, metas := f.messages(t, "alice", "Work")
			require.Equal(t, []string{"Subject: new\r\n\r\nx"}, texts, "%s: %s", kind, command)
			require.Zero(t, metas[0].Flags, "%s: %s", kind, command)
			texts, _ = f.messages(t, "alice", "Trash")
			require.NotContains(t, texts, "Subject: new\r\n\r\nx", "%s: %s", kind, command)
		}
	}
}

// What was selected and is renamed by another session ends this one, whatever the store and however it listens.
func TestRenamedByOthers(t *testing.T) {
	for _, kind := range []string{"memory", "maildir"} {
		for _, listens := range []string{"NOOP", "IDLE", "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MailboxName))"} {
			f := newFixture(t)
			if kind == "maildir" {
				f, _ = newMaildirFixture(t)
			}
			f.deliver(t, "alice", "Work", plainMail)
			addr := f.start(t)
			a, b := login(t, addr), login(t, addr)
			a.ok("SELECT Work")
			if listens == "IDLE" {
				_, err := io.WriteString(a, "x IDLE\r\n")
				require.NoError(t, err)
				require.Equal(t, "+ idling\r\n", a.line())
			} else {
				a.ok(listens)
			}
			b.ok("RENAME Work Play")
			if listens == "NOOP" {
				_, err := io.WriteString(a, "x NOOP\r\n")
				require.NoError(t, err)
			}
			answer, err := io.ReadAll(a.r)
			require.NoError(t, err, "%s %s: %s", kind, listens, answer)
			require.Contains(t, string(answer), "* BYE ", "%s %s", kind, listens)
		}
	}
}

// I03: whatever command a deep list is given to, before and after login: it is refused, soon, and costs no memory.
func TestI03_EveryCommand(t *testing.T) {
	f := newFixture(t)
	f.MaxConnsPerIP = -1
	addr := f.start(t)
	start := time.Now()
	grown := heapGrowth(func() {
		for _, verb := range imap.CommandVerbs() {
			for _, deep := range []string{" " + strings.Repeat("(", 60000), " 1 " + strings.Repeat("(", 60000), " INBOX " + strings.Repeat("((", 30000), strings.Repeat(" (NOT", 10000)} {
				c := dial(t, addr)
				c.ok("NOOP")
				_, tagged := c.do(verb + deep[:5000])
				require.Regexp(t, "^(BAD|NO)", tagged, verb)
				if c = login(t, addr); verb == "LOGOUT" {
					continue
				}
				c.ok("SELECT INBOX")
				_, tagged = c.do(verb + deep)
				require.Regexp(t, `^(BAD|NO)`, tagged, verb)
				_ = c.Close()
			}
		}
	})
	require.Less(t, grown, int64(4<<20))
	require.Less(t, time.Since(start), 2*time.Minute) // 1 s on an idle machine; what is not linear takes far longer for one
}

// I02: what one command has read is gone when the command is over, refused or not.
func TestI02_LiteralsAreFreed(t *testing.T) {
	f := newFixture(t)
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	command := "SEARCH" + strings.Repeat(fmt.Sprintf(" SUBJECT {%d+}\r\n%s", 100<<10, strings.Repeat("x", 100<<10)), 10)
	grown := heapGrowth(func() {
		for range 20 {
			c.do(command)
			c.do(command + " SUBJECT {99999+}\r\n" + strings.Repeat("x", 99999))
		}
		c.ok("NOOP")
	})
	require.Less(t, grown, int64(3<<20))
}

// I04: sets stay intervals: the longest line of them costs little memory, on few messages and many.
func TestI04_SetsCostNoMemory(t *testing.T) {
	f := newFixture(t)
	for range 10 {
		f.deliver(t, "alice", "INBOX", plainMail)
	}
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	var b strings.Builder
	for i := 0; b.Len() < 60000; i++ {
		fmt.Fprintf(&b, "%d:4294967295,", 10*i+1)
	}
	set := b.String() + "1:*"
	grown := heapGrowth(func() {
		for _, command := range []string{"UID FETCH " + set + " UID", "UID SEARCH UID " + set, "SEARCH RETURN (ALL) UID " + set, "UID STORE " + set + ` +FLAGS.SILENT (\Seen)`, "UID EXPUNGE " + set} {
			c.ok(command)
		}
	})
	require.Less(t, grown, int64(2<<20))
}

// I09: the worst patterns over 10,000 mailboxes are answered at once; that the time doubles with the name is TestI09_PatternDoubles.
func TestI09_TenThousandMailboxes(t *testing.T) {
	f := newFixture(t)
	a := f.account(t, "alice")
	for i := range 10000 {
		require.NoError(t, a.Create(t.Context(), fmt.Sprintf("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d", i), mailbox.CreateOptions{}))
	}
	c := login(t, f.start(t))
	start := time.Now()
	for _, pattern := range []string{"*%*%*%*%ab", "*a*a*a*a*a*a*a*a*b", "%%%%%%%%%%%%%%%%b"} {
		require.Empty(t, c.ok(`LIST "" "`+pattern+`"`))
	}
	require.Less(t, time.Since(start), 2*time.Minute) // 1 s on an idle machine; with backtracking hours
}

// I14: the time that a client may be silent is what the RFC demands, unless somebody sets it lower.
func TestI14_DefaultTimeouts(t *testing.T) {
	idle, command := imap.DefaultTimeouts()
	require.GreaterOrEqual(t, idle, 30*time.Minute, "RFC 9051 §5.4")
	require.Equal(t, 5*time.Minute, command)
}

// T01: what is put behind STARTTLS, in the same segment or any other, is never run and never asked about.
func TestT01_Split(t *testing.T) {
	f := stateFixture(t)
	f.MaxConnsPerIP = -1
	addr := f.start(t)
	const text = "a STARTTLS\r\nb LOGIN alice secret\r\nc CAPABILITY\r\n"
	var wg sync.WaitGroup
	for cut := range len(text) {
		wg.Go(func() {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(3 * time.Minute))
			_, _ = io.WriteString(nc, text[:cut])
			time.Sleep(10 * time.Millisecond)
			_, _ = io.WriteString(nc, text[cut:])
			got, _ := io.ReadAll(nc)
			if strings.Contains(string(got), "\nb ") || strings.Contains(string(got), "\nc ") {
				t.Errorf("cut at %d: %q", cut, got)
			}
		})
	}
	wg.Wait()
	require.Zero(t, f.users.asked.Load())
}

// T03: a new session begins with TLS: what was read before, junk counted and capabilities told are forgotten.
func TestT03_NothingIsKept(t *testing.T) {
	f := stateFixture(t)
	f.AllowInsecureAuth = false
	f.MaxErrors = 3
	c := dial(t, f.start(t))
	for range 3 {
		_, tagged := c.do("LOGIN alice secret")
		require.Regexp(t, "^NO", tagged)
	}
	c.ok("STARTTLS")
	secure := newClient(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
	for range 3 { // the errors count from the beginning
		_, tagged := secure.do("LOGIN alice wrong")
		require.Regexp(t, `^NO \[AUTHENTICATIONFAILED\]`, tagged)
	}
	require.Contains(t, strings.Join(secure.ok("CAPABILITY"), ""), "AUTH=PLAIN")
	secure.ok("LOGIN alice secret")
}

// R02: an idle session costs little, and who is over the limit is told so while the others are served.
func TestR02_IdleSessions(t *testing.T) {
	f := newFixture(t)
	n := 300
	if peertest.LongForm() {
		n = 3000
	}
	f.MaxConns, f.MaxConnsPerIP = n, -1
	addr := f.start(t)
	conns := make([]net.Conn, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var greeting [512]byte
	for i := range conns {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { nc.Close() })
		_, err = nc.Read(greeting[:])
		require.NoError(t, err)
		conns[i] = nc
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)) / int64(n)
	t.Logf("%d octets of heap and stack for each idle session, both ends", each)
	require.Less(t, each, int64(32<<10))
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer nc.Close()
	refusal, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "* BYE [UNAVAILABLE] too many connections, try again later\r\n", string(refusal))
	c := newClient(t, conns[n/2])
	c.ok("LOGIN alice secret")
}

// R04: what was acknowledged before and during a shutdown is stored; the others are cut off or told; nobody waits for ever.
func TestR04_ShutdownDuringAppends(t *testing.T) {
	f, _ := newMaildirFixture(t)
	f.MaxConnsPerIP = -1
	addr := f.start(t)
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 20 {
		c := login(t, addr)
		wg.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d", i, n)
				msg := "X-Id: " + id + "\r\n\r\nx\r\n"
				if _, err := fmt.Fprintf(c, "a APPEND INBOX {%d+}\r\n%s\r\n", len(msg), msg); err != nil {
					return
				}
				l, err := c.read()
				if err != nil {
					return
				}
				if strings.HasPrefix(l, "a OK") {
					mu.Lock()
					acked[id] = true
					mu.Unlock()
				}
			}
		})
	}
	require.Eventually(t, func() bool { // all are at work
		mu.Lock()
		defer mu.Unlock()
		return len(acked) >= 20
	}, time.Minute, time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, f.Shutdown(ctx))
	wg.Wait()
	texts, _ := f.messages(t, "alice", "INBOX")
	all := strings.Join(texts, "")
	for id := range acked {
		require.Contains(t, all, "X-Id: "+id+"\r\n")
	}
}

// I15: whichever call of the disk fails under a MULTIAPPEND, none of its messages is stored or all are, the client gets one answer and is
// still in step, and the next command works.
func TestI15_DiskFailsAtEachCall(t *testing.T) {
	const command = "APPEND INBOX {10+}\r\n0123456789 {10+}\r\n0123456789 {10+}\r\n0123456789"
	var armed atomic.Int64 // the call that fails, counted from the command on; 0 = none
	step := int64(5)       // a sample; all of them in the long form
	if peertest.LongForm() {
		step = 1
	}
	for call := int64(1); ; call += step {
		f, dir := newMaildirFixture(t)
		disk := faultfs.NewFault(faultfs.OS{})
		var at atomic.Int64
		disk.Inject = func(faultfs.Call) error {
			if n := armed.Load(); n > 0 && at.Add(1) == n {
				return syscall.EIO
			}
			return nil
		}
		store := &maildir.Store{Root: dir + "/faulty", FS: disk}
		f.Store = store
		c := login(t, f.start(t))
		c.ok("SELECT INBOX")
		armed.Store(call)
		untagged, tagged := c.do(command)
		armed.Store(0)
		done := at.Load() < call // the command needs fewer calls
		stored := len(c.ok("NOOP")) + len(untagged)
		found := len(c.ok("UID SEARCH ALL")[0])
		if strings.HasPrefix(tagged, "OK") {
			require.Equal(t, len("* SEARCH 1 2 3\r\n"), found, "call %d", call)
		} else {
			require.Regexp(t, `^NO \[UNAVAILABLE\]`, tagged, "call %d", call)
			require.Equal(t, len("* SEARCH\r\n"), found, "call %d: %d", call, stored)
		}
		c.ok("APPEND INBOX {3+}\r\nabc")
		require.NoError(t, f.Close())
		require.NoError(t, store.Close())
		if done {
			require.Greater(t, call, int64(10))
			return
		}
	}
}

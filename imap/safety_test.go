package imap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
)

// I01: a literal that is announced and not sent costs nothing.
func TestI01_AnnouncedLiteralsAreNotAllocated(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	var conns []*client
	grown := heapGrowth(func() {
		for range 50 {
			c := dial(t, addr)
			_, err := io.WriteString(c, "a LOGIN {8192}\r\n")
			require.NoError(t, err)
			require.Equal(t, "+ OK\r\n", c.line())
			conns = append(conns, c)
		}
	})
	require.Less(t, grown/50, int64(32<<10))
	runtime.KeepAlive(conns)
}

// I02: literals of one command are limited in number and in octets (CVE-2024-34055).
func TestI02_LiteralsOfOneCommand(t *testing.T) {
	f := newFixture(t)
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	for _, tc := range []struct {
		count, size int
		good        bool
	}{{10, 100 << 10, true}, {11, 100 << 10, false}, {998, 1, true}, {999, 1, false}, {1001, 1, false}} {
		var b strings.Builder
		b.WriteString("SEARCH")
		for range tc.count {
			fmt.Fprintf(&b, " SUBJECT {%d+}\r\n%s", tc.size, strings.Repeat("x", tc.size))
		}
		_, tagged := c.do(b.String())
		if tc.good {
			require.True(t, strings.HasPrefix(tagged, "OK"), tagged)
		} else {
			require.Regexp(t, `^(NO \[TOOBIG\]|BAD)`, tagged)
		}
	}
	c.ok("NOOP") // still in step
}

// I03: nesting is refused before and after login, in every command that has lists.
func TestI03_Nesting(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	n := 30000
	parens := strings.Repeat("(", n) + strings.Repeat(")", n)
	for _, cmd := range []string{
		"SEARCH " + strings.Repeat("NOT ", 15000) + "ALL", "SEARCH " + strings.Repeat("OR ", 15000) + "ALL ALL", "SEARCH " + parens,
		"SEARCH " + strings.Repeat("(", 101) + "ALL" + strings.Repeat(")", 101),
		"LIST " + parens, `LIST "" ` + parens, `LIST "" * RETURN ` + parens, "FETCH 1 " + parens, "ID " + parens, "APPEND INBOX " + parens,
		"STORE 1 FLAGS " + parens, "STATUS INBOX " + parens, "SELECT INBOX " + parens, "CREATE x " + parens, "UID FETCH 1 BODY[" + strings.Repeat("1.", 10000) + "1]",
	} {
		c := login(t, addr)
		c.ok("SELECT INBOX")
		_, tagged := c.do(cmd)
		require.Regexp(t, `^(BAD|NO \[TOOBIG\])`, tagged, "%.40s", cmd)
	}
	c := login(t, addr)
	c.ok("SELECT INBOX")
	c.ok("SEARCH " + strings.Repeat("(", 98) + "ALL" + strings.Repeat(")", 98))
	pre := dial(t, addr)
	_, tagged := pre.do("ID " + strings.Repeat("(", 5000))
	require.Regexp(t, `^BAD`, tagged)
}

// I04: what a set names costs nothing where there is nothing.
func TestI04_Sets(t *testing.T) {
	f := newFixture(t)
	for range 10 {
		f.deliver(t, "alice", "INBOX", plainMail)
	}
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	many := strings.Repeat("1,", 20000) + "1"
	var ranges strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&ranges, "%d:%d,", 1000+2*i, 4294967295-i)
	}
	start := time.Now()
	for set, want := range map[string]int{
		"1:4294967295": 10, "4294967295:1": 10, many: 1, "*:*": 1, "*": 1, "4294967295:*": 1, ranges.String() + "3": 1, "20:30": 0,
	} {
		require.Len(t, c.ok("UID FETCH "+set+" (UID)"), want, "%.30s", set)
		c.ok("UID SEARCH UID " + set)
		c.ok("UID STORE " + set + " +FLAGS.SILENT (\\Seen)")
	}
	for _, set := range []string{"1:4294967295", "4294967295:1", "11", "11:12", "4294967295"} {
		_, tagged := c.do("FETCH " + set + " UID")
		require.Regexp(t, "^BAD", tagged)
	}
	require.Len(t, c.ok("FETCH "+many+" UID"), 1)
	require.Len(t, c.ok("FETCH *:1 UID"), 10)
	c.ok("SEARCH RETURN (SAVE) ALL")
	require.Len(t, c.ok("FETCH $ UID"), 10)
	require.Less(t, time.Since(start), time.Minute) // 0.1 s; who counts what a set names takes many
}

// I05: odd sections are answered in bounded form.
func TestI05_Sections(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", mixedMail)
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	var names strings.Builder
	for i := range 1001 {
		fmt.Fprintf(&names, " f%d", i)
	}
	path := "1" + strings.Repeat(".1", 99)
	for item, want := range map[string]string{
		"BODY.PEEK[" + path + "]":                                "NIL",
		"BODY.PEEK[" + path + ".1]":                              "BAD",
		"BODY.PEEK[]<4294967295.4294967295>":                     "{0}",
		"BODY.PEEK[]<9223372036854775807.9223372036854775807>":   "{0}",
		"BODY.PEEK[]<0.9223372036854775807>":                     fmt.Sprintf("{%d}", len(mixedMail)),
		"BODY.PEEK[]<9223372036854775808.1>":                     "BAD",
		"BODY.PEEK[HEADER.FIELDS (" + names.String()[1:] + ")]":  "BAD",
		"BODY.PEEK[HEADER.FIELDS (a (b))]":                       "BAD",
		"BODY.PEEK[4294967296]":                                  "BAD",
		"BODY.PEEK[4294967295]":                                  "BAD",
		"BODY.PEEK[1000000000]":                                  "NIL",
		"BODY.PEEK[1.2.3.MIME]":                                  "NIL",
		"BODY.PEEK[-1]":                                          "BAD",
		"(" + strings.Repeat("FLAGS ", 200) + "FLAGS)":           "BAD",
		"(" + strings.Repeat("FLAGS ", 199) + "FLAGS)":           "FLAGS",
		"BINARY.PEEK[1]<9223372036854775807.1>":                  "{0}",
		"(" + strings.Repeat("BODY.PEEK[HEADER] ", 199) + "UID)": "HEADER",
	} {
		untagged, tagged := c.do("FETCH 1 " + item)
		require.Contains(t, strings.Join(untagged, "")+tagged, want, "%.60s", item)
	}
}

// zeros is a message that is as large as one likes and has no octets in memory.
type zeros int64

func (z zeros) Size() int64 { return int64(z) }

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), int64(z)-off))
	clear(p[:max(n, 0)])
	if n < len(p) {
		return max(n, 0), io.EOF
	}
	return n, nil
}

// hugeMail is a mailbox.Source with one message of 2 GiB.
type hugeMail struct{}

func (hugeMail) Folders(context.Context, string) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) { yield(mailbox.Info{Name: "INBOX"}, nil) }
}

func (hugeMail) List(context.Context, string, string) iter.Seq2[mailbox.Item, error] {
	return func(yield func(mailbox.Item, error) bool) {
		yield(mailbox.Item{Key: "1", Size: 2 << 30, Date: time.Unix(1, 0)}, nil)
	}
}

func (hugeMail) Read(context.Context, string, string, string) (goniec.Content, error) {
	return zeros(2 << 30), nil
}

func (hugeMail) SetFlags(context.Context, string, string, string, mailbox.FlagList) error {
	return mailbox.ErrReadOnly
}
func (hugeMail) Notify(context.Context, string) <-chan struct{} { return nil }

// I06: a client that asks for everything and reads nothing costs no memory, and does not stay.
func TestI06_ClientThatDoesNotRead(t *testing.T) {
	f := newFixture(t)
	f.Store = mailbox.FromSource(hugeMail{})
	f.WriteTimeout = time.Second // a write that could go on at once must not be that late
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	grown := heapGrowth(func() {
		_, err := io.WriteString(c, "a FETCH 1 BODY.PEEK[]\r\n")
		require.NoError(t, err)
		time.Sleep(150 * time.Millisecond)
	})
	require.Less(t, grown, int64(1<<20))
	require.Eventually(t, func() bool { return f.Stats().Conns == 0 }, time.Minute, 10*time.Millisecond)
}

// I09: matching is linear in the name, whatever the pattern.
func TestI09_Patterns(t *testing.T) {
	f := newFixture(t)
	a := f.account(t, "alice")
	for i := range 1000 {
		require.NoError(t, a.Create(t.Context(), fmt.Sprintf("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d", i), mailbox.CreateOptions{}))
	}
	c := login(t, f.start(t))
	start := time.Now()
	for _, p := range []string{"*%*%*%*%b", strings.Repeat("*a", 400) + "b", strings.Repeat("%*", 1000), strings.Repeat("*", 4000)} {
		_, tagged := c.do(`LIST "" "` + p + `"`)
		require.Regexp(t, "^OK", tagged)
	}
	require.Less(t, time.Since(start), 2*time.Minute) // 2 s under load; what is not linear takes hours
	_, tagged := c.do(`LIST "" "` + strings.Repeat("*", 4097) + `"`)
	require.Regexp(t, "^BAD", tagged)
	require.Len(t, c.ok(`LIST "" "aaa%9"`), 100)
}

// I13: "absent" and "forbidden" are one answer, for every command that names a mailbox.
func TestI13_ForbiddenLooksAbsent(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "Secret", plainMail)
	f.deliver(t, "alice", "INBOX", plainMail)
	hide := "hide Secret"
	f.fail.Store(&hide)
	c := login(t, f.start(t))
	for _, cmd := range []string{
		"SELECT %s", "EXAMINE %s", "STATUS %s (MESSAGES)", "DELETE %s", "RENAME %s Other", "APPEND %s {3+}\r\nabc",
		"COPY 1 %s", "MOVE 1 %s", "UID COPY 1 %s", "UID MOVE 1 %s", "GETQUOTAROOT %s", "GETMETADATA %s /private/comment",
		`SETMETADATA %s (/private/comment "x")`, "REPLACE 1 %s {3+}\r\nabc", "UID REPLACE 1 %s {3+}\r\nabc",
	} {
		var answers []string
		for _, name := range []string{"Secret", "Absent"} {
			c.ok("SELECT INBOX")
			_, tagged := c.do(fmt.Sprintf(cmd, name))
			answers = append(answers, tagged)
		}
		require.Equal(t, answers[1], answers[0], cmd)
		require.Regexp(t, "^NO", answers[0], cmd)
	}
}

// I14: one delivery wakes each of many idle sessions once.
func TestI14_ManyIdle(t *testing.T) {
	f := newFixture(t)
	f.MaxConnsPerIP = -1
	n := 100
	if peertest.LongForm() {
		n = 1000
	}
	addr := f.start(t)
	clients := make([]*client, n)
	for i := range clients {
		c := login(t, addr)
		c.ok("SELECT INBOX")
		_, err := io.WriteString(c, "i IDLE\r\n")
		require.NoError(t, err)
		require.Equal(t, "+ idling\r\n", c.line())
		clients[i] = c
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < n+n/2+50 }, time.Minute, 10*time.Millisecond, "one goroutine a session")
	f.deliver(t, "alice", "INBOX", plainMail)
	for _, c := range clients {
		require.Equal(t, "* 1 EXISTS\r\n", c.line())
	}
	for _, c := range clients {
		_, err := io.WriteString(c, "DONE\r\n")
		require.NoError(t, err)
		require.Equal(t, "i OK IDLE done\r\n", c.line())
	}
}

// I14: a client that never says DONE, or says something else, does not stay for ever.
func TestI14_IdleEnds(t *testing.T) {
	f := newFixture(t)
	f.IdleTimeout = 500 * time.Millisecond
	c := dial(t, f.start(t))
	_, err := io.WriteString(c, "a LOGIN alice secret\r\ni IDLE\r\n") // at once: the time for IDLE runs from the login on
	require.NoError(t, err)
	require.Regexp(t, "^a OK", c.line())
	require.Equal(t, "+ idling\r\n", c.line())
	require.Regexp(t, `^\* BYE`, c.line())
	_, err = c.r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// I15: an APPEND that is cut off at any octet stores nothing.
func TestI15_AppendCut(t *testing.T) {
	f := newFixture(t)
	f.MaxConnsPerIP = -1
	addr := f.start(t)
	command := "a APPEND INBOX (\\Seen) {10+}\r\n0123456789 {5+}\r\nabcde\r\n"
	for cut := range len(command) {
		c := login(t, addr)
		_, err := io.WriteString(c, command[:cut])
		require.NoError(t, err)
		require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
		_, _ = io.Copy(io.Discard, c.r)
	}
	texts, _ := f.messages(t, "alice", "INBOX")
	require.Empty(t, texts)
	c := login(t, addr)
	_, err := io.WriteString(c, command)
	require.NoError(t, err)
	c.line()
	texts, _ = f.messages(t, "alice", "INBOX")
	require.Equal(t, []string{"0123456789", "abcde"}, texts)
}

// I15: a MULTIAPPEND that fails at one message stores none, gives one answer, and leaves the session in step.
func TestI15_MultiAppendFails(t *testing.T) {
	for k := range 3 {
		f := newFixture(t)
		f.store.OctetLimit = int64(10*k + 5) // message k does not fit
		c := login(t, f.start(t))
		_, tagged := c.do("APPEND INBOX {10+}\r\n0123456789 {10+}\r\n0123456789 {10+}\r\n0123456789")
		require.Equal(t, "NO [OVERQUOTA] quota exceeded", tagged)
		require.Empty(t, c.ok("NOOP"))
		texts, _ := f.messages(t, "alice", "INBOX")
		require.Empty(t, texts)
	}
}

// R01: a client that sends one octet now and then does not stay.
func TestR01_Slowloris(t *testing.T) {
	f := newFixture(t)
	f.CommandTimeout = 200 * time.Millisecond
	addr := f.start(t)
	for _, start := range []string{"", "a LOGIN {100}\r\n", "a LOGIN {100+}\r\n", "a AUTHENTICATE PLAIN\r\n"} {
		c := dial(t, addr)
		_, err := io.WriteString(c, start)
		require.NoError(t, err)
		stop := time.Now().Add(time.Minute)
		for err == nil && time.Now().Before(stop) {
			_, err = io.WriteString(c, "x")
			time.Sleep(20 * time.Millisecond)
		}
		require.Error(t, err, "%q", start)
	}
}

// R04: Shutdown tells idle clients goodbye at once, those in IDLE too, and leaves no goroutine.
func TestR04_Shutdown(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	plain, idle := login(t, addr), login(t, addr)
	plain.ok("SELECT INBOX")
	idle.ok("SELECT INBOX")
	_, err := io.WriteString(idle, "i IDLE\r\n")
	require.NoError(t, err)
	require.Equal(t, "+ idling\r\n", idle.line())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, f.Shutdown(ctx))
	for _, c := range []*client{plain, idle} {
		require.Equal(t, "* BYE [UNAVAILABLE] server is shutting down\r\n", c.line())
		_, err := c.r.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	}
}

// R03, R05: sessions that only make noise end.
func TestR05_Noise(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	for _, line := range []string{"a NOOP\r\n", "a x\r\n", "\r\n", "a\r\n", "* * *\r\n", "a ID NIL\r\n", "a LOGIN x y\r\n"} {
		c := dial(t, addr)
		go func() {
			for range 100000 {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		}()
		n, err := io.Copy(io.Discard, c.r)
		require.Less(t, n, int64(100<<10), "%q", line)
		if err != nil {
			var ne net.Error
			require.False(t, errors.As(err, &ne) && ne.Timeout(), "%q", line)
		}
	}
}

// A client that polls with NOOP for hours is no noise.
func TestR05_PollingIsNoNoise(t *testing.T) {
	f := newFixture(t)
	f.MaxJunk = 2
	c := login(t, f.start(t))
	for range 2 {
		c.ok("NOOP")
		c.ok("NOOP")
		time.Sleep(1100 * time.Millisecond)
	}
}

// blockedStore blocks in every operation until the context ends.
func blockedStore(inner mailbox.Store, blocked *atomic.Bool, waiting *atomic.Int64) mailbox.Store {
	return mailbox.InterceptStore(inner, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if !blocked.Load() {
			return next(ctx)
		}
		waiting.Add(1)
		<-ctx.Done()
		return context.Cause(ctx)
	})
}

// R06: while the store hangs, sessions are bounded and the others are told so; Close ends all.
func TestR06_BlockedStore(t *testing.T) {
	f := newFixture(t)
	var blocked atomic.Bool
	var waiting atomic.Int64
	f.Store = blockedStore(f.store, &blocked, &waiting)
	f.MaxConns = 20
	addr := f.start(t)
	blocked.Store(true)
	for range 20 {
		c := dial(t, addr)
		_, err := io.WriteString(c, "a LOGIN alice secret\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return waiting.Load() == 20 }, time.Minute, 5*time.Millisecond)
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer nc.Close()
	got, err := io.ReadAll(nc)
	require.NoError(t, err)
	require.Equal(t, "* BYE [UNAVAILABLE] too many connections, try again later\r\n", string(got))
	require.LessOrEqual(t, waiting.Load(), int64(20))
}

// Q04: a panic of the store ends one session, is counted, and the server lives.
func TestQ04_Panic(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	kind := "panic"
	f.fail.Store(&kind)
	addr := f.start(t)
	for i, command := range []string{"FETCH 1 BODY[]", "SEARCH BODY x", "FETCH 1 ENVELOPE", "SORT (SIZE) UTF-8 TEXT x"} { // some read in goroutines of their own
		c := login(t, addr)
		c.ok("SELECT INBOX")
		_, err := io.WriteString(c, "a "+command+"\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(c.r)
		require.NoError(t, err)
		require.EqualValues(t, i+1, f.Stats().Panics)
	}
	login(t, addr).ok("NOOP")
}

// L01: secrets and paths reach neither log nor client, and what a client sends is quoted.
func TestL01_NothingLeaks(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	kind := "Read"
	f.fail.Store(&kind)
	c := dial(t, f.start(t))
	_, err := io.WriteString(c, "a LOGIN alice wrongsecret\r\nb LOGIN alice secret\r\nc SELECT INBOX\r\nd FETCH 1 BODY[]\r\ne \x1b[2J\u202e x\r\nf LOGOUT\r\n")
	require.NoError(t, err)
	got, err := io.ReadAll(c.r)
	require.NoError(t, err)
	require.NotContains(t, string(got), "/var/mail")
	require.NotContains(t, string(got), "\x1b")
	require.Contains(t, string(got), "d NO [UNAVAILABLE] temporary failure ")
	require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "session") }, time.Minute, 5*time.Millisecond)
	log := f.log.String()
	require.Contains(t, log, "disk on fire")
	require.NotContains(t, log, "secret")
	require.NotContains(t, log, "\x1b")
}

// I11: UIDs only rise, whoever appends, expunges and moves at the same time.
func TestI11_UIDsRise(t *testing.T) {
	f := newFixture(t)
	f.MaxConnsPerIP = -1
	require.NoError(t, f.account(t, "alice").Create(t.Context(), "Other", mailbox.CreateOptions{}))
	addr := f.start(t)
	var mu sync.Mutex
	given := map[string]bool{}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			c := login(t, addr)
			c.ok("SELECT INBOX")
			for i := range 20 {
				_, tagged := c.do("APPEND INBOX {5+}\r\nhello")
				var validity, uid uint32
				_, err := fmt.Sscanf(tagged, "OK [APPENDUID %d %d]", &validity, &uid)
				require.NoError(t, err, tagged)
				mu.Lock()
				key := fmt.Sprint(validity, uid)
				require.False(t, given[key], "UID %s given twice", key)
				given[key] = true
				mu.Unlock()
				switch (w + i) % 3 {
				case 0:
					c.do(fmt.Sprintf("UID STORE %d +FLAGS.SILENT (\\Deleted)", uid))
					c.do(fmt.Sprintf("UID EXPUNGE %d", uid))
				case 1:
					c.do(fmt.Sprintf("UID MOVE %d Other", uid))
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, given, 120)
}

func TestShutdownBeforeServe(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Shutdown(t.Context()))
	require.ErrorIs(t, f.ListenAndServe(), imap.ErrServerClosed)
}

func TestMisconfigured(t *testing.T) {
	require.ErrorContains(t, (&imap.Server{Addr: "127.0.0.1:0"}).ListenAndServe(), "Store or Server.Auth is nil")
	require.ErrorContains(t, (&imap.Server{Addr: "127.0.0.1:0"}).ListenAndServeTLS(), "Store or Server.Auth is nil")
}

func ExampleServer() {
	server := &imap.Server{
		Addr:  "127.0.0.1:0",
		Store: mailbox.NewMemory(),
		Auth: auth.AuthenticatorFunc(func(_ context.Context, a *auth.Attempt) (auth.Identity, error) {
			if a.User != "alice" || a.Secret.Reveal() != "secret" {
				return auth.Identity{}, auth.ErrCredentials
			}
			return auth.Identity{User: "alice"}, nil
		}),
		AllowInsecureAuth: true, // loopback only
	}
	done := make(chan error)
	go func() { done <- server.ListenAndServe() }()
	<-server.Ready()
	// server.ListenAddr() tells the port.
	fmt.Println(server.Shutdown(context.Background()), <-done)
	// Output: <nil> server closed
}

// allocated measures how much f allocates in all.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

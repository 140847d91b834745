package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/queue"
)

// The test binary is the server when this variable is set.
const asServer = "GONIEC_TEST_MAILSERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a running server.
type process struct {
	cmd   *exec.Cmd
	dir   string
	addrs map[string]string // by purpose
	out   *output
	done  chan error
}

// output keeps what the server prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var anyPort = []string{"-smtp", "127.0.0.1:0", "-submission", "127.0.0.1:0", "-lmtp", "127.0.0.1:0", "-imap", "127.0.0.1:0", "-imaps", "127.0.0.1:0", "-pop3", "127.0.0.1:0"}

// launch starts a server in dir; wrap is put in front of its command line.
func launch(t testing.TB, dir string, wrap []string, args ...string) *process {
	self, err := os.Executable()
	require.NoError(t, err)
	line := append(append(append([]string{}, wrap...), self), args...)
	p := &process{cmd: exec.Command(line[0], line[1:]...), dir: dir, out: &output{}, done: make(chan error, 1), addrs: map[string]string{}}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), asServer+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(t, p.cmd.Start())
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the server printed:\n%s", p.out)
		}
	})
	return p
}

var listens = regexp.MustCompile(`(?m)^  (\w+) +(smtp|lmtp|imaps?|pop3) +(\S+)$`)

// start launches a server and waits until it says where it listens.
func start(t testing.TB, dir string, args ...string) *process {
	p := launch(t, dir, nil, append(append([]string{}, anyPort...), args...)...)
	p.ready(t)
	return p
}

func (p *process) ready(t testing.TB) {
	require.Eventually(t, func() bool {
		for _, m := range listens.FindAllStringSubmatch(p.out.String(), -1) {
			p.addrs[m[1]+" "+m[2]] = m[3]
		}
		return len(p.addrs) >= 6 && (strings.Contains(p.out.String(), "Try:") || !strings.Contains(p.out.String(), "(demo)"))
	}, time.Minute, 5*time.Millisecond, "the server did not start")
}

// interrupt is Ctrl-C.
func (p *process) interrupt(t testing.TB) {
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	select {
	case err := <-p.done:
		require.NoError(t, err)
		p.done <- err
	case <-time.After(time.Minute):
		t.Fatal("the server does not stop")
	}
}

// dialogue says lines to a server and returns the replies; each is awaited.
func dialogue(t testing.TB, addr string, lines ...string) []string {
	c, err := textproto.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, _, err = c.ReadResponse(220)
	require.NoError(t, err)
	var replies []string
	for _, l := range lines {
		require.NoError(t, c.PrintfLine("%s", l))
		code, text, err := c.ReadResponse(0)
		if code == 0 {
			require.NoError(t, err)
		}
		replies = append(replies, fmt.Sprintf("%d %s", code, text))
	}
	return replies
}

func send(t testing.TB, addr, to, msg string) string {
	r := dialogue(t, addr, "EHLO test", "MAIL FROM:<you@example.org>", "RCPT TO:<"+to+">", "DATA", msg+"\r\n.")
	return r[len(r)-1]
}

func TestDemoAnswers(t *testing.T) {
	p := start(t, t.TempDir())
	require.Regexp(t, "^250 2\\.", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: x\r\n\r\nx"))
	r := dialogue(
		t, p.addrs["receive smtp"], "EHLO test", "MAIL FROM:<you@example.org>",
		"RCPT TO:<nobody@demo.test>", "RCPT TO:<x@elsewhere.example>", "RCPT TO:<postmaster@demo.test>", "RCPT TO:<Postmaster>", "RCPT TO:<alice+tag@demo.test>",
	)
	require.Contains(t, r[2], "550 5.1.1")
	require.Contains(t, r[3], "550 5.7.1")
	for _, ok := range r[4:] {
		require.Contains(t, ok, "250 2.1.5")
	}
	r = dialogue(
		t, p.addrs["submit smtp"], "EHLO test", "MAIL FROM:<alice@demo.test>", "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ==",
		"MAIL FROM:<alice@demo.test>", "RCPT TO:<x@elsewhere.example>", "RCPT TO:<bob@demo.test>",
	)
	require.Contains(t, r[1], "530 5.7.0")
	require.Contains(t, r[2], "235 ")
	require.Contains(t, r[4], "250 2.1.5", "users may send anywhere")
	require.Contains(t, r[5], "250 2.1.5")
	r = dialogue(t, p.addrs["deliver lmtp"], "LHLO test")
	require.Contains(t, r[0], "250 ")
	arrived(t, p, "alice", 1)
	p.interrupt(t)
	require.Contains(t, p.out.String(), "stopped; everything accepted is delivered")
}

// Who submits sends as himself, an address extension included (553 5.7.1); on the port for other servers nobody is asked.
func TestSubmissionSender(t *testing.T) {
	p := start(t, t.TempDir())
	login := "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ=="
	for from, want := range map[string]string{
		"alice@demo.test": "250", "Alice@Demo.TEST": "250", "alice+shop@demo.test": "250", "": "250",
		"bob@demo.test": "553 5.7.1", "nobody@demo.test": "553 5.7.1", "you@example.org": "553 5.7.1", "alice@later.test": "553 5.7.1", "alice@demo.test.example": "553 5.7.1",
	} {
		r := dialogue(t, p.addrs["submit smtp"], "EHLO test", login, "MAIL FROM:<"+from+">")
		require.True(t, strings.HasPrefix(r[2], want), "%s: %s", from, r[2])
		r = dialogue(t, p.addrs["receive smtp"], "EHLO test", "MAIL FROM:<"+from+">")
		require.True(t, strings.HasPrefix(r[1], "250"), "%s: %s", from, r[1])
	}
}

// Postmaster, who is alice in the demo, is told of the classes that -notices names.
func TestNotices(t *testing.T) {
	p := start(t, t.TempDir(), "-notices", "policy,protocol,bounce")
	dialogue(t, p.addrs["receive smtp"], "EHLO test", "NONSENSE", "MAIL FROM:<you@example.org>", "RCPT TO:<x@elsewhere.example>")
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@gone.test", "Subject: x\r\n\r\nx"))
	arrived(t, p, "alice", 3)
	files, err := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice/[nc][eu][wr]/*"))
	require.NoError(t, err)
	var all string
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		all += string(text)
	}
	for _, want := range []string{
		"Subject: Postmaster notice: policy\n", "was told 550 5.7.1", "Subject: Postmaster notice: protocol\n", "was told 500 5.5.",
		"Subject: Postmaster notice: bounce\n", "everybody at gone.test has left",
	} {
		require.Contains(t, all, want)
	}
	err = launch(t, t.TempDir(), nil, "-notices", "everything").waitError()
	require.Error(t, err)
}

// waitError waits for the end of a server that can not start.
func (p *process) waitError() error {
	err := <-p.done
	p.done <- err
	return err
}

// The demo's two other domains: one takes mail at the second try, from the other it bounces.
func TestDemoRetryAndBounce(t *testing.T) {
	p := start(t, t.TempDir())
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@later.test", "Subject: x\r\n\r\nx"))
	r := dialogue(t, p.addrs["submit smtp"], "EHLO test", "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ==", "MAIL FROM:<alice@demo.test>", "RCPT TO:<bob@gone.test>", "DATA", "Subject: y\r\n\r\ny\r\n.")
	require.Regexp(t, "^250 ", r[5])
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice/new/*"))
		if err != nil || len(files) != 1 {
			return false
		}
		text, err := os.ReadFile(files[0])
		return err == nil && bytes.Contains(text, []byte("everybody at gone.test has left")) && bytes.Contains(text, []byte("Return-Path: <>\n"))
	}, time.Minute, 20*time.Millisecond, "the bounce")
	require.Eventually(t, func() bool {
		log := p.out.String()
		return strings.Contains(log, "later.test is busy") && strings.Contains(log, "delivered bob@later.test")
	}, time.Minute, 50*time.Millisecond, "the retry")
	p.interrupt(t)
	require.Contains(t, p.out.String(), "nothing is queued")
}

// RFC 5321 §4.5.1: mail to postmaster, with our domains and without one, arrives in a mailbox.
func TestPostmasterIsReachable(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("zoe@own.test:{PLAIN}secret\n"), 0o600))
	for _, c := range []struct {
		args   []string
		domain string
		box    string
	}{
		{nil, "demo.test", "demo.test/alice"},
		{[]string{"-postmaster", "bob@demo.test"}, "demo.test", "demo.test/bob"},
		{[]string{"-users", users, "-domains", "own.test,other.test"}, "other.test", "o*.test/postmaster"},
		{[]string{"-users", users, "-domains", "own.test,other.test", "-postmaster", "zoe@own.test"}, "other.test", "own.test/zoe"},
	} {
		p := start(t, t.TempDir(), c.args...)
		for _, service := range []string{"receive smtp", "deliver lmtp"} {
			hello := map[string]string{"receive smtp": "EHLO test", "deliver lmtp": "LHLO test"}[service]
			for _, to := range []string{"Postmaster", "postmaster@" + c.domain} {
				r := dialogue(t, p.addrs[service], hello, "MAIL FROM:<>", "RCPT TO:<"+to+">", "DATA", "Subject: x\r\n\r\nx\r\n.")
				require.Regexp(t, "^250 ", r[4], "%s by %s", to, service)
			}
		}
		require.Eventually(t, func() bool {
			files, _ := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail", c.box, "new", "*"))
			return len(files) == 4
		}, time.Minute, 10*time.Millisecond, "%v", c.args)
		p.interrupt(t)
	}
}

// S16: forms in which relays were tricked; none may reach an outside recipient.
func TestS16_NoOpenRelay(t *testing.T) {
	p := start(t, t.TempDir())
	us, far := "demo.test", "far.example"
	for _, from := range []string{"", "you@" + us, "postmaster@localhost", "x@[127.0.0.1]", "you@" + far} {
		lines := []string{"EHLO test", "MAIL FROM:<" + from + ">"}
		forms := []string{
			"u@" + far, "u%" + far + "@" + us, far + "!u@" + us, `"u@` + far + `"`, `"u@` + far + `"@` + us, "@" + us + ":u@" + far, "@" + us + ",@b.example:u@" + far,
			"u@" + far + "@" + us, "u@[127.0.0.1]", "u%" + far + "@[127.0.0.1]", "u@[" + far + "]", far + "!u", "u%" + far, `"u%` + far + `"@` + us, "u@" + us + "@" + far,
			"alice@" + us + "." + far, "alice@" + us + "%" + far, "u@localhost", "u%" + far + "@localhost", "\"alice@" + us + "\"@" + far, "u@" + us + ":" + far,
		}
		for _, f := range forms {
			lines = append(lines, "RCPT TO:<"+f+">")
		}
		for i, reply := range dialogue(t, p.addrs["receive smtp"], lines...)[2:] {
			require.Regexp(t, `^5\d\d 5\.`, reply, "RCPT TO:<%s> from <%s>", forms[i], from)
		}
	}
}

// S17: a message that went round too often is refused, and so is one that was here before.
func TestS17_Loops(t *testing.T) {
	p := start(t, t.TempDir())
	hops := strings.Repeat("Received: by x; Thu, 1 Jan 2026 00:00:00 +0000\r\n", 100)
	require.Regexp(t, "^554 5.4.6", send(t, p.addrs["receive smtp"], "alice@demo.test", hops+"Received: once more\r\n\r\nx"))
	r := dialogue(t, p.addrs["deliver lmtp"], "LHLO test", "MAIL FROM:<you@example.org>", "RCPT TO:<alice@demo.test>", "DATA", "Delivered-To: alice@demo.test\r\n\r\nx\r\n.")
	require.Regexp(t, "^554 5.4.6", r[4])
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", hops[:len(hops)/2]+"\r\nx"))
}

// S19: a thousand unknown recipients are refused at RCPT, and the session survives them.
func TestS19_UnknownRecipients(t *testing.T) {
	p := start(t, t.TempDir())
	lines := []string{"EHLO test", "MAIL FROM:<you@example.org>"}
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("RCPT TO:<nobody%d@demo.test>", i))
	}
	for _, reply := range dialogue(t, p.addrs["receive smtp"], lines...)[2:] {
		require.Regexp(t, "^550 5.1.1", reply)
	}
}

func TestBadStarts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	users := file("users", "alice@own.test:{PLAIN}a\n")
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"port in use":       {[]string{"-data", dir, "-smtp", busy.Addr().String()}, "another server listens there; stop it or choose another port"},
		"public demo":       {[]string{"-data", dir, "-smtp", ":2525"}, "the demo's passwords are public; use a loopback address"},
		"public demo pop3":  {[]string{"-data", dir, "-pop3", "0.0.0.0:2110"}, "will not listen on 0.0.0.0:2110"},
		"public clear text": {[]string{"-data", dir, "-users", users, "-domains", "own.test", "-insecure-auth", "-pop3", "[::]:0"}, "-insecure-auth sends passwords in clear text"},
		"data is a file":    {[]string{"-data", filepath.Join(users, "x")}, "data folder: mkdir"},
		"no users":          {[]string{"-data", dir, "-users", filepath.Join(dir, "none"), "-domains", "own.test"}, "-users: "},
		"broken users":      {[]string{"-data", dir, "-users", file("broken", "alice@own.test:{PLAIN}a\nbob@own.test\x00:x\n"), "-domains", "own.test"}, filepath.Join(dir, "broken") + ":2: "},
		"users, no domains": {[]string{"-data", dir, "-users", users}, "-users needs -domains"},
		"domains, no users": {[]string{"-data", dir, "-domains", "own.test"}, "-domains needs -users"},
		"bad network":       {[]string{"-data", dir, "-trusted", "127.0.0.1"}, `"127.0.0.1" is no network in CIDR form`},
		"stray argument":    {[]string{"start"}, `unexpected argument "start": the only command is queue`},
		"no port":           {[]string{"-data", dir, "-imap", "mail"}, `will not listen on "mail": address mail: missing port in address; give host:port`},
		"bad domain":        {[]string{"-data", dir, "-users", users, "-domains", "not a domain"}, `domain "not a domain"`},
		"nothing to serve":  {[]string{"-data", dir, "-smtp", "", "-submission", "", "-lmtp", "", "-imap", "", "-imaps", "", "-pop3", ""}, "nothing to serve"},
		"unknown flag":      {[]string{"-port", "25"}, "flag provided but not defined"},
	} {
		t.Run(name, func(t *testing.T) {
			args := c.args
			if name != "nothing to serve" {
				args = append(append([]string{}, anyPort...), args...)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := run(ctx, args, io.Discard, io.Discard)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Beyond the demo: own users, own mail folders, a network that may relay, no listener where none is wanted.
func TestOwnUsers(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("zoe@own.test:{PLAIN}secret\n"), 0o600))
	p := launch(t, dir, nil, "-users", users, "-domains", "own.test,other.test", "-mail", dir+"/m/{domain}/{local}/Maildir", "-trusted", "127.0.0.0/8",
		"-smtp", "127.0.0.1:0", "-submission", "", "-lmtp", "127.0.0.1:0", "-imap", "", "-imaps", "", "-pop3", "127.0.0.1:0")
	require.Eventually(t, func() bool { return len(listens.FindAllString(p.out.String(), -1)) == 3 }, time.Minute, 5*time.Millisecond)
	for _, m := range listens.FindAllStringSubmatch(p.out.String(), -1) {
		p.addrs[m[1]+" "+m[2]] = m[3]
	}
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "zoe@own.test", "Subject: x\r\n\r\nx"))
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "m/own.test/zoe/Maildir/new/*"))
		return err == nil && len(files) == 1
	}, time.Minute, 10*time.Millisecond)
	r := dialogue(t, p.addrs["receive smtp"], "EHLO test", "MAIL FROM:<>", "RCPT TO:<x@far.example>")
	require.Contains(t, r[2], "250 2.1.5", "the network may relay")
	r = dialogue(t, p.addrs["deliver lmtp"], "LHLO test", "MAIL FROM:<>", "RCPT TO:<x@far.example>")
	require.Contains(t, r[2], "550 5.7.1")
	// Without -insecure-auth no password passes in clear text (T06).
	c, err := net.Dial("tcp", p.addrs["read pop3"])
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprint(c, "USER zoe@own.test\r\nQUIT\r\n")
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(got), "-ERR encryption required")
}

// A full disk is 452 4.3.1, and small mail and reading go on; the postmaster, who is alice in the demo, is told.
func TestF05_DiskFull(t *testing.T) {
	peertest.Need(t, "prlimit")
	p := launch(t, t.TempDir(), []string{"prlimit", "--fsize=17000000"}, anyPort...)
	p.ready(t)
	big := "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 18000)
	require.Regexp(t, "^452 4.3.1", send(t, p.addrs["receive smtp"], "alice@demo.test", big))
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: x\r\n\r\nsmall"))
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice/new/*"))
		if err != nil || len(files) < 2 {
			return false
		}
		var texts string
		for _, name := range files {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			texts += string(text)
		}
		require.Len(t, files, 2, texts)
		require.Contains(t, texts, "\nsmall\n")
		require.Contains(t, texts, postmasterNotice+"resource\n")
		return true
	}, time.Minute, 10*time.Millisecond, "the small one arrives, and a notice")
}

// SIGKILL during concurrent deliveries loses nothing that was acknowledged, and leaves nothing half written in new/.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cycles := 2
	if peertest.LongForm() {
		cycles = 20
	}
	ledger := &ledger{}
	for range cycles {
		killCycle(t, dir, ledger)
	}
	require.NotEmpty(t, ledger.acked)
	start(t, dir) // what the queue holds is delivered at the next start
	var found map[string]bool
	require.Eventually(t, func() bool {
		found = stored(t, filepath.Join(dir, "goniec-demo/mail/demo.test"))
		for _, id := range ledger.acked {
			if !found[id] {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "a message was acknowledged and is lost")
	t.Logf("%d acknowledged, %d found, 0 lost", len(ledger.acked), len(found))
}

// postmasterNotice begins the Subject of what the server itself tells the postmaster.
const postmasterNotice = "\nSubject: Postmaster notice: "

// stored returns the ids of the messages in the Maildirs below dir, all of which must be whole.
func stored(t *testing.T, dir string) map[string]bool {
	found := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*", "[nc][eu][wr]", "*"))
	require.NoError(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		if bytes.Contains(b, []byte(postmasterNotice)) {
			continue
		}
		require.True(t, bytes.HasSuffix(b, []byte("the end\n")), "%s is not whole", f)
		if m := regexp.MustCompile(`(?m)^X-Id: (\S+)$`).FindSubmatch(b); m != nil {
			found[string(m[1])] = true
		}
	}
	return found
}

// ledger remembers what was acknowledged.
type ledger struct {
	mu    sync.Mutex
	n     int
	acked []string
}

func (l *ledger) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return fmt.Sprintf("m%d", l.n)
}

func (l *ledger) ack(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, id)
	return len(l.acked)
}

// killCycle sends from 16 connections, and kills the server in the middle of 1,000 deliveries.
func killCycle(t *testing.T, dir string, ledger *ledger) {
	p := start(t, dir)
	before := len(ledger.acked)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 1000 / 16 {
				id := ledger.next()
				if !deliverOnce(p.addrs["receive smtp"], []string{"alice", "bob"}[i%2], id) {
					return
				}
				if ledger.ack(id)-before == 500 {
					_ = p.cmd.Process.Signal(syscall.SIGKILL)
				}
			}
		})
	}
	wg.Wait()
	_ = p.cmd.Process.Kill() // if it still runs, most of the senders gave up
	p.done <- <-p.done
	require.GreaterOrEqual(t, len(ledger.acked)-before, 500)
}

// deliverOnce reports whether the message was acknowledged.
func deliverOnce(addr, user, id string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	reply := func() string {
		for {
			line, err := r.ReadString('\n')
			if err != nil || len(line) < 4 {
				return ""
			}
			if line[3] == ' ' {
				return line
			}
		}
	}
	reply()
	for _, step := range []string{
		"EHLO test\r\n", "MAIL FROM:<you@example.org>\r\n", "RCPT TO:<" + user + "@demo.test>\r\n", "DATA\r\n",
		"X-Id: " + id + "\r\n\r\n" + strings.Repeat("line\r\n", 300) + "the end\r\n.\r\n",
	} {
		if _, err := io.WriteString(c, step); err != nil {
			return false
		}
		if got := reply(); got == "" || got[0] > '3' {
			return false
		}
	}
	return true
}

// Mail for other domains goes to the next hop.
func TestNextHop(t *testing.T) {
	next := start(t, t.TempDir()) // a demo server stands for the next hop: it takes mail for demo.test
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("zoe@own.test:{PLAIN}secret\n"), 0o600))
	p := start(t, dir, "-users", users, "-domains", "own.test", "-trusted", "127.0.0.0/8", "-next-hop", next.addrs["receive smtp"])
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: x\r\n\r\nx"))
	require.Eventually(t, holds(filepath.Join(next.dir, "goniec-demo/mail/demo.test/alice/new/*"), "Subject: x"), time.Minute, 20*time.Millisecond)
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "postmaster", "Subject: y\r\n\r\nx"))
	require.Eventually(t, holds(filepath.Join(dir, "goniec-demo/mail/own.test/postmaster/new/*"), "Subject: y"), time.Minute, 20*time.Millisecond)
}

// holds tells whether one of the files that a pattern names holds a text.
func holds(pattern, want string) func() bool {
	return func() bool {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(want)) {
				return true
			}
		}
		return false
	}
}

// Mail that is held stays in the queue over a restart, and goes then.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "-hold")
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: held\r\n\r\nx"))
	p.interrupt(t)
	require.Contains(t, p.out.String(), "1 message stays in the queue for the next start")
	start(t, dir)
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "goniec-demo/mail/demo.test/alice/new/*"))
		return len(files) == 1
	}, time.Minute, 20*time.Millisecond)
}

// Promises about time and priority are offered to users, not to strangers, and kept: a held message waits.
func TestSubmissionPromises(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	dial := func(service string) (*textproto.Conn, string) {
		c, err := textproto.Dial("tcp", p.addrs[service])
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, _, err = c.ReadResponse(220)
		require.NoError(t, err)
		_, err = c.Cmd("EHLO client.example.com")
		require.NoError(t, err)
		_, text, err := c.ReadResponse(250)
		require.NoError(t, err)
		return c, text
	}
	_, strangers := dial("receive smtp")
	require.NotRegexp(t, "FUTURERELEASE|MT-PRIORITY|DELIVERBY", strangers)
	c, users := dial("submit smtp")
	for _, e := range []string{`FUTURERELEASE 2592000 20\S+Z`, "MT-PRIORITY", "DELIVERBY 60"} {
		require.Regexp(t, "(?m)^"+e+"$", users)
	}
	for _, step := range []struct {
		line string
		code int
	}{
		{"AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ==", 235}, // alice
		{"MAIL FROM:<alice@demo.test> HOLDFOR=3600 MT-PRIORITY=3", 250},
		{"RCPT TO:<bob@demo.test>", 250},
		{"DATA", 354},
		{"Subject: later\r\n\r\nx\r\n.", 250},
	} {
		_, err := c.Cmd("%s", step.line)
		require.NoError(t, err)
		_, _, err = c.ReadResponse(step.code)
		require.NoError(t, err, step.line)
	}
	var out bytes.Buffer
	require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", filepath.Join(dir, "goniec-demo"), "-json"}, &out, io.Discard))
	var entry struct {
		Recipients []struct {
			Next int64 `json:"next_attempt"`
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &entry))
	require.Greater(t, time.Until(time.Unix(entry.Recipients[0].Next, 0)), 50*time.Minute)
}

// The command line looks after the queue of a running server, and of one that is stopped.
func TestQueueVerbs(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "-hold")
	data := filepath.Join(dir, "goniec-demo")
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: one\r\n\r\nx"))
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@demo.test", "Subject: two\r\n\r\nx"))
	do := func(args ...string) string {
		var out bytes.Buffer
		verb := append([]string{args[0], "-data", data}, args[1:]...)
		require.NoError(t, queueCommand(t.Context(), verb, &out, io.Discard))
		return out.String()
	}
	for range 2 { // with the server, then without
		list := do("list")
		require.Contains(t, list, "alice@demo.test")
		require.Regexp(t, `(?m)^-- \d+ Kbytes in 2 Requests\.$`, list)
		lines := strings.Split(strings.TrimSpace(do("list", "-json")), "\n")
		require.Len(t, lines, 2)
		var entry struct {
			ID string `json:"queue_id"`
		}
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &entry))
		require.Contains(t, do("cat", entry.ID), "Subject: one")
		require.Contains(t, do("show", entry.ID), "alice@demo.test")
		require.Contains(t, do("show", entry.ID), `"kind": "queued"`)
		do("hold", entry.ID)
		require.Contains(t, do("list"), entry.ID+"!")
		do("release", "ALL")
		require.NotContains(t, do("list"), "!")
		do("flush")
		if p.cmd.ProcessState == nil {
			p.interrupt(t)
		}
	}
	require.ErrorContains(t, queueCommand(t.Context(), []string{"delete", "-data", data, "ALL"}, io.Discard, io.Discard), "-yes")
	var entry struct {
		ID string `json:"queue_id"`
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(do("list", "-json"))).Decode(&entry))
	do("delete", "-yes", "ALL")
	require.Contains(t, do("list"), "empty")
	var gone shown
	require.NoError(t, json.Unmarshal([]byte(do("show", entry.ID)), &gone))
	require.Nil(t, gone.Entry)
	require.Equal(t, queue.Queued, gone.Past[0].Kind)
	require.Equal(t, queue.Removed, gone.Past[len(gone.Past)-1].Kind)
	require.ErrorIs(t, queueCommand(t.Context(), []string{"show", "-data", data, "000000000000"}, io.Discard, io.Discard), queue.ErrNotFound)
	require.ErrorContains(t, queueCommand(t.Context(), []string{"list", "-data", dir + "/none"}, io.Discard, io.Discard), "no queue here")
	require.Error(t, queueCommand(t.Context(), []string{"dance", "-data", data}, io.Discard, io.Discard))
	require.Error(t, queueCommand(t.Context(), nil, io.Discard, io.Discard))
}

// Mail is submitted by command, tried by domain, sent another way, and given up; through a socket elsewhere, which the command finds.
func TestQueueSubmit(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "c.sock")
	p := start(t, dir, "-hold", "-control", socket)
	data := filepath.Join(dir, "goniec-demo")
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode().Perm())
	for range 2 { // with the server, then without
		var out bytes.Buffer
		require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", data}, &out, io.Discard))
		hands, closer, err := handsOn(data, "")
		require.NoError(t, err)
		for _, c := range []struct {
			s         submission
			in        string
			to        []string
			from, msg string // a pattern
			err       string
		}{
			{
				s:  submission{from: "bob@demo.test", rcpts: []string{"a@later.test", "a@later.test"}},
				in: "Subject: x\nDate: today\n\nbody\n.\nnot this\n", to: []string{"a@later.test"}, from: "bob@demo.test",
				msg: `^Subject: x\r\nDate: today\r\nFrom: bob@demo.test\r\nMessage-ID: <\S+>\r\n\r\nbody\r\n$`,
			},
			{
				s:  submission{from: "<>", fromTo: true, dots: true, rcpts: []string{"d@gone.test"}},
				in: "To: A <a@gone.test>,\r\n b@gone.test\r\nBcc: c@gone.test\r\nFrom: x@y.example\r\n\r\n.\r\nlast", to: []string{"d@gone.test", "a@gone.test", "b@gone.test", "c@gone.test"},
				msg: `^To: A <a@gone.test>,\r\n b@gone.test\r\nFrom: x@y.example\r\nDate: .*\r\nMessage-ID: .*\r\n\r\n\.\r\nlast$`,
			},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "no header at all: really\n", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `(?s)\r\n\r\nno header at all: really\r\n$`},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `\r\n\r\n$`},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: ".\nx\n", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `(?s)\r\n\r\n$`},
			{s: submission{from: "bob@demo.test"}, err: "to whom"},
			{s: submission{from: "bob@demo.test", rcpts: []string{"bad"}}, err: `recipient "bad"`},
			{s: submission{from: "bad"}, err: `-f "bad"`},
			{s: submission{from: "bob@demo.test", fromTo: true}, in: "To: <a\n\n", err: "field To"},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "X: " + strings.Repeat("x", maxSubmitHeader), err: "larger"},
		} {
			id, err := c.s.send(t.Context(), hands, strings.NewReader(c.in))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				continue
			}
			require.NoError(t, err, c.in)
			e, err := hands.Show(t.Context(), id)
			require.NoError(t, err)
			var to []string
			for _, r := range e.Envelope.To {
				to = append(to, r.Address.String())
			}
			require.Equal(t, c.to, to)
			require.Equal(t, c.from, e.Envelope.From.String())
			require.Regexp(t, `^uid:\d+$`, e.Envelope.Origin.User)
			var msg bytes.Buffer
			require.NoError(t, hands.Cat(t.Context(), id, &msg))
			require.Regexp(t, c.msg, msg.String())
		}
		require.NoError(t, closer.Close())
		do := func(args ...string) error {
			return queueCommand(t.Context(), append([]string{args[0], "-data", data}, args[1:]...), io.Discard, io.Discard)
		}
		require.NoError(t, do("requeue", "ALL"))
		require.NoError(t, do("flush", "-dest", "later.test"))
		require.Error(t, do("flush", "-dest", "later.test", "ALL"))
		require.ErrorContains(t, do("expire", "ALL"), "-yes")
		require.NoError(t, do("expire", "-yes", "ALL"))
		out.Reset()
		require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", data, "-json"}, &out, io.Discard))
		require.NotContains(t, out.String(), "gone.test", "given up")
		require.Contains(t, out.String(), `"sender":""`, "with a report")
		require.NoError(t, do("delete", "-yes", "ALL"))
		require.ErrorContains(t, queueCommand(t.Context(), []string{"list", "-control", filepath.Join(dir, "none")}, io.Discard, io.Discard), "is the server running")
		require.ErrorIs(t, queueCommand(t.Context(), []string{"help"}, io.Discard, io.Discard), flag.ErrHelp)
		if p.cmd.ProcessState == nil {
			p.interrupt(t)
		}
	}
}

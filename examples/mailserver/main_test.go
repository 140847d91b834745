package main

import (
	"bytes"
	"context"
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
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
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

// logs waits until the server has printed each of the texts.
func (p *process) logs(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		require.Eventually(t, func() bool { return strings.Contains(p.out.String(), text) }, time.Minute, 10*time.Millisecond, text)
	}
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
	t.Parallel()
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
	p.logs(t, "delivered alice@demo.test")
	p.interrupt(t)
	require.Contains(t, p.out.String(), "everything accepted is delivered")
}

// Postmaster, who is alice in the demo, is told of the classes that -notices names.
func TestNotices(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir(), "-notices", "policy,protocol,bounce")
	dialogue(t, p.addrs["receive smtp"], "EHLO test", "NONSENSE", "MAIL FROM:<you@example.org>", "RCPT TO:<x@elsewhere.example>")
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@gone.test", "Subject: x\r\n\r\nx"))
	for _, want := range []string{
		"Subject: Postmaster notice: policy\n", "was told 550 5.7.1", "Subject: Postmaster notice: protocol\n", "was told 500 5.5.",
		"Subject: Postmaster notice: bounce\n", "everybody at gone.test has left",
	} {
		require.Eventually(t, holds(filepath.Join(p.dir, "goniec-demo/mail/demo.test/alice/[nc][eu][wr]/*"), want), time.Minute, 10*time.Millisecond, want)
	}
	err := launch(t, t.TempDir(), nil, "-notices", "everything").waitError()
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
	t.Parallel()
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
	p.logs(t, "delivered alice@demo.test", "later.test is busy", "delivered bob@later.test")
	p.interrupt(t)
	require.Contains(t, p.out.String(), "nothing is queued")
}

func TestBadStarts(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

// Mail for other domains goes to the next hop.
func TestNextHop(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

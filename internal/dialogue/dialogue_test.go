package dialogue

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/crlf"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// toy is a line server with a small language.
type toy struct {
	greeting string
	tls      *tls.Config
	l        net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	count int
	notes string
}

func startToy(t testing.TB, settings map[string]string) *toy {
	ts := httptest.NewUnstartedServer(nil) // for its certificate
	ts.StartTLS()
	config := ts.TLS.Clone()
	ts.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &toy{greeting: "toy", tls: &tls.Config{Certificates: config.Certificates}, l: l}
	if g := settings["greeting"]; g != "" {
		s.greeting = g
	}
	s.wg.Go(s.accept)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		s.wg.Wait()
	})
	return s
}

func (s *toy) target() Target {
	return Target{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", s.l.Addr().String())
		},
		Hooks: map[string]func(args ...string) error{
			"note": func(args ...string) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.notes = strings.Join(args, " ")
				return nil
			},
			"fail": func(...string) error { return fmt.Errorf("the hook's reason") },
		},
	}
}

func (s *toy) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer c.Close()
			s.serve(c)
		})
	}
}

func (s *toy) serve(c net.Conn) {
	r := crlf.NewReader(c)
	fmt.Fprintf(c, "%s\r\n", s.greeting)
	for {
		line, err := r.ReadLine(1 << 20)
		if _, bad := err.(crlf.Error); err != nil && !bad {
			return
		}
		verb, arg, _ := strings.Cut(string(line), " ")
		switch verb {
		case "ECHO":
			fmt.Fprintf(c, "%s\r\n", arg)
		case "TWICE":
			fmt.Fprintf(c, "%s\r\n%s\r\n", arg, arg)
		case "LEN":
			fmt.Fprintf(c, "%d\r\n", len(arg))
		case "COUNT":
			s.mu.Lock()
			s.count++
			fmt.Fprintf(c, "%d (%v)\r\n", s.count+40, s.count%2 == 0)
			s.mu.Unlock()
		case "NOTES":
			s.mu.Lock()
			fmt.Fprintf(c, "%s\r\n", s.notes)
			s.mu.Unlock()
		case "TLS":
			_, _ = io.WriteString(c, "go\r\n")
			secure := tls.Server(c, s.tls)
			defer secure.Close()
			s.serve(secure)
			return
		case "LEAK": // plaintext behind the invitation to TLS
			_, _ = io.WriteString(c, "go\r\nOK\r\n")
		case "BYE":
			_, _ = io.WriteString(c, "bye\r\n")
			return
		case "HALF":
			_, _ = io.WriteString(c, "half")
			return
		case "SLEEP":
		default:
			_, _ = io.WriteString(c, "what?\r\n")
		}
	}
}

func TestRun(t *testing.T) {
	Run(t, "testdata/*.txt", func(t *testing.T, settings map[string]string) Target {
		return startToy(t, settings).target()
	})
}

// TestFailures: everything that goes otherwise than written is found, at its line, with what was expected and what came.
func TestFailures(t *testing.T) {
	target := startToy(t, nil).target()
	for _, c := range []struct{ name, text, want string }{
		{"other line", "S: toy\nC: ECHO a\nS: b", "f:3:\nexpected  S: b\ngot       S: a\nthe dialogue so far:\n    S: toy\n    C: ECHO a\n    S: a"},
		{"part of the line", "S: to", "got       S: toy"},
		{"pattern is anchored", "S: ~ to", "expected  S: ~ to\ngot       S: toy"},
		{"pattern is anchored at the start", "S: ~ oy", "got       S: toy"},
		{"second connection", "S: toy\nS2: too", "f:2:\nexpected  S2: too\ngot       S2: toy"},
		{"nothing comes", "S: toy\nS: more", "i/o timeout"},
		{"eof instead of a line", "S: toy\nC: BYE\nS: bye\nS: more", "f:4:\nexpected  S: more\ngot       S: <EOF>"},
		{"eof instead of a match", "S: toy\nC: BYE\nS: bye\nS: ~ .*", "EOF"},
		{"line instead of eof", "S: <EOF>", "got       S: toy"},
		{"half a line is no end", "S: toy\nC: HALF\nS: <EOF>", `"half" and then unexpected EOF`},
		{"line instead of nothing", "S: <NOTHING 1s>", "got       S: toy"},
		{"eof instead of nothing", "S: toy\nC: BYE\nS: bye\nS: <NOTHING 1s>", "EOF"},
		{"left over", "S: toy\nC: TWICE a\nS: a", `expected  the end of the dialogue`},
		{"plaintext before TLS", "S: toy\nC: LEAK\nS: go\nC: <TLS>", `plaintext "OK\r\n" before TLS`},
		{"no TLS", "S: toy\nC: BYE\nS: bye\nC: <TLS>", "EOF"},
		{"not captured", "S: toy\nC: ${a}", "nothing was captured as ${a}"},
		{"not captured in a pattern", "S: ~ ${a}", "nothing was captured as ${a}"},
		{"bad pattern", "S: ~ (", "missing closing )"},
		{"bad escape", `C: \q`, `unknown escape`},
		{"bad octet", `C: \x4`, `two hexadecimal digits`},
		{"bad octet 2", `C: \xzz`, `two hexadecimal digits`},
		{"bad duration", "S: <NOTHING soon>", "invalid duration"},
		{"no duration", "C: <PAUSE>", "needs a duration"},
		{"bad count", "C: <REPEAT a b>", "invalid syntax"},
		{"no text", "C: <REPEAT 5>", "a count and a text"},
		{"wrong side", "C: <EOF>", "the other side's directive"},
		{"no TLS below", "C: <PLAIN x>", "does not use TLS"},
		{"no hook", "! none", "no such hook"},
		{"failing hook", "! fail", "the hook's reason"},
		{"no syntax", "S: toy\nHELO", "f:2: \"HELO\" is not a line of a dialogue"},
		{"connection 0", "C0: a", "not a line"},
		{"late setting", "S: toy\n% a b", "before the dialogue"},
		{"setting twice", "% a b\n% a c\nS: toy", "there twice"},
		{"empty", "# nothing\n\n", "no dialogue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := target
			if strings.Contains(c.want, "timeout") {
				target.Timeout = 200 * time.Millisecond
			}
			err := Play("f", c.text, target)
			require.Error(t, err)
			require.Contains(t, err.Error(), c.want)
		})
	}
}

func TestNoConnection(t *testing.T) {
	err := Play("f", "S: a", Target{Dial: func(context.Context) (net.Conn, error) { return nil, os.ErrPermission }})
	require.ErrorContains(t, err, "no connection: permission denied")
}

// TestUpdate: exact lines are rewritten with what came, patterns and everything else are not.
func TestUpdate(t *testing.T) {
	const before = "# kept\n% greeting ~g\nS: old\nC: ECHO a\\x01b\\\\\nS: old\nC: TWICE x\nS: ~ (?P<a>.)\nS: ${a}\nC: BYE\nS: bye\nS: old\n"
	const after = "# kept\n% greeting ~g\nS: \\~g\nC: ECHO a\\x01b\\\\\nS: a\\x01b\\\\\nC: TWICE x\nS: ~ (?P<a>.)\nS: ${a}\nC: BYE\nS: bye\nS: <EOF>\n"
	s, err := parse("f", before)
	require.NoError(t, err)
	p, err := play(s, startToy(t, s.settings).target(), true)
	require.NoError(t, err)
	require.True(t, p.updated)
	require.Equal(t, after, strings.Join(s.lines, "\n"))

	s, err = parse("f", after)
	require.NoError(t, err)
	p, err = play(s, startToy(t, s.settings).target(), false)
	require.NoError(t, err)
	require.False(t, p.updated)

	s, err = parse("f", "S: ~ other")
	require.NoError(t, err)
	_, err = play(s, startToy(t, nil).target(), true)
	require.Error(t, err, "a pattern is not rewritten")
}

// TestUpdateWritesTheFile: runFile goes through the file system.
func TestUpdateWritesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.txt")
	require.NoError(t, os.WriteFile(file, []byte("S: old\n"), 0o600))
	*update = true
	defer func() { *update = false }()
	runFile(t, file, func(t *testing.T, settings map[string]string) Target { return startToy(t, settings).target() })
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "S: toy\n", string(text))
}

// TestPlayServer: the file is the server of a client under test.
func TestPlayServer(t *testing.T) {
	theirs, ours := net.Pipe()
	done := make(chan string)
	go func() {
		r := crlf.NewReader(theirs)
		greeting, _ := r.ReadLine(100)
		got := string(greeting)
		fmt.Fprintf(theirs, "EHLO me\r\n")
		reply, _ := r.ReadLine(100)
		got += string(reply)
		_ = theirs.Close()
		done <- got
	}()
	err := Play("f", "S: 220 hi\nC: ~ EHLO (?P<name>.*)\nS: 250 ${name}\nC: <EOF>", Target{
		Play: Server,
		Dial: func(context.Context) (net.Conn, error) { return ours, nil },
	})
	require.NoError(t, err)
	require.Equal(t, "220 hi250 me", <-done)
}

// FuzzEscape: what came can be expected, octet for octet.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "~ a", "<EOF>", "a\x00\xff\r\nb\\", "${a}", "żółw", "\t $ ~ <"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := escape(s)
		require.NotContains(t, text, "\n")
		require.Nil(t, step{text: text}.directive())
		require.False(t, strings.HasPrefix(text, "~ "))
		got, cut, err := unescape(text, nil)
		require.NoError(t, err)
		require.False(t, cut)
		require.Equal(t, s, got)
	})
}

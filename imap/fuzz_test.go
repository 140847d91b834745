package imap_test

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/maildir"
)

// converse sends input to a fresh server in pieces of n octets, and returns all that it says until it closes.
func converse(t testing.TB, input string, n int) string {
	f := newFixture(t)
	f.MaxErrors, f.MaxJunk = 50, 1000
	f.users.passwords["bob"] = "bobsecret"
	f.share("")
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail, `\Seen`)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() { _ = f.Serve(l); close(ended) }()
	defer func() {
		require.NoError(t, f.Close())
		<-ended
		require.Zero(t, f.Stats().Panics, "%q\n%s", input, f.log.String())
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(3*time.Minute)))
	go func() {
		for rest := input; rest != ""; {
			m := min(n, len(rest))
			if _, err := io.WriteString(c, rest[:m]); err != nil {
				break
			}
			rest = rest[m:]
		}
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok {
		require.False(t, ne.Timeout(), "%q", input)
	}
	return string(got)
}

// clientLines collects what the clients of the dialogues say.
func clientLines(t testing.TB) (sessions []string) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var s strings.Builder
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "C: "); ok && !strings.HasPrefix(text, "<") {
				s.WriteString(strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\\`, `\`).Replace(text) + "\r\n")
			}
		}
		sessions = append(sessions, s.String())
	}
	return sessions
}

// However the client's octets are cut into segments, the conversation is the same, and nothing in it panics.
func FuzzSession(f *testing.F) {
	for _, s := range clientLines(f) {
		f.Add(s)
		f.Add("x LOGIN alice secret\r\ny SELECT INBOX\r\n" + s)
	}
	f.Fuzz(func(t *testing.T, input string) {
		if up := strings.ToUpper(input); len(input) > 20000 || strings.Contains(up, "COMPRESS") {
			t.Skip() // what comes with COMPRESS in one segment is told from what comes later
		}
		whole := converse(t, input, len(input)+1)
		if strings.Contains(whole, "* BYE") {
			return // what was sent behind it may make the system cut the answer short
		}
		require.Equal(t, whole, converse(t, input, 7))
	})
}

// tree lists all files below a folder.
func tree(t *testing.T, dir string) (out []string) {
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)
		return err
	}))
	return out
}

// I08: whatever a mailbox is called, nothing outside the user's Maildir is touched.
func TestI08_NamesStayInside(t *testing.T) {
	outer := t.TempDir()
	root := filepath.Join(outer, "mail")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "bob", "cur"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(outer, "secret"), []byte("x"), 0o600))
	f := newFixture(t)
	store := &maildir.Store{Root: root}
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f.store, f.mail, f.Store = nil, store, store
	c := login(t, f.start(t))
	f.deliver(t, "alice", "INBOX", plainMail)
	outside := func() (out []string) {
		for _, path := range tree(t, outer) {
			if !strings.HasPrefix(path, filepath.Join(root, "alice")) {
				out = append(out, path)
			}
		}
		return out
	}
	before := outside()
	rng := rand.New(rand.NewPCG(7, 7))
	pieces := []string{"..", ".", "/", "a", "bob", "cur", "&AC4-", "&AC8-", "&-", "%", "*", " ", "~", "INBOX", "\\\\", "\\\"", "é", ":", "new", "secret", "|", "$(id)"}
	names := []string{"../bob", "../../secret", "..", "a/../../bob", "/etc", "bob/..", ".bob", "a/./b", "./a", strings.Repeat("a", 300), strings.Repeat("a/", 200) + "a"}
	for range 300 {
		name := ""
		for range 1 + rng.IntN(5) {
			name += pieces[rng.IntN(len(pieces))]
		}
		names = append(names, name)
	}
	for _, name := range names {
		for _, cmd := range []string{"CREATE %", "SELECT %", "RENAME INBOX %", "SUBSCRIBE %", "COPY 1 %", "APPEND % {3+}\r\nabc", "STATUS % (MESSAGES)", "RENAME % x", "DELETE %"} {
			_, tagged := c.do(strings.Replace(cmd, "%", `"`+name+`"`, 1))
			require.Regexp(t, "^(OK|NO|BAD)", tagged)
		}
	}
	require.Equal(t, before, outside())
}

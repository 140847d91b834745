package passwdfile

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func messages(errs []error) []string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

func TestLookup(t *testing.T) {
	f := &File{Path: write(t, "# users\n\nalice:a:1:1::/home/alice\nbob@x:b\r\nlast:l")}
	for name, pw := range map[string]string{"alice": "a", "bob@x": "b", "last": "l"} {
		e, ok, err := f.Lookup(name)
		require.NoError(t, err)
		require.True(t, ok, name)
		require.Equal(t, pw, e.Password)
	}
	for _, name := range []string{"", "Alice", "alic", "alicee", "# users", "bob", "bob@x:b", strings.Repeat("x", 300)} {
		_, ok, err := f.Lookup(name)
		require.NoError(t, err)
		require.False(t, ok, name)
	}
	require.Equal(t, 3, f.Len())
	require.Empty(t, f.Errors())
}

// Errors name file and line, and never show the line.
func TestErrorsHaveFileAndLine(t *testing.T) {
	var log bytes.Buffer
	path := write(t, "alice:SECRET\nb\tb:SECRET\nalice:SECRET\nc:SECRET:-\nd:SECRET:9999999999\n\x00:SECRET\nxx:y\rz:SECRET\n"+strings.Repeat("l", 200)+":SECRET\ne:{BAD}SECRET\nf:ok\n")
	f := &File{Path: path, MaxLine: 100, Logger: slog.New(slog.NewTextHandler(&log, nil)), Check: func(e Entry) (int, error) {
		if strings.HasPrefix(e.Password, "{BAD}") {
			return 0, errors.New("unknown scheme {BAD}")
		}
		return len(e.Name), nil
	}}
	require.NoError(t, f.Load())
	require.Equal(t, []string{
		path + ":2: " + errName.Error(),
		path + `:3: user "alice" exists more than once; the first line counts`,
		path + ":5: " + errID.Error(),
		path + ":6: " + errNUL.Error(),
		path + ":7: " + errNUL.Error(),
		path + ":8: line is longer than 100 octets",
		path + ":9: unknown scheme {BAD}",
	}, messages(f.Errors()))
	require.Equal(t, 3, f.Len())
	kinds, err := f.Count()
	require.NoError(t, err)
	require.Equal(t, [Kinds]int{1: 2, 5: 1}, kinds)
	require.NotContains(t, log.String(), "SECRET")
	require.Equal(t, 7, strings.Count(log.String(), "\n"))
}

func TestErrorsAreBounded(t *testing.T) {
	f := &File{Path: write(t, strings.Repeat("a\tb\n", maxErrors+5))}
	errs := f.Errors()
	require.Len(t, errs, maxErrors+1)
	require.ErrorContains(t, errs[maxErrors], "5 more lines")
}

func TestLimits(t *testing.T) {
	path := write(t, "a:1\nbb:2\n") // 9 octets
	require.NoError(t, (&File{Path: path, MaxBytes: 9}).Load())
	require.ErrorContains(t, (&File{Path: path, MaxBytes: 8}).Load(), "limit is 8")
	require.NoError(t, (&File{Path: path, MaxBytes: -1, MaxLine: -1}).Load())
	for limit, users := range map[int]int{4: 2, 3: 1} {
		f := &File{Path: path, MaxLine: limit}
		require.Equal(t, users, f.Len())
	}
	long := &File{Path: write(t, strings.Repeat("x", DefaultMaxLine-1)+"\n"+"a:"+strings.Repeat("x", DefaultMaxLine-2)+"\na2:"+strings.Repeat("x", DefaultMaxLine-2))}
	require.Equal(t, 1, long.Len())
}

func TestKey(t *testing.T) {
	f := &File{Path: write(t, "Alice:a\nBOB:b\nalice:c\n"), Key: strings.ToLower}
	e, ok, err := f.Lookup("aLICE")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, Entry{Name: "Alice", Password: "a"}, e)
	require.Equal(t, 2, f.Len())
	require.Len(t, f.Errors(), 1)
}

func TestAll(t *testing.T) {
	f := &File{Path: write(t, "c:1\n#x\na:2\nc:3\nb\tb:4\nb:5\r\n")}
	all, err := f.All()
	require.NoError(t, err)
	var got []string
	for e := range all {
		got = append(got, e.Name+e.Password)
	}
	require.Equal(t, []string{"c1", "a2", "b5"}, got)
	for range all {
		break
	}
	_, err = (&File{Path: "/nonexistent/x"}).All()
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A change is seen after Interval, and only once it is Settle old.
func TestReload(t *testing.T) {
	c := &clock{now: time.Now()}
	path := write(t, "alice:1\n")
	f := &File{Path: path, Now: c.Now, Interval: time.Second, Settle: 3 * time.Second}
	password := func() string {
		e, _, err := f.Lookup("alice")
		require.NoError(t, err)
		return e.Password
	}
	require.Equal(t, "1", password())
	require.NoError(t, os.WriteFile(path, nil, 0o600)) // an editor truncates it before it writes
	require.NoError(t, os.Chtimes(path, c.Now(), c.Now()))
	require.Equal(t, "1", password(), "before Interval")
	c.add(2 * time.Second)
	require.Equal(t, "1", password(), "before Settle")
	require.NoError(t, os.WriteFile(path, []byte("alice:2\n"), 0o600))
	require.NoError(t, os.Chtimes(path, c.Now(), c.Now()))
	c.add(2 * time.Second)
	require.Equal(t, "1", password())
	c.add(time.Second)
	require.Equal(t, "2", password())

	never := &File{Path: path, Now: c.Now, Interval: -1}
	require.NoError(t, never.Load())
	require.NoError(t, os.WriteFile(path, []byte("alice:3\n"), 0o600))
	c.add(time.Hour)
	e, _, _ := never.Lookup("alice")
	require.Equal(t, "2", e.Password)
	require.NoError(t, never.Load())
	e, _, _ = never.Lookup("alice")
	require.Equal(t, "3", e.Password)
}

// A file that is gone is an error and not an empty one, after the time that a careless editor gets.
func TestGoneFile(t *testing.T) {
	c := &clock{now: time.Now()}
	path := write(t, "alice:1\n")
	f := &File{Path: path, Now: c.Now, Interval: time.Second, Settle: 2 * time.Second}
	require.Equal(t, 1, f.Len())
	require.NoError(t, os.Remove(path))
	for range 2 {
		c.add(time.Second)
		_, ok, err := f.Lookup("alice")
		require.NoError(t, err)
		require.True(t, ok)
	}
	c.add(time.Second)
	_, ok, err := f.Lookup("alice")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, ok)
	require.Len(t, f.Errors(), 1)
	require.NoError(t, os.WriteFile(path, []byte("alice:2\n"), 0o600))
	c.add(10 * time.Second)
	e, ok, err := f.Lookup("alice")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "2", e.Password)
}

func TestSample(t *testing.T) {
	f := &File{Path: write(t, "a:1\nb:2\nc:3\n")}
	seen := map[string]bool{}
	for n := range uint64(64) {
		e, ok := f.Sample(n)
		require.True(t, ok)
		again, _ := f.Sample(n)
		require.Equal(t, e, again)
		seen[e.Name] = true
	}
	require.Len(t, seen, 3)
	_, ok := (&File{Path: write(t, "#")}).Sample(1)
	require.False(t, ok)
	_, ok = (&File{Path: "/nonexistent/x"}).Sample(1)
	require.False(t, ok)
	_, err := (&File{Path: "/nonexistent/x"}).Count()
	require.Error(t, err)
}

func TestUnreadable(t *testing.T) {
	f := &File{Path: filepath.Join(t.TempDir(), "absent")}
	_, _, err := f.Lookup("x")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Zero(t, f.Len())
	require.NoError(t, os.WriteFile(f.Path, []byte("x:y\n"), 0o600))
	_, ok, err := f.Lookup("x")
	require.NoError(t, err, "the next look-up tries again")
	require.True(t, ok)

	dir := &File{Path: t.TempDir()}
	require.Error(t, dir.Load())
	link := filepath.Join(t.TempDir(), "link")
	if os.Symlink(f.Path, link) == nil {
		require.Equal(t, 1, (&File{Path: link}).Len(), "mounted secrets are links")
	}
}

// All names of a file are found, and no other ones, whatever the hash does.
func TestEveryName(t *testing.T) {
	var text strings.Builder
	const n = 20000
	for i := range n {
		fmt.Fprintf(&text, "user%d@example%d.org:{PLAIN}%d\n", i, i%7, i)
	}
	f := &File{Path: write(t, text.String())}
	require.Equal(t, n, f.Len())
	for i := range n {
		e, ok, err := f.Lookup(fmt.Sprintf("user%d@example%d.org", i, i%7))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, fmt.Sprintf("{PLAIN}%d", i), e.Password)
		_, ok, _ = f.Lookup(fmt.Sprintf("user%d@example%d.org", i, i%7+1))
		require.False(t, ok)
	}
}

func TestConcurrentUse(t *testing.T) {
	path := write(t, "a:1\nb:2\n")
	f := &File{Path: path, Interval: time.Nanosecond, Settle: -1}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				_, ok, err := f.Lookup("a")
				if err != nil || !ok {
					t.Errorf("lookup: %v %v", ok, err)
				}
			}
		})
	}
	for i := range 50 {
		next := path + ".new"
		require.NoError(t, os.WriteFile(next, fmt.Appendf(nil, "a:%d\nb:2\n", i), 0o600))
		require.NoError(t, os.Rename(next, path))
	}
	wg.Wait()
}

// big writes a file of n users, as a large site would have them.
func big(tb testing.TB, n int) string {
	path := filepath.Join(tb.TempDir(), "users")
	file, err := os.Create(path)
	require.NoError(tb, err)
	defer file.Close()
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "user%07d@example.org:{SSHA512}kUXdrLpr0s5uXDxg6JTVEGkXJF0Q9dW2kgZkbhdGKq9ZcdYPZkbhdGKq9Zc=:5000:5000::/srv/mail/%02d/user%07d::userdb_quota_rule=*:storage=1G\n", i, i%97, i)
		if b.Len() > 1<<20 {
			_, err = b.WriteTo(file)
			require.NoError(tb, err)
		}
	}
	_, err = b.WriteTo(file)
	require.NoError(tb, err)
	return path
}

func BenchmarkLoad(b *testing.B) {
	const n = 200_000
	f := &File{Path: big(b, n)}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Load(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/line")
}

func BenchmarkLookup(b *testing.B) {
	const n = 200_000
	f := &File{Path: big(b, n)}
	names := make([]string, 4096)
	for i := range names {
		names[i] = fmt.Sprintf("user%07d@example.org", rand.IntN(n))
	}
	require.NoError(b, f.Load())
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok, _ := f.Lookup(names[i%len(names)]); !ok {
			b.Fatal("absent")
		}
		i++
	}
}

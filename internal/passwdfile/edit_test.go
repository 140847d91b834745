package passwdfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func set(password string) Change {
	return func(old *Entry) (*Entry, error) {
		if old == nil {
			return nil, errors.New("absent")
		}
		old.Password = password
		return old, nil
	}
}

func add(e Entry) Change { return func(*Entry) (*Entry, error) { return &e, nil } }

func remove(*Entry) (*Entry, error) { return nil, nil }

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

func TestEdit(t *testing.T) {
	ctx := context.Background()
	path := write(t, "# users\nalice:1:5:5::/a::k=v\nbad\tline:x\r\nbob:2\nalice:older\n\ncarol:3")
	f := &File{Path: path}
	require.NoError(t, f.Edit(ctx, map[string]Change{
		"alice": set("new"), "bob": remove, "dave": add(Entry{Name: "dave", Password: "4"}), "absent": remove,
	}))
	require.Equal(t, "# users\nalice:new:5:5::/a::k=v\nbad\tline:x\r\n\ncarol:3\ndave:4\n", content(t, path))
	e, ok, err := f.Lookup("alice")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "new", e.Password, "an edit counts at once")
	_, ok, _ = f.Lookup("bob")
	require.False(t, ok)
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 2, "only the file and its lock are left: %v", names)
}

// A line that did not count because of its double must not come to life when the first one goes.
func TestEditRemovesDoubles(t *testing.T) {
	f := &File{Path: write(t, "a:1\nA:2\nb:3\na:4\n"), Key: strings.ToLower}
	require.NoError(t, f.Edit(context.Background(), map[string]Change{"A": remove}))
	require.Equal(t, "b:3\n", content(t, f.Path))
}

func TestEditMakesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	f := &File{Path: path}
	require.NoError(t, f.Edit(context.Background(), map[string]Change{"a": add(Entry{Name: "a", Password: "x"})}))
	require.Equal(t, "a:x\n", content(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
}

func TestEditKeepsModeAndLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	path := write(t, "a:1\n")
	require.NoError(t, os.Chmod(path, 0o664))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	require.NoError(t, (&File{Path: link}).Edit(context.Background(), map[string]Change{"a": set("2")}))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o664), info.Mode().Perm())
	require.Equal(t, "a:2\n", content(t, path))
	info, err = os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)

	require.NoError(t, os.Remove(path))
	err = (&File{Path: link}).Edit(context.Background(), map[string]Change{"a": add(Entry{Name: "a"})})
	require.ErrorContains(t, err, "symbolic link to nothing")
}

func TestEditKeepsOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	path := write(t, "a:1\n")
	require.NoError(t, os.Chown(path, 12345, 23456))
	require.NoError(t, (&File{Path: path}).Edit(context.Background(), map[string]Change{"a": set("2")}))
	require.Equal(t, "12345 23456", owner(t, path))
}

// A failed edit leaves the file and nothing else.
func TestFailedEdit(t *testing.T) {
	const text = "a:1\nb:2\n"
	path := write(t, text)
	boom := errors.New("boom")
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		change Change
		check  func(Entry) (int, error)
	}{
		"change":   {context.Background(), func(*Entry) (*Entry, error) { return nil, boom }, nil},
		"line":     {context.Background(), set("x:y"), nil},
		"too long": {context.Background(), set(strings.Repeat("x", 100)), nil},
		"check":    {context.Background(), set("x"), func(Entry) (int, error) { return 0, boom }},
		"canceled": {canceled, set("x"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := &File{Path: path, MaxLine: 50, Check: c.check}
			require.Error(t, f.Edit(c.ctx, map[string]Change{"a": c.change}))
			require.Equal(t, text, content(t, path))
			_, err := os.Stat(filepath.Join(filepath.Dir(path), ".users.tmp"))
			require.ErrorIs(t, err, os.ErrNotExist)
		})
	}
	require.Error(t, (&File{Path: path, MaxBytes: 3}).Edit(context.Background(), map[string]Change{"a": set("x")}))
	require.Error(t, (&File{Path: write(t, strings.Repeat("x", 100)), MaxLine: 50}).Edit(context.Background(), map[string]Change{"a": remove}))
	require.Error(t, (&File{Path: "/nonexistent/dir/file"}).Edit(context.Background(), nil))
}

// Edits of several Files on one path, as of several processes, do not lose each other's work.
func TestConcurrentEdits(t *testing.T) {
	path := write(t, "")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			f := &File{Path: path}
			for j := range 5 {
				name := fmt.Sprintf("u%d-%d", i, j)
				if err := f.Edit(context.Background(), map[string]Change{name: add(Entry{Name: name, Password: "x"})}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, 40, (&File{Path: path}).Len())
}

func TestLockWaitsWithItsContext(t *testing.T) {
	path := write(t, "")
	f := &File{Path: path}
	dir, name, err := f.open()
	require.NoError(t, err)
	defer dir.Close()
	unlock, err := lock(context.Background(), dir, "."+name+".lock")
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.Edit(ctx, nil), context.Canceled)
}

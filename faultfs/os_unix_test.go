//go:build linux || darwin || freebsd

package faultfs_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// F06: what is not a plain file of ours is refused, at once, and nothing is
// written through it.
func TestF06Refusals(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	at := func(name string) string { return filepath.Join(path, name) }
	require.NoError(t, os.Symlink(victim, at("link")))
	require.NoError(t, os.Symlink(outside+"/none", at("dangling")))
	require.NoError(t, os.Symlink(outside, at("dirlink")))
	require.NoError(t, os.Symlink("loop", at("loop")))
	require.NoError(t, syscall.Mkfifo(at("fifo"), 0o600))
	require.NoError(t, os.Mkdir(at("dir"), 0o700))
	l, err := net.Listen("unix", at("socket"))
	require.NoError(t, err)
	defer l.Close()

	d := openDir(t, faultfs.OS{}, path)
	flags := []int{
		os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE, os.O_WRONLY | os.O_TRUNC,
		os.O_WRONLY | os.O_APPEND | os.O_CREATE,
	}
	begin := time.Now()
	for _, name := range []string{"link", "dangling", "dirlink", "loop", "fifo", "dir", "socket"} {
		for _, flag := range flags {
			_, err := d.OpenFile(name, flag, 0o600)
			require.ErrorIs(t, err, faultfs.ErrNotRegular, "%s %#x", name, flag)
		}
		_, err = d.Open(name)
		require.ErrorIs(t, err, faultfs.ErrNotRegular, name)
		_, _, err = faultfs.ReadWhole(d, name, make([]byte, 100))
		require.ErrorIs(t, err, faultfs.ErrNotRegular, name)
		_, err = d.Create(name, 0o600)
		require.ErrorIs(t, err, os.ErrExist, name)
		if name != "dir" {
			_, err = d.OpenDir(name)
			require.ErrorIs(t, err, faultfs.ErrNotDir, name)
			require.False(t, lstat(t, d, name).IsRegular())
			require.False(t, lstat(t, d, name).IsDir())
		}
	}
	require.Less(t, time.Since(begin), time.Minute, "a FIFO made us wait")
	_, err = faultfs.Sub(d, "dirlink/victim")
	require.ErrorIs(t, err, faultfs.ErrNotDir)

	// Times of a link are the link's own; a rename replaces it, not its target.
	require.NoError(t, d.Chtimes("link", time.Unix(1, 0)))
	require.NoError(t, faultfs.WriteFile(d, "link", []byte("ours"), 0o600))
	require.NoError(t, d.Remove("dirlink"))
	got, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(got))
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), info.ModTime(), time.Hour)
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, left, 1)
}

// F06: hard links and other owners are refused by CheckPrivate; WriteFile does not
// write through a link planted under its temporary name.
func TestF06HardLink(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, faultfs.OS{}, path)
	put(t, d, "victim", "precious")
	f, err := d.Open("victim")
	require.NoError(t, err)
	defer f.Close()
	info, err := faultfs.CheckPrivate(f, os.Geteuid())
	require.NoError(t, err)
	require.EqualValues(t, 8, info.Size)
	_, err = faultfs.CheckPrivate(f, os.Geteuid()+1)
	require.ErrorIs(t, err, faultfs.ErrOwner)

	require.NoError(t, d.Link("victim", d, "mbox"))
	_, err = faultfs.CheckPrivate(f, -1)
	require.ErrorIs(t, err, faultfs.ErrLinked)
	require.NoError(t, d.Link("victim", d, ".f.tmp"))
	require.NoError(t, faultfs.WriteFile(d, "f", []byte("ours"), 0o600))
	require.Equal(t, "precious", get(t, d, "victim"))
}

// F06: while somebody swaps the file for a link, a FIFO and back, every open gives
// the file or a refusal, and nothing is ever written outside. The same for a directory.
func TestF06SwapRace(t *testing.T) {
	outside, path := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "f")
	require.NoError(t, os.WriteFile(victim, nil, 0o600))
	at := func(name string) string { return filepath.Join(path, name) }
	require.NoError(t, os.Mkdir(at("new"), 0o700))
	require.NoError(t, os.WriteFile(at("f"), nil, 0o600))
	require.NoError(t, os.Symlink(victim, at("evil")))
	require.NoError(t, os.Symlink(outside, at("evildir")))
	require.NoError(t, syscall.Mkfifo(at("fifo"), 0o600))
	require.NoError(t, os.Mkdir(at("spare"), 0o700))

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { swapUntil(t, stop, at) })
	d := openDir(t, faultfs.OS{}, path)
	opened, refused := 0, 0
	end := time.Now().Add(raceTime())
	atMost := end.Add(time.Minute) // a slow machine sees both outcomes later
	for now := time.Now(); now.Before(end) || opened*refused == 0 && now.Before(atMost); now = time.Now() {
		f, err := d.OpenFile("f", os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			opened++
			_, err = f.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, f.Close())
		} else {
			refused++
			require.Error(t, err)
		}
		if sub, err := d.OpenDir("new"); err == nil {
			if made, err := sub.Create("made", 0o600); err == nil {
				made.Close()
				require.NoError(t, sub.Remove("made"))
			}
			sub.Close()
		}
		if i := (opened + refused) % 16; i == 0 {
			entries, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Len(t, entries, 1, "made outside")
		}
	}
	close(stop)
	wg.Wait()
	require.Positive(t, opened)
	require.Positive(t, refused)
	info, err := os.Stat(victim)
	require.NoError(t, err)
	require.Zero(t, info.Size(), "written outside")
	t.Logf("opened %d, refused %d", opened, refused)
}

// swapUntil puts something evil in the place of f and new, and back, again and again.
func swapUntil(t *testing.T, stop <-chan struct{}, at func(string) string) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		for _, swap := range [][2]string{{"f", "evil"}, {"f", "fifo"}, {"new", "evildir"}} {
			exchange(t, at(swap[0]), at(swap[1]))
			exchange(t, at(swap[0]), at(swap[1]))
		}
	}
}

func raceTime() time.Duration {
	if os.Getenv("GONIEC_LONG") != "" {
		return time.Minute
	}
	return 300 * time.Millisecond
}

// exchange swaps two names by way of a third.
func exchange(t *testing.T, a, b string) {
	for _, r := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
		if err := os.Rename(r[0], r[1]); err != nil {
			t.Error(err)
			return
		}
	}
}

// The real File gives its descriptor for locks, through a Fault as well.
func TestFileIsConn(t *testing.T) {
	path := t.TempDir()
	for _, fsys := range []faultfs.FS{faultfs.OS{}, faultfs.NewFault(faultfs.OS{})} {
		d := openDir(t, fsys, path)
		f, err := d.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		require.NoError(t, err)
		raw, err := f.(syscall.Conn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			require.NoError(t, syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB))
		}))
		require.NoError(t, f.Close())
	}
	d := openDir(t, faultfs.NewFault(faultfs.NewCrash(1)), "/")
	f, err := d.Create("f", 0o600)
	require.NoError(t, err)
	_, ok := f.(syscall.Conn)
	require.False(t, ok)
}

// Directories of different implementations do not mix.
func TestForeignDir(t *testing.T) {
	real := openDir(t, faultfs.OS{}, t.TempDir())
	mem := openDir(t, faultfs.NewCrash(1), "/")
	other := openDir(t, faultfs.NewCrash(1), "/")
	for _, pair := range [][2]faultfs.Dir{{real, mem}, {mem, real}, {mem, other}} {
		put(t, pair[0], "f", "")
		require.ErrorContains(t, pair[0].Rename("f", pair[1], "g"), "another file system")
		require.ErrorContains(t, pair[0].Link("f", pair[1], "g"), "another file system")
		require.NoError(t, pair[0].Remove("f"))
	}
}

// Free tells of the disk; the fault layer passes it on, a Crash cannot tell.
func TestFree(t *testing.T) {
	path := t.TempDir()
	for _, fsys := range []faultfs.FS{faultfs.OS{}, faultfs.NewFault(faultfs.OS{})} {
		d := openDir(t, fsys, path)
		space, err := faultfs.Free(d)
		require.NoError(t, err)
		require.Greater(t, space.Bytes, int64(1<<20))
		require.NotZero(t, space.Files)
		require.NoError(t, d.Close())
		_, err = faultfs.Free(d)
		require.ErrorIs(t, err, os.ErrClosed)
	}
	_, err := faultfs.Free(openDir(t, faultfs.NewCrash(1), "/"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

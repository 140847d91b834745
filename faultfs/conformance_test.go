package faultfs_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// everyFS runs a test over each implementation, with an empty directory.
func everyFS(t *testing.T, test func(t *testing.T, fsys faultfs.FS, path string)) {
	for name, start := range map[string]func(t *testing.T) (faultfs.FS, string){
		"OS":    func(t *testing.T) (faultfs.FS, string) { return faultfs.OS{}, t.TempDir() },
		"Root":  func(t *testing.T) (faultfs.FS, string) { return faultfs.RootOS{}, t.TempDir() },
		"Crash": func(*testing.T) (faultfs.FS, string) { return faultfs.NewCrash(1), "/" },
		"Ordered": func(*testing.T) (faultfs.FS, string) {
			c := faultfs.NewCrash(2)
			c.Model = faultfs.Ordered
			return c, "/"
		},
		"FaultOS": func(t *testing.T) (faultfs.FS, string) { return leakChecked(t, faultfs.OS{}), t.TempDir() },
		"FaultCrash": func(t *testing.T) (faultfs.FS, string) {
			return leakChecked(t, faultfs.NewCrash(3)), "/"
		},
	} {
		t.Run(name, func(t *testing.T) {
			fsys, path := start(t)
			test(t, fsys, path)
		})
	}
}

func leakChecked(t *testing.T, fsys faultfs.FS) faultfs.FS {
	f := faultfs.NewFault(fsys)
	t.Cleanup(func() { require.Empty(t, f.Open(), "handles left open") })
	return f
}

// everyDir is everyFS with the directory opened.
func everyDir(t *testing.T, test func(t *testing.T, d faultfs.Dir)) {
	everyFS(t, func(t *testing.T, fsys faultfs.FS, path string) {
		test(t, openDir(t, fsys, path))
	})
}

func openDir(t *testing.T, fsys faultfs.FS, path string) faultfs.Dir {
	d, err := fsys.OpenDir(path)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func subDir(t *testing.T, d faultfs.Dir, name string) faultfs.Dir {
	require.NoError(t, d.Mkdir(name, 0o700))
	sub, err := d.OpenDir(name)
	require.NoError(t, err)
	t.Cleanup(func() { sub.Close() })
	return sub
}

func put(t *testing.T, d faultfs.Dir, name, content string) {
	f, err := d.Create(name, 0o600)
	require.NoError(t, err)
	_, err = io.WriteString(f, content)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func get(t *testing.T, d faultfs.Dir, name string) string {
	data, err := faultfs.ReadFile(d, name, -1)
	require.NoError(t, err)
	return string(data)
}

func names(t *testing.T, d faultfs.Dir) []string {
	list, err := d.Names()
	require.NoError(t, err)
	slices.Sort(list)
	return list
}

func TestCreateOpen(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		_, err := d.Open("a")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, d.Name(), "errors name the path")

		put(t, d, "a", "hello")
		require.Equal(t, "hello", get(t, d, "a"))
		_, err = d.Create("a", 0o600)
		require.ErrorIs(t, err, fs.ErrExist)

		f, err := d.Open("a")
		require.NoError(t, err)
		_, err = f.Write([]byte("x"))
		require.Error(t, err, "opened for reading")
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		_, err = f.Read(make([]byte, 1))
		require.ErrorIs(t, err, fs.ErrClosed)
		_, err = f.Stat()
		require.ErrorIs(t, err, fs.ErrClosed)
	})
}

func TestBadNames(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		put(t, d, "good", "")
		for _, bad := range []string{"", ".", "..", "a/b", "/a", "a/", "../x", "a\x00b"} {
			_, openErr := d.Open(bad)
			_, createErr := d.Create(bad, 0o600)
			_, lstatErr := d.Lstat(bad)
			_, dirErr := d.OpenDir(bad)
			for i, err := range []error{
				openErr, createErr, lstatErr, dirErr,
				d.Mkdir(bad, 0o700), d.Remove(bad), d.Chtimes(bad, time.Unix(1, 0)),
				d.Rename(bad, d, "x"), d.Rename("good", d, bad), d.Link(bad, d, "x"), d.Link("good", d, bad),
				faultfs.WriteFile(d, bad, nil, 0o600),
			} {
				require.ErrorIs(t, err, faultfs.ErrBadName, "%q, call %d", bad, i)
			}
		}
		require.Equal(t, []string{"good"}, names(t, d))
	})
}

func TestReadWriteSeek(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		f, err := d.Create("f", 0o600)
		require.NoError(t, err)
		defer f.Close()
		for _, s := range []string{"abc", "def"} {
			n, err := f.Write([]byte(s))
			require.NoError(t, err)
			require.Equal(t, 3, n)
		}
		_, err = f.WriteAt([]byte("XY"), 8) // past the end: zeros between
		require.NoError(t, err)
		pos, err := f.Seek(-2, io.SeekCurrent)
		require.NoError(t, err)
		require.EqualValues(t, 4, pos)
		rest, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, "ef\x00\x00XY", string(rest))
		pos, err = f.Seek(0, io.SeekEnd)
		require.NoError(t, err)
		require.EqualValues(t, 10, pos)
		_, err = f.Seek(-1, io.SeekStart)
		require.Error(t, err)

		buf := make([]byte, 4)
		n, err := f.ReadAt(buf, 8)
		require.Equal(t, 2, n)
		require.ErrorIs(t, err, io.EOF)
		n, err = f.ReadAt(buf, 2)
		require.NoError(t, err)
		require.Equal(t, "cdef", string(buf[:n]))

		require.NoError(t, f.Truncate(1))
		require.NoError(t, f.Truncate(3)) // what was cut off does not come back
		require.NoError(t, f.Sync())
		require.NoError(t, f.Datasync())
		require.Equal(t, "a\x00\x00", get(t, d, "f"))
		require.Error(t, f.Truncate(-1))
	})
}

func TestOpenFileFlags(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		_, err := d.OpenFile("f", os.O_WRONLY|os.O_APPEND, 0o600)
		require.ErrorIs(t, err, fs.ErrNotExist)
		for range 2 {
			f, err := d.OpenFile("f", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
			require.NoError(t, err)
			_, err = f.Write([]byte("ab"))
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("x"), 0)
			require.Error(t, err, "WriteAt and O_APPEND do not go together")
			_, err = f.Read(make([]byte, 1))
			require.Error(t, err, "opened for writing")
			require.NoError(t, f.Close())
		}
		require.Equal(t, "abab", get(t, d, "f"))
		f, err := d.OpenFile("f", os.O_RDWR|os.O_TRUNC, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, "", get(t, d, "f"))
	})
}

func TestLinkRenameRemove(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		tmp, cur := subDir(t, d, "tmp"), subDir(t, d, "cur")
		put(t, tmp, "m", "mail")
		before, err := tmp.Lstat("m")
		require.NoError(t, err)
		require.EqualValues(t, 1, before.Links)

		require.NoError(t, tmp.Link("m", cur, "m"))
		require.ErrorIs(t, tmp.Link("m", cur, "m"), fs.ErrExist)
		require.ErrorIs(t, tmp.Link("no", cur, "x"), fs.ErrNotExist)
		require.Error(t, d.Link("tmp", d, "tmp2"), "a directory has one name")
		linked, err := cur.Lstat("m")
		require.NoError(t, err)
		if linked.Inode != 0 { // Root does not tell
			require.EqualValues(t, 2, linked.Links)
			require.True(t, faultfs.SameFile(before, linked))
		}

		require.NoError(t, tmp.Rename("m", cur, "m"), "two names of one file: nothing happens")
		require.Equal(t, []string{"m"}, names(t, tmp))
		require.NoError(t, tmp.Remove("m"))
		require.ErrorIs(t, tmp.Remove("m"), fs.ErrNotExist)

		put(t, cur, "old", "old")
		require.NoError(t, cur.Rename("m", cur, "old"), "rename replaces")
		require.Equal(t, "mail", get(t, cur, "old"))
		require.NoError(t, cur.Rename("old", tmp, "back"))
		require.Empty(t, names(t, cur))
		require.ErrorIs(t, cur.Rename("no", cur, "x"), fs.ErrNotExist)
	})
}

func TestDirectories(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		a := subDir(t, d, "a")
		require.ErrorIs(t, d.Mkdir("a", 0o700), fs.ErrExist)
		put(t, a, "f", "")
		put(t, d, "file", "")
		require.Error(t, d.Remove("a"), "not empty")
		require.Error(t, d.Rename("file", d, "a"), "a file does not replace a directory")
		require.Error(t, d.Rename("a", d, "file"), "nor the other way round")
		require.Error(t, d.Rename("a", a, "inside"), "not into itself")
		_, err := d.OpenDir("file")
		require.ErrorIs(t, err, faultfs.ErrNotDir)
		_, err = d.Open("a")
		require.ErrorIs(t, err, faultfs.ErrNotRegular)
		_, err = d.OpenDir("none")
		require.ErrorIs(t, err, fs.ErrNotExist)

		require.NoError(t, d.Rename("a", d, "b"), "the handle stays with the directory")
		require.Equal(t, []string{"f"}, names(t, a))
		require.NoError(t, a.Remove("f"))
		require.NoError(t, d.Remove("b"))
		_, err = a.Create("g", 0o600)
		require.ErrorIs(t, err, fs.ErrNotExist, "the directory is gone")
		require.Equal(t, []string{"file"}, names(t, d))
		require.NoError(t, a.Close())
		require.ErrorIs(t, a.Close(), fs.ErrClosed)
		require.ErrorIs(t, a.Sync(), fs.ErrClosed)
		_, err = a.Names()
		require.ErrorIs(t, err, fs.ErrClosed)
		require.ErrorIs(t, d.Rename("file", a, "x"), fs.ErrClosed)
	})
}

func TestInfo(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		put(t, d, "f", "12345")
		info, err := d.Lstat("f")
		require.NoError(t, err)
		require.Equal(t, "f", info.Name)
		require.EqualValues(t, 5, info.Size)
		require.True(t, info.IsRegular() && !info.IsDir())
		require.EqualValues(t, 0o600, info.Mode.Perm())
		require.WithinDuration(t, time.Now(), info.ModTime, time.Minute)
		if info.Inode != 0 {
			require.EqualValues(t, os.Geteuid(), info.UID)
		}

		stamp := time.Unix(1_000_000_000, 123_456_000)
		require.NoError(t, d.Chtimes("f", stamp))
		f, err := d.Open("f")
		require.NoError(t, err)
		defer f.Close()
		opened, err := f.Stat()
		require.NoError(t, err)
		require.True(t, opened.ModTime.Equal(stamp), "%v", opened.ModTime)
		require.Equal(t, info.Inode != 0, faultfs.SameFile(info, opened))
		require.Equal(t, "f", opened.Name)
		require.Error(t, d.Chtimes("none", stamp))

		self, err := d.Stat()
		require.NoError(t, err)
		require.True(t, self.IsDir())
		require.False(t, faultfs.SameFile(self, info))
		_, err = d.Lstat("none")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

// A removed file lives on in its handle.
func TestRemovedFileStaysOpen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not remove open files")
	}
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		f, err := d.Create("f", 0o600)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.Write([]byte("still here"))
		require.NoError(t, err)
		require.NoError(t, d.Remove("f"))
		info, err := f.Stat()
		require.NoError(t, err)
		require.Zero(t, info.Links)
		buf := make([]byte, 10)
		_, err = f.ReadAt(buf, 0)
		require.NoError(t, err)
		require.Equal(t, "still here", string(buf))
	})
}

func TestNamesOfManyFiles(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		var want []string
		for i := range 1500 { // several buffers full
			name := fmt.Sprintf("%d.M%dP%d.%s", i, i*i, i, strings.Repeat("h", i%200))
			put(t, d, name, "")
			want = append(want, name)
		}
		slices.Sort(want)
		for range 2 { // each call starts anew
			require.Equal(t, want, names(t, d))
		}
	})
}

func TestMkdirAllAndSub(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys faultfs.FS, path string) {
		for range 2 {
			require.NoError(t, faultfs.MkdirAll(fsys, path+"/a/b/c", 0o700))
		}
		d := openDir(t, fsys, path)
		sub, err := faultfs.Sub(d, "a/b/c")
		require.NoError(t, err)
		defer sub.Close()
		put(t, sub, "f", "x")
		require.Equal(t, "x", get(t, openDir(t, fsys, path+"/a/b/c"), "f"))

		for _, bad := range []string{"", ".", "a/", "a//b", "/a", "a/../a", "a/b/.."} {
			_, err := faultfs.Sub(d, bad)
			require.ErrorIs(t, err, faultfs.ErrBadName, bad)
		}
		_, err = faultfs.Sub(d, "a/none/c")
		require.ErrorIs(t, err, fs.ErrNotExist)
		err = faultfs.MkdirAll(fsys, path+"/a/b/c/f/g", 0o700)
		require.Error(t, err, "a file is in the way")
	})
}

func TestReadFileLimit(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		put(t, d, "f", "12345")
		_, err := faultfs.ReadFile(d, "f", 4)
		require.ErrorContains(t, err, "too large")
		data, err := faultfs.ReadFile(d, "f", 5)
		require.NoError(t, err)
		require.Equal(t, "12345", string(data))

		put(t, d, "MiB", strings.Repeat("x", 1<<20))
		_, err = faultfs.ReadFile(d, "MiB", 0)
		require.NoError(t, err)
		put(t, d, "more", strings.Repeat("x", 1<<20+1))
		_, err = faultfs.ReadFile(d, "more", 0)
		require.Error(t, err)
	})
}

// WriteFile replaces a left-over of a crash and leaves none itself.
func TestWriteFileReplaces(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		put(t, d, ".f.tmp", "left over")
		require.NoError(t, faultfs.WriteFile(d, "f", []byte("one"), 0o600))
		require.NoError(t, faultfs.WriteFile(d, "f", []byte("two"), 0o600))
		require.Equal(t, "two", get(t, d, "f"))
		require.Equal(t, []string{"f"}, names(t, d))
	})
}

// Calls on one Dir from many goroutines, and a Close in their midst.
func TestConcurrentUseAndClose(t *testing.T) {
	everyFS(t, func(t *testing.T, fsys faultfs.FS, path string) {
		d := openDir(t, fsys, path)
		other := subDir(t, d, "other")
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 200 {
					name := fmt.Sprintf("%d-%d", g, i)
					f, err := d.Create(name, 0o600)
					if err != nil {
						require.ErrorIs(t, err, fs.ErrClosed)
						return
					}
					f.Close()
					if i%20 == 0 {
						_, _ = d.Names()
					}
					if err := d.Rename(name, other, name); err != nil {
						require.ErrorIs(t, err, fs.ErrClosed)
						return
					}
					if g == 0 && i == 100 {
						require.NoError(t, d.Close())
					}
				}
			})
		}
		wg.Wait()
		_, err := d.Stat()
		require.ErrorIs(t, err, fs.ErrClosed)
	})
}

// A random walk does the same on the real file system and in memory.
func TestCrashBehavesLikeOS(t *testing.T) {
	real, mem := openDir(t, faultfs.OS{}, t.TempDir()), openDir(t, faultfs.NewCrash(1), "/")
	step := func(d faultfs.Dir, op, a, b int, data []byte) string {
		na, nb := string(rune('a'+a)), string(rune('a'+b))
		var err error
		switch op {
		case 0, 1:
			var f faultfs.File
			if f, err = d.OpenFile(na, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
				_, err = f.WriteAt(data, int64(b*3))
				f.Close()
			}
		case 2:
			err = d.Link(na, d, nb)
		case 3:
			err = d.Rename(na, d, nb)
		case 4:
			err = d.Remove(na)
		case 5:
			err = d.Mkdir(na, 0o700)
		case 6:
			var sub faultfs.Dir
			if sub, err = d.OpenDir(na); err == nil {
				err = d.Rename(nb, sub, "in")
				sub.Close()
			}
		case 7:
			var f faultfs.File
			if f, err = d.OpenFile(na, os.O_WRONLY, 0); err == nil {
				err = f.Truncate(int64(b))
				f.Close()
			}
		}
		return describe(t, d, err)
	}
	rng := newRand(7)
	for i := range 2000 {
		op, a, b := rng.IntN(8), rng.IntN(5), rng.IntN(5)
		data := bytes.Repeat([]byte{byte('0' + i%10)}, 1+rng.IntN(9))
		require.Equal(t, step(real, op, a, b, data), step(mem, op, a, b, data), "step %d: op %d %d %d", i, op, a, b)
	}
}

// describe prints a directory and the kind of an error.
func describe(t *testing.T, d faultfs.Dir, err error) string {
	var out strings.Builder
	for _, kind := range []error{fs.ErrNotExist, fs.ErrExist, faultfs.ErrNotRegular, faultfs.ErrNotDir} {
		if ok := errorIs(err, kind); ok {
			fmt.Fprintln(&out, kind)
		}
	}
	fmt.Fprintln(&out, err != nil)
	for _, name := range names(t, d) {
		info, err := d.Lstat(name)
		require.NoError(t, err)
		fmt.Fprintln(&out, name, info.Mode)
		if info.IsRegular() {
			fmt.Fprintf(&out, "  %d %q\n", info.Links, get(t, d, name))
			continue
		}
		sub, err := d.OpenDir(name)
		require.NoError(t, err)
		fmt.Fprintln(&out, " ", names(t, sub))
		sub.Close()
	}
	return out.String()
}

// A file that fits is read whole; what Open refuses is refused.
func TestReadWhole(t *testing.T) {
	everyDir(t, func(t *testing.T, d faultfs.Dir) {
		put(t, d, "f", "hello")
		put(t, d, "empty", "")
		for size, want := range map[int]int{0: 0, 4: 0, 5: 5, 6: 5, 100: 5} {
			buf := make([]byte, size)
			n, info, err := faultfs.ReadWhole(d, "f", buf)
			require.NoError(t, err)
			require.Equal(t, want, n)
			require.Equal(t, "hello"[:n], string(buf[:n]))
			require.EqualValues(t, 5, info.Size)
			require.Equal(t, "f", info.Name)
			require.True(t, info.IsRegular())
		}
		n, info, err := faultfs.ReadWhole(d, "empty", nil)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Zero(t, info.Size)
		_, _, err = faultfs.ReadWhole(d, "none", make([]byte, 9))
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, _, err = faultfs.ReadWhole(d, "a/b", make([]byte, 9))
		require.ErrorIs(t, err, faultfs.ErrBadName)
		require.NoError(t, d.Mkdir("dir", 0o700))
		_, _, err = faultfs.ReadWhole(d, "dir", make([]byte, 9))
		require.ErrorIs(t, err, faultfs.ErrNotRegular)
		require.NoError(t, d.Close())
		_, _, err = faultfs.ReadWhole(d, "f", make([]byte, 9))
		require.ErrorIs(t, err, fs.ErrClosed)
	})
}

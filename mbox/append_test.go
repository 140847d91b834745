//go:build linux

package mbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

func TestMain(m *testing.M) {
	if job := os.Getenv("GONIEC_MBOX_CHILD"); job != "" {
		child(job)
		return
	}
	goleak.VerifyTestMain(m)
}

// fileTexts reads a mailbox file through a file system.
func fileTexts(fsys faultfs.FS, path string) ([]string, error) {
	dir, err := fsys.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.Open(filepath.Base(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tryAll(NewReader(f, MboxRD))
}

func appendText(fsys faultfs.FS, path, text string) error {
	f := &File{Path: path, FS: fsys, LockTimeout: time.Minute}
	_, err := f.Append(context.Background(), FromLine{Sender: "a@b", Date: testDate}, strings.NewReader(text))
	return err
}

func TestAppend(t *testing.T) {
	path := filepath.Join(fastDir(t), "box")
	for i, m := range hostile {
		f := &File{Path: path}
		off, err := f.Append(t.Context(), FromLine{}, strings.NewReader(m))
		require.NoError(t, err)
		require.Equal(t, i == 0, off == 0)
	}
	got, err := fileTexts(faultfs.OS{}, path)
	require.NoError(t, err)
	require.Equal(t, hostile, got)
	names, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, names, 2, "the mailbox and its journal: no lock is left")
}

// TestAppendForeign appends to files that other programs have left without their last empty line.
func TestAppendForeign(t *testing.T) {
	for _, tail := range []string{"", "\n", "\n\n", "\r\n\r\n"} {
		path := filepath.Join(fastDir(t), "box")
		require.NoError(t, os.WriteFile(path, []byte("From x@y Sat Jan  3 01:05:34 1996\nSubject: x\n\nbody"+tail), 0o600))
		require.NoError(t, appendText(faultfs.OS{}, path, "new\r\n"))
		got, err := fileTexts(faultfs.OS{}, path)
		require.NoError(t, err)
		require.Equal(t, []string{"Subject: x\r\n\r\nbody\r\n", "new\r\n"}, got, "%q", tail)
	}
	path := filepath.Join(fastDir(t), "box")
	require.NoError(t, os.WriteFile(path, []byte("a letter\n"), 0o600))
	require.ErrorIs(t, appendText(faultfs.OS{}, path, "new\r\n"), ErrFormat)
}

func TestAppendLimit(t *testing.T) {
	f := &File{Path: filepath.Join(fastDir(t), "box"), MaxMessage: 6}
	for _, r := range []io.Reader{strings.NewReader("1234\r\n"), io.MultiReader(strings.NewReader("1234\r\n"))} {
		_, err := f.Append(t.Context(), FromLine{}, r)
		require.NoError(t, err)
	}
	for _, r := range []io.Reader{strings.NewReader("12345\r\n"), io.MultiReader(strings.NewReader("12345\r\n"))} {
		_, err := f.Append(t.Context(), FromLine{}, r)
		require.ErrorIs(t, err, mailbox.ErrTooLarge)
	}
}

// TestF08_Crash cuts the power at every call of an append, and leaves every state the disk may be in. The old
// messages are there, the new one is whole or absent, and there when it was acknowledged; another append works.
func TestF08_Crash(t *testing.T) {
	large := "Subject: new\r\n\r\n" + strings.Repeat("0123456789abcde\r\n", 60)
	for _, setup := range [][]string{nil, {"one\r\n", "Subject: two\r\n\r\ntwo"}} {
		report, err := faultfs.EachCrash(faultfs.CrashPlan{
			Seed: 1, Limit: -1,
			Setup: func(c *faultfs.Crash) error {
				for _, m := range setup {
					if err := appendText(c, "/box", m); err != nil {
						return err
					}
				}
				return nil
			},
			Op: func(c *faultfs.Crash) error {
				err := appendText(c, "/box", large)
				c.Mark("acknowledged")
				return err
			},
			Check: func(st *faultfs.CrashState) error {
				if err := removeLock(st.FS); err != nil {
					return err
				}
				f := &File{Path: "/box", FS: st.FS}
				if err := f.Recover(context.Background()); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				if err := checkTexts(st.FS, setup, large, st.Marked("acknowledged")); err != nil {
					return err
				}
				if err := appendText(st.FS, "/box", "next\r\n"); err != nil {
					return err
				}
				got, err := fileTexts(st.FS, "/box")
				if err == nil && got[len(got)-1] != "next\r\n" {
					err = fmt.Errorf("the next append gave %q", got)
				}
				return err
			},
		})
		require.NoError(t, err)
		t.Logf("%+v", report)
	}
}

// TestF08_ForeignFile: another program has put a new file into the place of the old one, as Python does, and has not
// made its name durable. What we acknowledge then must not go back to the old file with it.
func TestF08_ForeignFile(t *testing.T) {
	replace := func(c *faultfs.Crash) error {
		dir, err := c.OpenDir("/")
		if err != nil {
			return err
		}
		defer dir.Close()
		f, err := dir.Create("box.new", 0o600)
		if err != nil {
			return err
		}
		w := NewWriter(&offsetWriter{f, 0}, MboxRD)
		if _, err := w.Write(context.Background(), FromLine{Date: testDate}, strings.NewReader("kept\r\n")); err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		return dir.Rename("box.new", dir, "box")
	}
	_, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Limit: 100,
		Setup: func(c *faultfs.Crash) error {
			return errors.Join(appendText(c, "/box", "gone\r\n"), appendText(c, "/box", "kept\r\n"))
		},
		Op: func(c *faultfs.Crash) error {
			if err := replace(c); err != nil {
				return err
			}
			err := appendText(c, "/box", "new\r\n")
			c.Mark("acknowledged")
			return err
		},
		Check: func(st *faultfs.CrashState) error {
			if !st.Marked("acknowledged") {
				return nil
			}
			got, err := fileTexts(st.FS, "/box")
			if err == nil && fmt.Sprint(got) != fmt.Sprint([]string{"kept\r\n", "new\r\n"}) {
				err = fmt.Errorf("acknowledged and lost: %q", got)
			}
			return err
		},
	})
	require.NoError(t, err)
}

// sameInode is a file system that gives every file the same number, as if it were that of a file just removed.
type sameInode struct{ faultfs.FS }

type sameInodeDir struct{ faultfs.Dir }

type sameInodeFile struct{ faultfs.File }

func (s sameInode) OpenDir(path string) (faultfs.Dir, error) {
	d, err := s.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return sameInodeDir{d}, nil
}

func (d sameInodeDir) OpenFile(name string, flag int, perm fs.FileMode) (faultfs.File, error) {
	f, err := d.Dir.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return sameInodeFile{f}, nil
}

func (d sameInodeDir) Create(name string, perm fs.FileMode) (faultfs.File, error) {
	f, err := d.Dir.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return sameInodeFile{f}, nil
}

func (d sameInodeDir) Lstat(name string) (faultfs.Info, error) {
	info, err := d.Dir.Lstat(name)
	info.Inode = 7
	return info, err
}

func (d sameInodeDir) Rename(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Rename(name, to.(sameInodeDir).Dir, newName)
}

func (d sameInodeDir) Link(name string, to faultfs.Dir, newName string) error {
	return d.Dir.Link(name, to.(sameInodeDir).Dir, newName)
}

func (f sameInodeFile) Stat() (faultfs.Info, error) {
	info, err := f.File.Stat()
	info.Inode = 7
	return info, err
}

// TestF08_ForeignFileSameNumber: another program has removed the file and made it anew, and the new one has the number of the
// old one. Its name is not durable: after our append it must be.
func TestF08_ForeignFileSameNumber(t *testing.T) {
	for _, foreign := range []string{"", "other\r\n", "kept\r\n", strings.Repeat("x", 10_000) + "\r\n"} {
		again := func(c *faultfs.Crash) error {
			dir, err := c.OpenDir("/")
			if err != nil {
				return err
			}
			defer dir.Close()
			if err := dir.Remove("box"); err != nil {
				return err
			}
			f, err := dir.Create("box", 0o600)
			if err != nil {
				return err
			}
			if foreign != "" {
				w := NewWriter(&offsetWriter{f, 0}, MboxRD)
				if _, err := w.Write(context.Background(), FromLine{Date: testDate}, strings.NewReader(foreign)); err != nil {
					return err
				}
			}
			return errors.Join(f.Sync(), f.Close())
		}
		_, err := faultfs.EachCrash(faultfs.CrashPlan{
			Seed: 1, Limit: 100,
			Setup: func(c *faultfs.Crash) error {
				return errors.Join(appendText(sameInode{c}, "/box", "gone\r\n"), appendText(sameInode{c}, "/box", "gone too\r\n"))
			},
			Op: func(c *faultfs.Crash) error {
				if err := again(c); err != nil {
					return err
				}
				err := appendText(sameInode{c}, "/box", "new\r\n")
				c.Mark("acknowledged")
				return err
			},
			Check: func(st *faultfs.CrashState) error {
				if !st.Marked("acknowledged") {
					return nil
				}
				got, err := fileTexts(st.FS, "/box")
				if err == nil && (len(got) == 0 || got[len(got)-1] != "new\r\n") {
					err = fmt.Errorf("acknowledged and lost: %.100q", got)
				}
				return err
			},
		})
		require.NoError(t, err)
	}
}

// removeLock removes a dotlock that a crash has left: otherwise it is honoured for ten minutes.
func removeLock(fsys faultfs.FS) error {
	dir, err := fsys.OpenDir("/")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Remove("box.lock"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func checkTexts(fsys faultfs.FS, old []string, added string, must bool) error {
	got, err := fileTexts(fsys, "/box")
	if err != nil {
		return err
	}
	if len(got) == len(old)+1 && got[len(old)] == added {
		got = got[:len(old)]
	} else if must {
		return fmt.Errorf("acknowledged and lost: %.200q", got)
	}
	if fmt.Sprint(got) != fmt.Sprint(old) {
		return fmt.Errorf("got %.300q", got)
	}
	return nil
}

// TestF08_EveryByte stops an append after each octet that reached the file, as a kill does.
func TestF08_EveryByte(t *testing.T) {
	for _, msg := range []string{"Subject: x\r\n\r\nab\r\nFrom c\r\n\r\n\r\nd\r\n", "raw\nFrom \r"} {
		path := filepath.Join(fastDir(t), "box")
		require.NoError(t, appendText(faultfs.OS{}, path, "old\r\n"))
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		note := filepath.Join(filepath.Dir(path), journalName("box"))
		dir, err := faultfs.OS{}.OpenDir(filepath.Dir(path))
		require.NoError(t, err)
		defer dir.Close()
		rec, err := plan(t.Context(), MboxRD, FromLine{Date: testDate}, strings.NewReader(msg), "")
		require.NoError(t, err)
		sum := &sumWriter{}
		var text strings.Builder
		require.NoError(t, rec.writeTo(t.Context(), io.MultiWriter(sum, &text)))
		for n := 0; n <= text.Len(); n++ {
			require.NoError(t, os.WriteFile(path, []byte(string(before)+text.String()[:n]), 0o600))
			b, err := sumBefore(strings.NewReader(string(before)), int64(len(before)))
			require.NoError(t, err)
			j := &journal{int64(len(before)), sum.n, b, []part{{sum.n, sum.sum, sum.head}}}
			require.NoError(t, os.WriteFile(note, j.text(), 0o600))
			require.NoError(t, (&File{Path: path}).Recover(t.Context()))
			got, err := fileTexts(faultfs.OS{}, path)
			require.NoError(t, err)
			want := []string{"old\r\n"}
			if n == text.Len() {
				want = append(want, msg)
			}
			require.Equal(t, want, got, "after %d octets", n)
			// What somebody else has appended meanwhile is never cut.
			foreign := string(before) + text.String()[:n] + "From z@z Sat Jan  3 01:05:34 1998\n\nz\n\n"
			require.NoError(t, os.WriteFile(path, []byte(foreign), 0o600))
			require.NoError(t, os.WriteFile(note, j.text(), 0o600))
			require.NoError(t, (&File{Path: path}).Recover(t.Context()))
			now, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, foreign, string(now), "after %d octets", n)
		}
	}
}

// TestF04_Faults makes each call fail: nothing is acknowledged that is not there, nothing is half there, no
// lock is left, and the next append works.
func TestF04_Faults(t *testing.T) {
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Setup: func(fsys faultfs.FS) error { return appendText(fsys, "/box", "old\r\n") },
		Op:    func(fsys faultfs.FS) error { return appendText(fsys, "/box", "new\r\n") },
		Check: func(run faultfs.FaultRun) error {
			if err := appendText(run.FS, "/box", "next\r\n"); err != nil {
				return err
			}
			got, err := fileTexts(run.FS, "/box")
			want := []string{"old\r\n", "next\r\n"}
			if run.Err == nil {
				want = []string{"old\r\n", "new\r\n", "next\r\n"}
			}
			if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
				err = fmt.Errorf("operation gave %v, file has %q", run.Err, got)
			}
			return err
		},
	})
	require.NoError(t, err)
	require.Greater(t, report.Runs, 20)
	t.Logf("%+v", report)
}

// TestF06_NotPrivate: what is not a private regular file is refused, and nothing is written through it.
func TestF06_NotPrivate(t *testing.T) {
	for name, make := range map[string]func(dir, path string) error{
		"symlink":  func(dir, path string) error { return os.Symlink(dir+"/victim", path) },
		"dangling": func(dir, path string) error { return os.Symlink(dir+"/none", path) },
		"hardlink": func(dir, path string) error { return os.Link(dir+"/victim", path) },
		"fifo":     func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
		"dir":      func(_, path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := fastDir(t)
			require.NoError(t, os.WriteFile(dir+"/victim", nil, 0o600))
			require.NoError(t, make(dir, dir+"/box"))
			err := appendText(faultfs.OS{}, dir+"/box", "new\r\n")
			require.Error(t, err)
			require.True(t, goniec.Temporary(err))
			b, err := os.ReadFile(dir + "/victim")
			require.NoError(t, err)
			require.Empty(t, b)
			require.NoFileExists(t, dir+"/none")
			require.NoFileExists(t, dir+"/box.lock")
		})
	}
	f := &File{Path: filepath.Join(fastDir(t), "box"), Owner: os.Geteuid() + 1}
	_, err := f.Append(t.Context(), FromLine{}, strings.NewReader("x\r\n"))
	require.ErrorIs(t, err, faultfs.ErrOwner)
}

// TestF06_Swapped replaces the file by a link to another one again and again while mail is delivered.
func TestF06_Swapped(t *testing.T) {
	dir := fastDir(t)
	require.NoError(t, os.WriteFile(dir+"/victim", nil, 0o600))
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	var swapper sync.WaitGroup
	swapper.Go(func() {
		for ctx.Err() == nil {
			_ = os.Remove(dir + "/box")
			_ = os.Symlink(dir+"/victim", dir+"/box")
		}
	})
	for ctx.Err() == nil {
		_ = appendText(faultfs.OS{}, dir+"/box", "new\r\n")
	}
	swapper.Wait()
	// Hard links are left out: one that is removed while the system looks at it can not be told from a private
	// file; who can make it owns the victim, or may write to it.
	b, err := os.ReadFile(dir + "/victim")
	require.NoError(t, err)
	require.Empty(t, b)
}

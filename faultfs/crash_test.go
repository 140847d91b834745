package faultfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// content reads a file of a crash state: "" with false when it is absent.
func content(c *faultfs.Crash, dir, name string) (string, bool) {
	d, err := c.OpenDir(dir)
	if err != nil {
		return "", false
	}
	defer d.Close()
	data, err := faultfs.ReadFile(d, name, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	return string(data), err == nil
}

// recipe is a way to replace /d/f by new content, made of named steps.
func recipe(steps string, text string) func(*faultfs.Crash) error {
	return func(c *faultfs.Crash) error {
		d, err := c.OpenDir("/d")
		if err != nil {
			return err
		}
		defer d.Close()
		var f faultfs.File
		for step := range strings.FieldsSeq(steps) {
			switch step {
			case "create":
				f, err = d.Create("tmp", 0o600)
			case "open":
				f, err = d.OpenFile("f", 0x2 /* os.O_RDWR */, 0)
			case "truncate":
				err = f.Truncate(0)
			case "write":
				_, err = f.Write([]byte(text))
			case "fsync":
				err = f.Sync()
			case "fdatasync":
				err = f.Datasync()
			case "rename":
				err = d.Rename("tmp", d, "f")
			case "unlink":
				err = d.Remove("f")
			case "link":
				err = d.Link("tmp", d, "f")
			case "untmp":
				err = d.Remove("tmp")
			case "dirsync":
				err = d.Sync()
			default:
				err = fmt.Errorf("no step %q", step)
			}
			if err != nil {
				return err
			}
		}
		return f.Close()
	}
}

// F02: the classic ways to replace a file. Those known as wrong are caught, with
// the right complaint; the right ones pass in every state, under both models.
func TestF02ReplaceRecipes(t *testing.T) {
	long := strings.Repeat("new content of more than a sector\n", 40)
	for _, tt := range []struct{ steps, complaint string }{
		{"create write fsync rename dirsync", ""},
		{"create write fdatasync rename dirsync", ""},
		{"create write fsync dirsync rename dirsync", ""},
		{"create write rename dirsync", "torn"},              // no fsync
		{"create write rename fsync dirsync", "torn"},        // fsync too late
		{"create fsync write rename dirsync", "torn"},        // fsync too early
		{"create write fsync rename", "lost"},                // no directory sync
		{"create write fsync dirsync rename", "lost"},        // directory sync too early
		{"create write fsync unlink rename dirsync", "gone"}, // a moment without the name
		{"create write fsync unlink link untmp dirsync", "gone"},
		{"open truncate write fsync", "torn"}, // in place
		{"open write fsync", "torn"},
	} {
		for _, model := range []faultfs.Model{faultfs.POSIX, faultfs.Ordered} {
			for _, text := range []string{"new", long} {
				_, err := faultfs.EachCrash(faultfs.CrashPlan{
					Model: model,
					Setup: func(c *faultfs.Crash) error {
						if err := faultfs.MkdirAll(c, "/d", 0o700); err != nil {
							return err
						}
						return recipe("create write fsync rename dirsync", "old text")(c)
					},
					Op: recipe(tt.steps, text),
					Check: func(s *faultfs.CrashState) error {
						got, ok := content(s.FS, "/d", "f")
						switch {
						case !ok:
							return errors.New("gone")
						case got != text && got != "old text":
							return errors.New("torn")
						case s.Done && got != text:
							return errors.New("lost")
						}
						return nil
					},
				})
				if tt.complaint == "" {
					require.NoError(t, err, "%s, model %d", tt.steps, model)
					continue
				}
				var crash *faultfs.CrashError
				require.ErrorAs(t, err, &crash, "%s, model %d: not caught", tt.steps, model)
				require.EqualError(t, crash.Err, tt.complaint, "%s, model %d", tt.steps, model)
			}
		}
	}
}

// flaw is a step of a maildir delivery done wrong.
type flaw int

const (
	none flaw = iota
	noFsync
	noDirSync
)

var mail = strings.Repeat("Subject: x\n\nbody\n", 100)

// deliverMail is a maildir delivery as safety demands it, but for the flaw.
func deliverMail(byLink bool, flaw flaw) func(*faultfs.Crash) error {
	return func(c *faultfs.Crash) error {
		tmp, err := c.OpenDir("/m/tmp")
		dest, err2 := c.OpenDir("/m/new")
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		f, err := tmp.Create("x", 0o600)
		if err != nil {
			return err
		}
		half := len(mail) / 2
		_, err = f.Write([]byte(mail[:half]))
		_, err2 = f.Write([]byte(mail[half:]))
		if flaw != noFsync {
			err2 = errors.Join(err2, f.Sync())
		}
		if byLink {
			err = errors.Join(err, err2, tmp.Link("x", dest, "x"), tmp.Remove("x"))
		} else {
			err = errors.Join(err, err2, tmp.Rename("x", dest, "x"))
		}
		if flaw != noDirSync {
			err = errors.Join(err, dest.Sync())
		}
		return errors.Join(err, f.Close())
	}
}

func makeMaildir(c *faultfs.Crash) error {
	return errors.Join(faultfs.MkdirAll(c, "/m/tmp", 0o700), faultfs.MkdirAll(c, "/m/new", 0o700))
}

// F02: delivery by link and by rename is whole or absent in every state and there
// once acknowledged; each step left out is noticed.
func TestF02MaildirDelivery(t *testing.T) {
	check := func(s *faultfs.CrashState) error {
		got, ok := content(s.FS, "/m/new", "x")
		if ok && got != mail {
			return errors.New("partial message in new")
		}
		if s.Done && !ok {
			return errors.New("acknowledged message lost")
		}
		return nil
	}
	run := func(byLink bool, flaw flaw) (faultfs.CrashReport, error) {
		return faultfs.EachCrash(faultfs.CrashPlan{Setup: makeMaildir, Op: deliverMail(byLink, flaw), Check: check})
	}
	for _, byLink := range []bool{true, false} {
		report, err := run(byLink, none)
		require.NoError(t, err)
		require.Greater(t, report.States, 50)
		require.Zero(t, report.Sampled)
		t.Logf("delivery, link %v: %+v", byLink, report)
		_, err = run(byLink, noFsync)
		require.ErrorContains(t, err, "partial")
		_, err = run(byLink, noDirSync)
		require.ErrorContains(t, err, "lost")
	}
}

// F02: a file renamed between two directories is in at least one of them at any time,
// and in the new one only after a Sync of either.
func TestF02RenameBetweenDirectories(t *testing.T) {
	for _, first := range []string{"/m/new", "/m/tmp"} {
		both := false
		_, err := faultfs.EachCrash(faultfs.CrashPlan{
			Setup: func(c *faultfs.Crash) error { return errors.Join(makeMaildir(c), deliverMail(false, none)(c)) },
			Op: func(c *faultfs.Crash) error {
				from, _ := c.OpenDir("/m/new")
				to, _ := c.OpenDir("/m/tmp")
				one, _ := c.OpenDir(first)
				err := from.Rename("x", to, "x")
				return errors.Join(err, one.Sync())
			},
			Check: func(s *faultfs.CrashState) error {
				_, inNew := content(s.FS, "/m/new", "x")
				_, inTmp := content(s.FS, "/m/tmp", "x")
				both = both || inNew && inTmp
				if !inNew && !inTmp || s.Done && !inTmp {
					return errors.New("lost")
				}
				return nil
			},
		})
		require.NoError(t, err)
		require.True(t, both)
	}
}

// F02: the helpers survive what they promise to survive.
func TestF02Helpers(t *testing.T) {
	text := strings.Repeat("0123456789", 120)
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Op: func(c *faultfs.Crash) error {
			if err := faultfs.MkdirAll(c, "/a/b/c", 0o700); err != nil {
				return err
			}
			c.Mark("made")
			d, err := c.OpenDir("/a/b/c")
			if err != nil {
				return err
			}
			if err := faultfs.WriteFile(d, "f", []byte("1"), 0o600); err != nil {
				return err
			}
			c.Mark("one")
			return faultfs.WriteFile(d, "f", []byte(text), 0o600)
		},
		Check: func(s *faultfs.CrashState) error {
			got, ok := content(s.FS, "/a/b/c", "f")
			_, err := s.FS.OpenDir("/a/b/c")
			switch {
			case s.Marked("made") && err != nil:
				return err
			case s.Marked("one") && !ok, ok && got != "1" && got != text, s.Done && got != text:
				return fmt.Errorf("got %d octets, %v", len(got), ok)
			}
			return nil
		},
	})
	require.NoError(t, err)
	t.Logf("%+v", report)

	// Sync of the file does not cover its name: nothing but MkdirAll's syncs does.
	_, err = faultfs.EachCrash(faultfs.CrashPlan{
		Op: func(c *faultfs.Crash) error {
			root, _ := c.OpenDir("/")
			err := root.Mkdir("a", 0o700)
			a, _ := root.OpenDir("a")
			return errors.Join(err, faultfs.WriteFile(a, "f", []byte("1"), 0o600))
		},
		Check: func(s *faultfs.CrashState) error {
			if _, ok := content(s.FS, "/a", "f"); s.Done && !ok {
				return errors.New("lost with its directory")
			}
			return nil
		},
	})
	require.ErrorContains(t, err, "lost with its directory")
	require.ErrorContains(t, err, "mkdir /a")
}

// MkdirAll on a directory that somebody else has made and not yet synced.
func TestF02MkdirAllOfAnothers(t *testing.T) {
	_, err := faultfs.EachCrash(faultfs.CrashPlan{
		Op: func(c *faultfs.Crash) error {
			root, _ := c.OpenDir("/")
			return errors.Join(root.Mkdir("a", 0o700), faultfs.MkdirAll(c, "/a", 0o700))
		},
		Check: func(s *faultfs.CrashState) error {
			if _, err := s.FS.OpenDir("/a"); s.Done {
				return err
			}
			return nil
		},
	})
	require.NoError(t, err)
}

// statesOf counts what a power cut may leave, by a printable form.
func statesOf(c *faultfs.Crash, show func(*faultfs.Crash) string) map[string]int {
	seen := map[string]int{}
	for s := range c.States(-1) {
		seen[show(s.FS)]++
	}
	return seen
}

func showFile(c *faultfs.Crash) string {
	got, ok := content(c, "/", "f")
	if !ok {
		return "absent"
	}
	var show strings.Builder
	for part := range slices.Chunk([]byte(got), 512) {
		switch {
		case part[0] == 0:
			show.WriteString("0")
		case string(part) == strings.Repeat(string(part[:1]), 512):
			show.WriteByte(part[0])
		default:
			fmt.Fprintf(&show, "(%c%c)", part[0], part[1])
		}
	}
	return show.String()
}

// The forms unsynced content may take, enumerated by hand.
func TestCrashContentForms(t *testing.T) {
	c := faultfs.NewCrash(1)
	d, err := c.OpenDir("/")
	require.NoError(t, err)
	f, err := d.Create("f", 0o600)
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	keys := func() []string {
		var list []string
		for form, n := range statesOf(c, showFile) {
			require.Equal(t, 1, n, "%q twice", form)
			list = append(list, form)
		}
		return list
	}
	require.ElementsMatch(t, []string{""}, keys())

	_, err = f.Write([]byte(strings.Repeat("A", 1024)))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{
		"", "A", "AA", // the old, torn, whole
		"00", "A0", "0A", // size without data, or without some
	}, keys())

	require.NoError(t, f.Sync())
	require.ElementsMatch(t, []string{"AA"}, keys())

	_, err = f.WriteAt([]byte(strings.Repeat("B", 1024)), 0)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"AA", "BA", "AB", "BB"}, keys())

	require.NoError(t, f.Sync())
	require.NoError(t, f.Truncate(512))
	_, err = f.WriteAt([]byte("A"), 0)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"BB", "B", "(AB)", "(AB)B"}, keys())
}

// showTree lists / and /sub.
func showTree(c *faultfs.Crash) string {
	d, _ := c.OpenDir("/")
	list, _ := d.Names()
	if sub, err := d.OpenDir("sub"); err == nil {
		inside, _ := sub.Names()
		for _, name := range inside {
			list = append(list, "sub/"+name)
		}
	}
	return sorted(list)
}

// startForms makes a disk that holds a and sub.
func startForms(t *testing.T, model faultfs.Model) (c *faultfs.Crash, d, sub faultfs.Dir) {
	c = faultfs.NewCrash(1)
	c.Model = model
	d = openDir(t, c, "/")
	sub = subDir(t, d, "sub")
	put(t, d, "a", "")
	c.SyncAll()
	return c, d, sub
}

// Directory changes: which subsets each model allows.
func TestCrashDirectoryForms(t *testing.T) {
	for model, want := range map[faultfs.Model][]string{
		faultfs.POSIX:   {"a sub", "a sub sub/a", "sub sub/a"},
		faultfs.Ordered: {"a sub", "sub sub/a"},
	} {
		c, d, sub := startForms(t, model)
		require.NoError(t, d.Rename("a", sub, "a"))
		require.ElementsMatch(t, want, keysOf(statesOf(c, showTree)))
	}

	c, d, _ := startForms(t, faultfs.POSIX)
	require.NoError(t, d.Rename("a", d, "b"), "atomic inside one directory")
	require.ElementsMatch(t, []string{"a sub", "b sub"}, keysOf(statesOf(c, showTree)))
	put(t, d, "c", "")
	require.ElementsMatch(t, []string{"a sub", "b sub", "a c sub", "b c sub"}, keysOf(statesOf(c, showTree)))
	require.NoError(t, d.Sync())
	require.ElementsMatch(t, []string{"b c sub"}, keysOf(statesOf(c, showTree)))
}

// What a Sync takes along: a directory moved, what the new name needs, under Ordered
// everything.
func TestCrashSyncTakesAlong(t *testing.T) {
	c, d, sub := startForms(t, faultfs.POSIX)
	inner := subDir(t, d, "dir")
	put(t, inner, "f", "")
	c.SyncAll()
	require.NoError(t, d.Rename("dir", sub, "dir"))
	require.ElementsMatch(t, []string{"a dir sub", "a sub sub/dir"}, keysOf(statesOf(c, showTree)))

	// A Sync that brings along the new name brings what was there before it, too,
	// and in order.
	c, d, sub = startForms(t, faultfs.POSIX)
	put(t, sub, "x", "")
	require.NoError(t, d.Rename("a", sub, "x"))
	want, err := sub.Lstat("x")
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	require.NoError(t, sub.Sync())
	for s := range c.States(0) {
		require.Equal(t, want.Inode, lstat(t, openDir(t, s.FS, "/sub"), "x").Inode)
	}

	// Ordered: a file's Sync commits the journal, names and all.
	c, d, _ = startForms(t, faultfs.Ordered)
	put(t, d, "b", "")
	f, err := d.Create("c", 0o600)
	require.NoError(t, err)
	put(t, d, "d", "")
	require.ElementsMatch(t, []string{"a sub", "a b sub", "a b c sub", "a b c d sub"}, keysOf(statesOf(c, showTree)))
	require.NoError(t, f.Sync())
	require.ElementsMatch(t, []string{"a b c d sub"}, keysOf(statesOf(c, showTree)))
}

// Link counts, inode numbers and times survive as the disk had them.
func TestCrashStateMetadata(t *testing.T) {
	stamp := time.Unix(1_000_000_000, 0)
	c := faultfs.NewCrash(1)
	c.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	d := openDir(t, c, "/")
	put(t, d, "f", "x")
	require.NoError(t, d.Link("f", d, "g"))
	c.SyncAll()
	before, err := d.Lstat("f")
	require.NoError(t, err)
	require.NoError(t, d.Chtimes("f", stamp))
	require.NoError(t, d.Remove("g"))
	count := 0
	for s := range c.States(-1) {
		count++
		root := openDir(t, s.FS, "/")
		info, err := root.Lstat("f")
		require.NoError(t, err)
		require.Equal(t, before.Inode, info.Inode)
		require.EqualValues(t, len(names(t, root)), info.Links)
		require.Contains(t, []int64{stamp.Unix(), 1_700_000_000}, info.ModTime.Unix())
		put(t, root, "new", "y") // the disk can be used, and crash again
		require.NotEqual(t, info.Inode, lstat(t, root, "new").Inode)
		require.Len(t, keysOf(statesOf(s.FS, func(c *faultfs.Crash) string { v, _ := content(c, "/", "new"); return v })), 3) // absent or empty, a zero, whole
	}
	require.Equal(t, 4, count) // time x removal
	f, err := d.OpenFile("f", 0, 0)
	require.NoError(t, err)
	require.NoError(t, f.Datasync(), "does not cover the time")
	require.Len(t, statesOf(c, func(c *faultfs.Crash) string { return lstat(t, openDir(t, c, "/"), "f").ModTime.String() }), 2)
	require.NoError(t, f.Sync())
	require.Len(t, statesOf(c, func(c *faultfs.Crash) string { return lstat(t, openDir(t, c, "/"), "f").ModTime.String() }), 1)
}

// Too many states: the limit holds, the sample is the same for one seed and another
// for another, and the extremes are in it.
func TestCrashSampling(t *testing.T) {
	sample := func(seed uint64, limit int) []string {
		c := faultfs.NewCrash(seed)
		d := openDir(t, c, "/")
		for i := range 20 {
			put(t, d, fmt.Sprint(i), strings.Repeat("x", 5000))
		}
		var list []string
		for s := range c.States(limit) {
			root := openDir(t, s.FS, "/")
			var show strings.Builder
			for _, name := range names(t, root) {
				fmt.Fprintf(&show, "%s=%d ", name, strings.Count(get(t, root, name), "x"))
			}
			list = append(list, show.String())
		}
		return list
	}
	one := sample(1, 300)
	require.Len(t, one, 300)
	require.Equal(t, one, sample(1, 300))
	require.NotEqual(t, one, sample(2, 300))
	require.Len(t, sample(1, 0), 1000, "the default")
	require.Contains(t, one, "", "nothing made it")
	all := keysOf(statesOf(fullDisk(t), func(c *faultfs.Crash) string {
		root := openDir(t, c, "/")
		var show strings.Builder
		for _, name := range names(t, root) {
			fmt.Fprintf(&show, "%s=%d ", name, strings.Count(get(t, root, name), "x"))
		}
		return show.String()
	}))
	require.Len(t, all, 1)
	require.Contains(t, one, all[0], "everything made it")
}

// fullDisk is what TestCrashSampling's disk holds when all of it is durable.
func fullDisk(t *testing.T) *faultfs.Crash {
	c := faultfs.NewCrash(1)
	d := openDir(t, c, "/")
	for i := range 20 {
		put(t, d, fmt.Sprint(i), strings.Repeat("x", 5000))
	}
	c.SyncAll()
	return c
}

func TestEachCrashReports(t *testing.T) {
	boom := errors.New("boom")
	_, err := faultfs.EachCrash(faultfs.CrashPlan{Setup: func(*faultfs.Crash) error { return boom }})
	require.ErrorIs(t, err, boom)
	_, err = faultfs.EachCrash(faultfs.CrashPlan{Op: func(*faultfs.Crash) error { return boom }})
	require.ErrorIs(t, err, boom)

	op := func(c *faultfs.Crash) error {
		d, _ := c.OpenDir("/")
		f, err := d.Create("f", 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, 64<<10))
		return err
	}
	_, err = faultfs.EachCrash(faultfs.CrashPlan{Op: op, Check: func(s *faultfs.CrashState) error {
		if len(s.Lost) > 0 {
			return boom
		}
		return nil
	}})
	require.ErrorIs(t, err, boom)
	require.EqualError(t, err, "power cut after call 3 (return), lost: create /f: boom",
		"without the file it is the disk of the start, checked already; but now more is promised")

	report, err := faultfs.EachCrash(faultfs.CrashPlan{Op: op, Check: func(*faultfs.CrashState) error { return nil }})
	require.NoError(t, err)
	require.Equal(t, 4, report.Points) // nothing, create, write, return
	require.Equal(t, 2, report.Sampled, "128 sectors have too many subsets")
}

// Programs know what they have locked by device and number: files of two disks are never taken for each other, and those of a disk
// keep both over a crash.
func TestCrashDevices(t *testing.T) {
	one, other := faultfs.NewCrash(1), faultfs.NewCrash(1)
	info := func(c *faultfs.Crash) faultfs.Info {
		d := openDir(t, c, "/")
		if f, err := d.Create("f", 0o600); err == nil {
			require.NoError(t, f.Close())
			require.NoError(t, d.Sync())
		}
		return lstat(t, d, "f")
	}
	a, b := info(one), info(other)
	require.Equal(t, a.Inode, b.Inode)
	require.NotEqual(t, a.Device, b.Device)
	for s := range one.States(10) {
		again := info(s.FS)
		require.Equal(t, a.Device, again.Device)
		require.Equal(t, a.Inode, again.Inode)
	}
}

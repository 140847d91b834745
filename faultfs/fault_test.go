package faultfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// replaceFile is WriteFile from opening to closing.
func replaceFile(text string) func(faultfs.FS) error {
	return func(fsys faultfs.FS) error {
		d, err := fsys.OpenDir("/")
		if err != nil {
			return err
		}
		err = faultfs.WriteFile(d, "f", []byte(text), 0o600)
		return errors.Join(err, d.Close())
	}
}

// F04: WriteFile under each error in each call: what it acknowledged is there in
// every crash state, what was there before is never damaged, no handle and no
// temporary file is left, and the next WriteFile works.
func TestF04WriteFile(t *testing.T) {
	for _, persist := range []bool{false, true} {
		report, err := faultfs.EachFault(faultfs.FaultPlan{
			Persist: persist,
			Setup:   replaceFile("old"),
			Op:      replaceFile("new"),
			Check: func(run faultfs.FaultRun) error {
				disk := run.FS.(*faultfs.Crash)
				for s := range disk.States(0) {
					switch got, _ := content(s.FS, "/", "f"); {
					case got != "old" && got != "new":
						return fmt.Errorf("damaged: %q", got)
					case got != "new" && run.Err == nil:
						return errors.New("acknowledged and lost")
					}
				}
				root, _ := disk.OpenDir("/")
				list, err := root.Names()
				// Where Remove fails as well the litter stays, for the next WriteFile.
				if err != nil || len(list) != 1 && !persist {
					return fmt.Errorf("left behind: %v %w", list, err)
				}
				if err := replaceFile("next")(disk); err != nil {
					return fmt.Errorf("next operation: %w", err)
				}
				if got, _ := content(disk, "/", "f"); got != "next" {
					return errors.New("next operation without effect")
				}
				return nil
			},
		})
		require.NoError(t, err)
		// opendir create write sync close rename syncdir close; EIO in all 8,
		// ENOSPC and EDQUOT in 7, EMFILE in 2, half a write in 1.
		require.Equal(t, 8+7+7+2+1, report.Runs)
	}
}

// F04: the driver catches what it is made for.
func TestF04BadOperationsAreCaught(t *testing.T) {
	ignoring := func(ignored faultfs.Op) func(faultfs.FS) error {
		return func(fsys faultfs.FS) error {
			d, err := fsys.OpenDir("/")
			if err != nil {
				return err
			}
			defer d.Close()
			f, err := d.Create("f", 0o600)
			if err != nil {
				return err
			}
			_, werr := f.Write([]byte("text"))
			serr := f.Sync()
			if ignored == faultfs.OpSync && serr != nil {
				serr = f.Sync() // "try again": succeeds, and the data are gone
			}
			if ignored == faultfs.OpClose && serr != nil {
				return serr // leaks f
			}
			derr := d.Sync()
			if ignored == faultfs.OpSyncDir && derr != nil {
				derr = d.Sync()
			}
			if ignored == faultfs.OpWrite {
				werr = nil
			}
			return errors.Join(werr, serr, derr, f.Close())
		}
	}
	check := func(run faultfs.FaultRun) error {
		for s := range run.FS.(*faultfs.Crash).States(0) {
			if got, _ := content(s.FS, "/", "f"); got != "text" && run.Err == nil {
				return errors.New("acknowledged and lost")
			}
		}
		return nil
	}
	_, err := faultfs.EachFault(faultfs.FaultPlan{Op: ignoring(""), Check: check})
	require.NoError(t, err)
	for op, complaint := range map[faultfs.Op]string{
		faultfs.OpSync:    "sync /f (operation returned: <nil>): acknowledged and lost", // fsyncgate
		faultfs.OpSyncDir: "syncdir / (operation returned: <nil>): acknowledged and lost",
		faultfs.OpWrite:   "write /f (operation returned: <nil>): acknowledged and lost",
		faultfs.OpClose:   "handles left open: /f",
	} {
		_, err := faultfs.EachFault(faultfs.FaultPlan{Op: ignoring(op), Check: check})
		require.ErrorContains(t, err, complaint)
	}
	boom := errors.New("boom")
	_, err = faultfs.EachFault(faultfs.FaultPlan{New: func() (faultfs.FS, error) { return nil, boom }})
	require.ErrorIs(t, err, boom)
}

// After a failed Sync the content can be read, and no power cut leaves it.
func TestFailedSyncLosesContent(t *testing.T) {
	disk := faultfs.NewCrash(1)
	fault := faultfs.NewFault(disk)
	d := openDir(t, fault, "/")
	put(t, d, "f", "synced ")
	disk.SyncAll()
	f, err := d.OpenFile("f", 0x2, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("LOST"), 7)
	require.NoError(t, err)
	fault.Inject = faultfs.FailOp(faultfs.OpSync, syscall.EIO)
	require.ErrorIs(t, f.Sync(), syscall.EIO)
	fault.Inject = nil
	require.NoError(t, f.Sync(), "falsely")
	require.Equal(t, "synced LOST", get(t, d, "f"))
	require.Equal(t, []string{"synced "}, keysOf(statesOf(disk, showAll)))
	_, err = f.WriteAt([]byte("kept"), 11)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.Equal(t, []string{"synced \x00\x00\x00\x00kept"}, keysOf(statesOf(disk, showAll)))

	put(t, d, "g", "")
	fault.Inject = faultfs.FailOp(faultfs.OpSyncDir, syscall.EIO)
	require.ErrorIs(t, d.Sync(), syscall.EIO)
	fault.Inject = nil
	require.NoError(t, d.Sync())
	for s := range disk.States(0) {
		require.Equal(t, []string{"f"}, names(t, openDir(t, s.FS, "/")))
	}
}

func showAll(c *faultfs.Crash) string { got, _ := content(c, "/", "f"); return got }

// Half writes half, Late does it all; both tell of an error.
func TestHalfAndLate(t *testing.T) {
	fault := faultfs.NewFault(faultfs.NewCrash(1))
	d := openDir(t, fault, "/")
	fault.Inject = faultfs.FailOp(faultfs.OpWrite, faultfs.Half{Err: syscall.ENOSPC})
	f, err := d.Create("f", 0o600)
	require.NoError(t, err)
	defer f.Close()
	n, err := f.Write([]byte("123456"))
	require.Equal(t, 3, n)
	require.ErrorIs(t, err, syscall.ENOSPC)
	n, err = f.WriteAt([]byte("xy"), 0)
	require.Equal(t, 1, n)
	require.Error(t, err)
	require.Equal(t, "x23", get(t, d, "f"))

	fault.Inject = func(c faultfs.Call) error {
		if c.Op != faultfs.OpLstat && c.Op != faultfs.OpNames {
			return faultfs.Late{Err: syscall.EIO}
		}
		return nil
	}
	require.ErrorIs(t, d.Link("f", d, "g"), syscall.EIO)
	require.EqualValues(t, 2, lstat(t, d, "g").Links, "the link stands")
	_, err = d.Create("h", 0o600)
	require.ErrorIs(t, err, syscall.EIO)
	_, err = d.OpenDir(".")
	require.ErrorIs(t, err, faultfs.ErrBadName)
	require.Equal(t, []string{"f", "g", "h"}, names(t, d))
	require.ErrorIs(t, d.Mkdir("sub", 0o700), syscall.EIO)
	_, err = d.OpenDir("sub")
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, []string{"/", "/f"}, fault.Open(), "no handle was given out")
}

// everyCall makes each kind of call once, going on after errors.
func everyCall(fsys faultfs.FS) (errs []error) {
	add := func(err error) { errs = append(errs, err) }
	d, err := fsys.OpenDir("/")
	add(err)
	if err != nil {
		return errs
	}
	add(d.Mkdir("sub", 0o700))
	f, err := d.Create("f", 0o600)
	add(err)
	if err == nil {
		_, err = f.Write([]byte("a"))
		add(err)
		_, err = f.WriteAt([]byte("b"), 1)
		add(err)
		_, err = f.Read(nil)
		add(err)
		_, err = f.ReadAt(make([]byte, 1), 0)
		add(err)
		_, err = f.Stat()
		add(err)
		add(f.Truncate(1))
		add(f.Sync())
		add(f.Datasync())
		add(f.Close())
	}
	_, err = d.Lstat("f")
	add(err)
	_, err = d.Stat()
	add(err)
	_, err = d.Names()
	add(err)
	add(d.Chtimes("f", time.Unix(1, 0)))
	add(d.Link("f", d, "g"))
	add(d.Rename("f", d, "h"))
	add(d.Remove("g"))
	add(d.Sync())
	add(d.Close())
	return errs
}

// Every call is counted under its name, and can be made to fail by number.
func TestEveryCallIsCounted(t *testing.T) {
	fault := faultfs.NewFault(faultfs.NewCrash(1))
	require.NoError(t, errors.Join(everyCall(fault)...))
	calls := fault.Calls()
	require.Equal(t, fault.Count(), len(calls))
	var ops []string
	for i, c := range calls {
		require.Equal(t, i+1, c.N)
		ops = append(ops, string(c.Op))
	}
	require.Equal(t, "opendir mkdir create write write read read stat truncate sync sync close "+
		"lstat stat readdir chtimes link rename remove syncdir close", strings.Join(ops, " "))
	require.Equal(t, "17 link /f /g", calls[16].String())
	require.Equal(t, "3 create /f", calls[2].String())

	for n := range calls {
		fault := faultfs.NewFault(faultfs.NewCrash(1))
		fault.Inject = faultfs.FailCall(n+1, syscall.EDQUOT)
		errs := everyCall(fault)
		first := slices.IndexFunc(errs, func(err error) bool { return err != nil })
		require.Equal(t, n, first)
		require.ErrorIs(t, errs[first], syscall.EDQUOT)
		require.Empty(t, fault.Open())
	}
}

// A stalled disk is an Inject that waits; errors name the path as real ones do.
func TestInjectMayBlock(t *testing.T) {
	fault := faultfs.NewFault(faultfs.NewCrash(1))
	release := make(chan struct{})
	fault.Inject = func(c faultfs.Call) error {
		if c.Op == faultfs.OpSyncDir {
			<-release
			return syscall.EIO
		}
		return nil
	}
	d := openDir(t, fault, "/")
	done := make(chan error)
	go func() { done <- d.Sync() }()
	require.NoError(t, d.Mkdir("meanwhile", 0o700))
	close(release)
	var pathErr *fs.PathError
	require.ErrorAs(t, <-done, &pathErr)
	require.Equal(t, "/", pathErr.Path)
	fault.Inject = faultfs.FailOp(faultfs.OpRename, syscall.EXDEV)
	require.EqualError(t, d.Rename("meanwhile", d, "x"), "rename /meanwhile /x: "+syscall.EXDEV.Error())
}

func TestWrappedErrorsSpeak(t *testing.T) {
	require.EqualError(t, faultfs.Half{Err: syscall.ENOSPC}, "half done: "+syscall.ENOSPC.Error())
	require.EqualError(t, faultfs.Late{Err: syscall.EIO}, "done, but: "+syscall.EIO.Error())
	require.ErrorIs(t, faultfs.Late{Err: syscall.EIO}, syscall.EIO)
}

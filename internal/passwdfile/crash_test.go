package passwdfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

const before, after = "# mine\na:1\nb:2\n", "# mine\na:new\nb:2\n"

// setUp makes the folder and the file to edit, durably.
func setUp(fsys faultfs.FS) error {
	if err := faultfs.MkdirAll(fsys, "/etc", 0o700); err != nil {
		return err
	}
	d, err := fsys.OpenDir("/etc")
	if err != nil {
		return err
	}
	defer d.Close()
	return faultfs.WriteFile(d, "users", []byte(before), 0o600)
}

func edit(fsys faultfs.FS) error {
	f := &File{Path: "/etc/users", FS: fsys, Interval: -1}
	return f.Edit(context.Background(), map[string]Change{"a": set("new")})
}

func read(fsys faultfs.FS) (string, error) {
	d, err := fsys.OpenDir("/etc")
	if err != nil {
		return "", err
	}
	defer d.Close()
	b, err := faultfs.ReadFile(d, "users", 0)
	return string(b), err
}

// F02: after a power cut at any call the file is the old or the new one, and the new one once Edit has
// returned; and it can be edited again.
func TestF02_EditCrash(t *testing.T) {
	_, err := faultfs.EachCrash(faultfs.CrashPlan{
		Setup: func(c *faultfs.Crash) error { return setUp(c) },
		Op:    func(c *faultfs.Crash) error { return edit(c) },
		Check: func(s *faultfs.CrashState) error {
			got, err := read(s.FS)
			if err != nil {
				return err
			}
			if got != after && (s.Done || got != before) {
				return fmt.Errorf("file is %q", got)
			}
			if err := edit(s.FS); err != nil {
				return fmt.Errorf("edit after the restart: %w", err)
			}
			if got, err = read(s.FS); got != after {
				return errors.Join(err, fmt.Errorf("file is %q after a second edit", got))
			}
			return nil
		},
	})
	require.NoError(t, err)
}

// F04: whichever call fails, Edit says so or the file is edited, and nothing is left behind that hinders the next.
func TestF04_EditFaults(t *testing.T) {
	_, err := faultfs.EachFault(faultfs.FaultPlan{
		Setup: setUp,
		Op:    edit,
		Check: func(run faultfs.FaultRun) error {
			got, err := read(run.FS)
			if err != nil {
				return err
			}
			if got != after && (run.Err == nil || got != before) {
				return fmt.Errorf("Edit returned %v and the file is %q", run.Err, got)
			}
			d, err := run.FS.OpenDir("/etc")
			if err != nil {
				return err
			}
			defer d.Close()
			if _, err := d.Lstat(".users.tmp"); !errors.Is(err, fs.ErrNotExist) && run.Call.Op != faultfs.OpRemove {
				return errors.New("the temporary file is left")
			}
			return edit(run.FS)
		},
	})
	require.NoError(t, err)
}

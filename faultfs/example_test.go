package faultfs_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/goniec-mail/goniec/faultfs"
)

// A folder on the real disk: made durably, one file replaced durably.
func Example() {
	path, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(path)

	fsys := faultfs.OS{}
	if err := faultfs.MkdirAll(fsys, path+"/spool/state", 0o700); err != nil {
		log.Fatal(err)
	}
	d, err := fsys.OpenDir(path + "/spool/state")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if err := faultfs.WriteFile(d, "next-id", []byte("42\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	data, err := faultfs.ReadFile(d, "next-id", 64)
	fmt.Printf("%s%v\n", data, err)
	// Output:
	// 42
	// <nil>
}

// A well-known bug: a file renamed into place before its content was synced. After
// a power cut the name can show an empty or torn file.
func ExampleEachCrash() {
	_, err := faultfs.EachCrash(faultfs.CrashPlan{
		Op: func(c *faultfs.Crash) error {
			d, err := c.OpenDir("/")
			if err != nil {
				return err
			}
			f, err := d.Create("tmp", 0o600)
			if err != nil {
				return err
			}
			_, err = f.Write([]byte("important"))
			// f.Sync() is missing here.
			return errors.Join(err, f.Close(), d.Rename("tmp", d, "file"), d.Sync())
		},
		Check: func(s *faultfs.CrashState) error {
			d, err := s.FS.OpenDir("/")
			if err != nil {
				return err
			}
			data, err := faultfs.ReadFile(d, "file", 0)
			if s.Done && string(data) != "important" {
				return fmt.Errorf("promised, but found %q, %v", data, err)
			}
			return nil
		},
	})
	fmt.Println(err)
	// Output:
	// power cut after call 5 (return), lost: no directory change: promised, but found "", <nil>
}

// Each call of an operation fails in turn; the operation must say so.
func ExampleEachFault() {
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Op: func(fsys faultfs.FS) error {
			d, err := fsys.OpenDir("/")
			if err != nil {
				return err
			}
			defer d.Close() // nothing is written through d: its Close tells nothing
			return d.Mkdir("made", 0o700)
		},
		Check: func(run faultfs.FaultRun) error {
			d, err := run.FS.OpenDir("/made")
			if run.Err == nil && run.Call.Op != faultfs.OpClose && err != nil {
				return errors.New("said to be made, and is not there")
			}
			if err == nil {
				d.Close()
			}
			return nil
		},
	})
	fmt.Println(report.Runs > 0, err)
	// Output: true <nil>
}

// Many goroutines make entries in one directory and share its syncs.
func ExampleGroup() {
	d, err := faultfs.NewCrash(1).OpenDir("/")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	commit := faultfs.NewGroup(d.Sync)

	done := make(chan error)
	for i := range 3 {
		go func() {
			err := d.Mkdir(fmt.Sprint(i), 0o700)
			if err == nil {
				err = commit.Sync() // durable from here on
			}
			done <- err
		}()
	}
	fmt.Println(<-done, <-done, <-done)
	// Output: <nil> <nil> <nil>
}

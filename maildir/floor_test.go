package maildir_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// F02: mod-sequences of new messages are told before the index has them durably. After a power cut none is given again, with a
// clock that has gone back, also where what usually covers them does not: the floor could not be raised, or the messages came
// under UIDs that the list had before.
func TestF02_ModSeqsThatNothingCovers(t *testing.T) {
	base := time.Unix(1_700_000_000, 0)
	var now time.Time // of the operation
	at := func(t time.Time) func() time.Time {
		now = t
		return func() time.Time { return now }
	}
	add := func(m mailbox.Mailbox) error {
		_, err := m.Append(context.Background(), strings.NewReader(hello), mailbox.AppendOptions{})
		return err
	}
	many := func(m mailbox.Mailbox) (err error) { // so many that the index is not written anew for one
		for range 20 {
			err = errors.Join(err, add(m))
		}
		return err
	}
	for name, c := range map[string]struct {
		setup func(c *faultfs.Crash) error
		op    func(c *faultfs.Crash, tell func(m mailbox.Mailbox) error) error
	}{
		"no room for the floor": {
			setup: func(c *faultfs.Crash) error { return atTime(c, at(base.Add(-2*time.Hour)), many) },
			op: func(c *faultfs.Crash, tell func(m mailbox.Mailbox) error) error {
				full := faultfs.NewFault(c)
				full.Inject = func(call faultfs.Call) error {
					if call.Op == faultfs.OpCreate && strings.Contains(call.Path, "goniec-floor") {
						return syscall.ENOSPC
					}
					return nil
				}
				return atTime(full, at(base), func(m mailbox.Mailbox) error { return errors.Join(add(m), tell(m)) })
			},
		},
		"listed before": {
			setup: func(c *faultfs.Crash) error {
				err := atTime(c, at(base.Add(-time.Minute)), many)
				if err == nil {
					err = inFolder(c, "", func(d faultfs.Dir) error {
						f, err := d.OpenFile("dovecot-uidlist", os.O_WRONLY|os.O_APPEND, 0)
						if err == nil {
							_, err = f.Write([]byte("21 :1600000021.M1P1.h\n22 :1600000022.M1P1.h\n23 :1600000023.M1P1.h\n"))
							err = errors.Join(err, f.Close())
						}
						return err
					})
				}
				return err
			},
			op: func(c *faultfs.Crash, tell func(m mailbox.Mailbox) error) error {
				return atTime(c, at(base), func(m mailbox.Mailbox) error {
					// The index knows of the UID, durably, before the file comes.
					_, err := m.SetFlags(context.Background(), mailbox.UIDs(2), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
					for uid := 21; uid < 24 && err == nil; uid++ { // one by one, each with a mod-sequence
						err = inFolder(c, "cur", func(d faultfs.Dir) error {
							return faultfs.WriteFile(d, fmt.Sprintf("16000000%d.M1P1.h:2,", uid), []byte("it comes\n"), 0o600)
						})
						_, e := m.Changes(context.Background(), 0)
						err = errors.Join(err, e)
					}
					return errors.Join(err, tell(m))
				})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var told mailbox.ModSeq
			report, err := faultfs.EachCrash(faultfs.CrashPlan{
				Seed: 1, Limit: 50,
				Setup: c.setup,
				Op: func(disk *faultfs.Crash) error {
					return c.op(disk, func(m mailbox.Mailbox) error {
						ch, err := m.Changes(context.Background(), 0)
						if err == nil {
							told = ch.State.ModSeq
							disk.Mark("told")
						}
						return err
					})
				},
				Check: func(st *faultfs.CrashState) error {
					if !st.Marked("told") {
						return nil
					}
					// A lock that the cut has left is honoured for a while.
					_ = inFolder(st.FS, "", func(d faultfs.Dir) error { return d.Remove("dovecot-uidlist.lock") })
					return atTime(st.FS, at(base.Add(-30*time.Minute)), func(m mailbox.Mailbox) error {
						res, err := m.SetFlags(context.Background(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}})
						if err == nil && res.ModSeq <= told {
							err = fmt.Errorf("mod-sequence %d after %d was told", res.ModSeq, told)
						}
						return err
					})
				},
			})
			require.NoError(t, err)
			require.NotZero(t, told)
			require.Positive(t, report.States)
		})
	}
}

// atTime opens INBOX with a new Store and a clock.
func atTime(fsys faultfs.FS, now func() time.Time, do func(m mailbox.Mailbox) error) (err error) {
	s := maildir.Impatient(&maildir.Store{Root: "/mail", FS: fsys, Host: "h", Now: now})
	defer func() { err = errors.Join(err, s.Close()) }()
	a, err := s.Account(context.Background(), user)
	if err != nil {
		return err
	}
	defer a.Close()
	m, err := a.Open(context.Background(), "INBOX")
	if err != nil {
		return err
	}
	defer m.Close()
	return do(m)
}

// inFolder opens a directory of INBOX.
func inFolder(fsys faultfs.FS, sub string, do func(d faultfs.Dir) error) error {
	d, err := fsys.OpenDir(strings.TrimSuffix("/mail/"+user+"/"+sub, "/"))
	if err != nil {
		return err
	}
	defer d.Close()
	return do(d)
}

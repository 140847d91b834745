package mbox

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// inAccount opens the account of u with a new Store and a clock.
func inAccount(t *testing.T, fsys faultfs.FS, now int64, do func(a mailbox.Account) error) (err error) {
	s := &Store{Root: "/mail/{user}", FS: fsys, Now: func() time.Time { return time.Unix(now, 0) }}
	defer func() { err = errors.Join(err, s.Close()) }()
	a, err := s.Account(t.Context(), "u")
	if err != nil {
		return err
	}
	defer a.Close()
	return do(a)
}

func appendUID(t *testing.T, m mailbox.Mailbox, validity uint32, uid mailbox.UID) error {
	to, _ := mailbox.As[mailbox.UIDAppender](m)
	_, err := to.AppendUID(t.Context(), validity, uid, strings.NewReader("x\r\n"), mailbox.AppendOptions{})
	return err
}

func stateOf(t *testing.T, a mailbox.Account, name string) (mailbox.State, error) {
	m, err := a.Open(t.Context(), name)
	if err != nil {
		return mailbox.State{}, err
	}
	defer m.Close()
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	if err != nil {
		return mailbox.State{}, err
	}
	return ch.State, nil
}

// I11, F02: a UIDVALIDITY that a folder has taken over is given to no other one, whenever the power goes.
func TestI11_ValidityTakenOver(t *testing.T) {
	const now, theirs = 1_700_000_000, 1_800_000_000
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Limit: 200,
		Setup: func(c *faultfs.Crash) error {
			return inAccount(t, c, now, func(a mailbox.Account) error {
				return a.Create(t.Context(), "taker", mailbox.CreateOptions{})
			})
		},
		Op: func(c *faultfs.Crash) error {
			return inAccount(t, c, now, func(a mailbox.Account) error {
				m, err := a.Open(t.Context(), "taker")
				if err != nil {
					return err
				}
				defer m.Close()
				return appendUID(t, m, theirs, 5)
			})
		},
		Check: func(st *faultfs.CrashState) error {
			return inAccount(t, st.FS, theirs, func(a mailbox.Account) error {
				is, err := stateOf(t, a, "taker")
				if err == nil {
					err = a.Create(t.Context(), "other", mailbox.CreateOptions{})
				}
				if err != nil {
					return err
				}
				other, err := stateOf(t, a, "other")
				if err == nil && is.UIDValidity == other.UIDValidity {
					err = fmt.Errorf("two folders have UIDVALIDITY %d", is.UIDValidity)
				}
				return err
			})
		},
	})
	require.NoError(t, err)
	require.Greater(t, report.States, 20)
}

// F04: a UID that could not be given is not the next one: UIDNEXT would go down at the next start.
func TestF04_AppendUIDFails(t *testing.T) {
	for n, failed := int64(1), true; failed; n++ {
		fault := faultfs.NewFault(faultfs.NewCrash(1))
		var left atomic.Int64
		fault.Inject = func(faultfs.Call) error {
			if left.Load() > 0 && left.Add(-1) == 0 {
				return syscall.EIO
			}
			return nil
		}
		var told, next mailbox.State
		require.NoError(t, inAccount(t, fault, 1e9, func(a mailbox.Account) error {
			m, err := a.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			defer m.Close()
			_, err = m.Append(t.Context(), strings.NewReader("first\r\n"), mailbox.AppendOptions{})
			require.NoError(t, err)
			before, err := stateOf(t, a, "INBOX")
			require.NoError(t, err)
			left.Store(n)
			err = appendUID(t, m, before.UIDValidity, 1000)
			failed = left.Swap(0) == 0
			told, _ = stateOf(t, a, "INBOX")
			if told.Messages == 1 {
				require.Error(t, err)
				require.EqualValues(t, 2, told.UIDNext, "call %d", n)
			}
			return nil
		}))
		require.NoError(t, inAccount(t, fault, 1e9, func(a mailbox.Account) (err error) {
			next, err = stateOf(t, a, "INBOX")
			return err
		}))
		require.GreaterOrEqual(t, next.UIDNext, told.UIDNext, "call %d", n)
	}
}

package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// indexes are the implementations of ShareIndex.
func indexes(t *testing.T) map[string]mailbox.ShareIndex {
	files, err := mailbox.OpenShareFiles(nil, filepath.Join(t.TempDir(), "a", "shares"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return map[string]mailbox.ShareIndex{"memory": mailbox.NewShares(), "files": files}
}

// Names that file systems do not bear, or that try to leave their place, are names like others.
var hostileNames = []string{
	"joe", "joe@example.org", "a/b", "..", ".", "../../etc", ".hidden", "100%", "%2F", "a\\b", "c:d", "nul\x00", "anyone", "user=x", "жук", strings.Repeat("x", 240),
}

func TestShareIndex(t *testing.T) {
	for name, x := range indexes(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			owners := func(id mailbox.Identifier, limit int) []string {
				all, err := x.Owners(ctx, id, limit)
				require.NoError(t, err)
				return slices.Sorted(slices.Values(all))
			}
			require.Empty(t, owners("bob", 10))
			require.NoError(t, x.Remove(ctx, "bob", "joe"), "what is not there is removed")
			for _, id := range []mailbox.Identifier{"anyone", "authenticated", "$team", "bob", "user=bob", "anyone@example.org", "a/b", ".."} {
				for i, owner := range hostileNames {
					require.NoError(t, x.Add(ctx, id, owner))
					require.NoError(t, x.Add(ctx, id, owner), "twice is once")
					ok, err := x.Has(ctx, id, owner)
					require.NoError(t, err)
					require.True(t, ok, "%q %q", id, owner)
					require.Len(t, owners(id, 100), i+1)
				}
				require.Equal(t, slices.Sorted(slices.Values(hostileNames)), owners(id, 100))
				require.Len(t, owners(id, 3), 3)
				require.Len(t, owners(id, len(hostileNames)), len(hostileNames))
			}
			ok, err := x.Has(ctx, "carol", "joe")
			require.NoError(t, err)
			require.False(t, ok)
			for _, owner := range hostileNames {
				require.NoError(t, x.Remove(ctx, "bob", owner))
			}
			require.Empty(t, owners("bob", 10))
			require.Len(t, owners("user=bob", 100), len(hostileNames), "others stay")
			ended, cancel := context.WithCancel(ctx)
			cancel()
			_, err = x.Owners(ended, "bob", 1)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, x.Add(ended, "bob", "joe"), context.Canceled)
			require.ErrorIs(t, x.Remove(ended, "bob", "joe"), context.Canceled)
		})
	}
}

// A name that is too long for a file is refused when it is put in, and is not there when it is looked for.
func TestShareFilesLongNames(t *testing.T) {
	x := indexes(t)["files"]
	for n, want := range map[int]bool{250: true, 251: false} { // "user=" and 255 octets in all
		id := mailbox.Identifier(strings.Repeat("x", n))
		err := x.Add(t.Context(), id, "joe")
		require.Equal(t, want, err == nil, "%d: %v", n, err)
		ok, err := x.Has(t.Context(), id, "joe")
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
}

func TestShareFilesFormat(t *testing.T) {
	dir := t.TempDir()
	x, err := mailbox.OpenShareFiles(nil, dir)
	require.NoError(t, err)
	require.NoError(t, x.Add(t.Context(), "bob@example.org", "joe/x"))
	require.NoError(t, x.Add(t.Context(), "$team", "joe"))
	require.NoError(t, x.Close())
	for _, name := range []string{"goniec-shares", "user=bob@example.org/joe%2Fx", "group=team/joe"} {
		_, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
	}
	// What others put there is passed over.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "user=bob@example.org", "%zz"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "user=bob@example.org", "a%2"), nil, 0o600))
	x, err = mailbox.OpenShareFiles(nil, dir)
	require.NoError(t, err)
	owners, err := x.Owners(t.Context(), "bob@example.org", 9)
	require.NoError(t, err)
	require.Equal(t, []string{"joe/x"}, owners)
	require.NoError(t, x.Close())
	// A later format is not touched.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "goniec-shares"), []byte("goniec-shares 2\n"), 0o600))
	_, err = mailbox.OpenShareFiles(nil, dir)
	require.ErrorContains(t, err, "format")
}

// shareState opens a store on a disk and returns what bob sees of joe's.
func onDisk(fsys faultfs.FS, do func(ctx context.Context, st *mailbox.SharedStore, joe, bob mailbox.Account) error) error {
	ctx := context.Background()
	x, err := mailbox.OpenShareFiles(fsys, "/shares")
	if err != nil {
		return err
	}
	defer x.Close()
	md := &maildir.Store{Root: "/mail", FS: fsys, IdleFolders: -1}
	defer md.Close()
	st := mailbox.WithSharing(md, mailbox.Sharing{Index: x})
	joe, err := st.Account(ctx, "joe")
	if err != nil {
		return err
	}
	defer joe.Close()
	bob, err := st.Account(ctx, "bob")
	if err != nil {
		return err
	}
	defer bob.Close()
	return do(ctx, st, joe, bob)
}

func setRights(ctx context.Context, a mailbox.Account, name string, op mailbox.ACLOp, letters string) error {
	r, err := mailbox.ParseRights(letters)
	if err != nil {
		return err
	}
	return mailbox.ChangeACL(ctx, a, name, mailbox.ACLChange{Op: op, Entry: mailbox.ACLEntry{ID: "bob", Rights: r}})
}

// sees returns the rights that bob and carol have in what they are shown.
func sees(fsys faultfs.FS) (all map[string]string, err error) {
	all = make(map[string]string)
	err = onDisk(fsys, func(ctx context.Context, st *mailbox.SharedStore, _, bob mailbox.Account) error {
		carol, err := st.Account(ctx, "carol")
		if err != nil {
			return err
		}
		defer carol.Close()
		return errors.Join(look(ctx, bob, "bob: ", all), look(ctx, carol, "carol: ", all))
	})
	return all, err
}

func look(ctx context.Context, a mailbox.Account, who string, all map[string]string) error {
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		r, err := mailbox.MyRights(ctx, a, info.Name)
		if err != nil {
			return err
		}
		if info.Name != "INBOX" {
			all[who+info.Name] = r.String()
		}
	}
	return nil
}

// shareOps are the changes that are interrupted.
var shareOps = map[string]func(ctx context.Context, joe mailbox.Account) error{
	"first grant": func(ctx context.Context, joe mailbox.Account) error {
		return mailbox.ChangeACL(ctx, joe, "Two", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: mailbox.ACLEntry{ID: "carol", Rights: mailbox.AllRights}})
	},
	"grant": func(ctx context.Context, joe mailbox.Account) error {
		return setRights(ctx, joe, "Two", mailbox.ACLReplace, "lr")
	},
	"more": func(ctx context.Context, joe mailbox.Account) error {
		return setRights(ctx, joe, "One", mailbox.ACLAdd, "wi")
	},
	"less": func(ctx context.Context, joe mailbox.Account) error {
		return setRights(ctx, joe, "One", mailbox.ACLRemove, "r")
	},
	"revoke": func(ctx context.Context, joe mailbox.Account) error {
		return setRights(ctx, joe, "One", mailbox.ACLDelete, "")
	},
	"create below": func(ctx context.Context, joe mailbox.Account) error {
		return joe.Create(ctx, "One/Sub", mailbox.CreateOptions{})
	},
	"delete": func(ctx context.Context, joe mailbox.Account) error { return joe.Delete(ctx, "One") },
	"rename": func(ctx context.Context, joe mailbox.Account) error { return joe.Rename(ctx, "One", "Uno") },
}

func shareSetup(fsys faultfs.FS) error {
	return onDisk(fsys, func(ctx context.Context, _ *mailbox.SharedStore, joe, _ mailbox.Account) error {
		return errors.Join(joe.Create(ctx, "One", mailbox.CreateOptions{}), joe.Create(ctx, "Two", mailbox.CreateOptions{}), setRights(ctx, joe, "One", mailbox.ACLReplace, "lr"))
	})
}

func shareRun(fsys faultfs.FS, op func(context.Context, mailbox.Account) error) error {
	return onDisk(fsys, func(ctx context.Context, _ *mailbox.SharedStore, joe, _ mailbox.Account) error { return op(ctx, joe) })
}

// F02: whatever a power cut leaves, what was acknowledged counts, and bob sees the folders as they were before or as
// they are after: none that is shared is missing in the index, and no right is there that was never given.
func TestF02_SharesSurviveCrashes(t *testing.T) {
	for name, op := range shareOps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := faultfs.NewCrash(1)
			require.NoError(t, shareSetup(c))
			before, err := sees(c)
			require.NoError(t, err)
			require.NoError(t, shareRun(c, op))
			after, err := sees(c)
			require.NoError(t, err)
			limit := 20
			if os.Getenv("GONIEC_LONG") == "1" {
				limit = 2000
			}
			report, err := faultfs.EachCrash(faultfs.CrashPlan{
				Seed: 1, Limit: limit,
				Setup: func(c *faultfs.Crash) error { return shareSetup(c) },
				Op:    func(c *faultfs.Crash) error { return shareRun(c, op) },
				Check: func(s *faultfs.CrashState) error {
					now, err := sees(s.FS)
					if err != nil {
						return err
					}
					// A folder that is made, and whose list is not yet there, is joe's alone: that is as before.
					if !maps.Equal(now, after) && (s.Done || !maps.Equal(now, before)) {
						return fmt.Errorf("they see %v; before %v, after %v, acknowledged %t", now, before, after, s.Done)
					}
					return nil
				},
			})
			require.NoError(t, err)
			t.Logf("%d points, %d states", report.Points, report.States)
		})
	}
}

// F04: any call may fail: what is refused has happened or not, nothing in between, and works when it is tried again.
func TestF04_SharesSurviveFaults(t *testing.T) {
	for name, op := range shareOps {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := faultfs.NewCrash(1)
			require.NoError(t, shareSetup(c))
			before, err := sees(c)
			require.NoError(t, err)
			require.NoError(t, shareRun(c, op))
			after, err := sees(c)
			require.NoError(t, err)
			_, err = faultfs.EachFault(faultfs.FaultPlan{
				Setup: shareSetup,
				Op:    func(fsys faultfs.FS) error { return shareRun(fsys, op) },
				Check: func(s faultfs.FaultRun) error {
					now, err := sees(s.FS)
					if err != nil {
						return err
					}
					if !maps.Equal(now, after) && (s.Err == nil || !maps.Equal(now, before)) {
						return fmt.Errorf("they see %v; before %v, after %v, the error was %v", now, before, after, s.Err)
					}
					return nil
				},
			})
			require.NoError(t, err)
		})
	}
}

// meeting is an index that lets somebody else in before a pair is removed.
type meeting struct {
	mailbox.ShareIndex
	before func()
}

func (m meeting) Remove(ctx context.Context, id mailbox.Identifier, owner string) error {
	m.before()
	return m.ShareIndex.Remove(ctx, id, owner)
}

// Two processes give and take rights at the same time, in the worst order: the index misses nobody who has rights.
func TestSharesOfTwoProcesses(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, raw mailbox.Store, x mailbox.ShareIndex, give, take func(mailbox.Store, mailbox.ShareIndex)){
		// One has seen that nobody is granted anything, and the other grants before the pair is removed.
		"grant before the removal": func(_ *testing.T, raw mailbox.Store, x mailbox.ShareIndex, give, take func(mailbox.Store, mailbox.ShareIndex)) {
			take(raw, meeting{x, sync.OnceFunc(func() { give(raw, x) })})
		},
		// One has put the pair in, and the other takes it out before the list says why it is there.
		"removal before the list": func(_ *testing.T, raw mailbox.Store, x mailbox.ShareIndex, give, take func(mailbox.Store, mailbox.ShareIndex)) {
			once := sync.OnceFunc(func() { take(raw, x) })
			give(mailbox.InterceptStore(raw, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
				if op.Kind == mailbox.OpChangeACL {
					once()
				}
				return next(ctx)
			}), x)
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, x := mailbox.NewMemory(), mailbox.NewShares()
			joe := func(raw mailbox.Store, x mailbox.ShareIndex) mailbox.Account {
				a, err := mailbox.WithSharing(raw, mailbox.Sharing{Index: x}).Account(t.Context(), "joe")
				require.NoError(t, err)
				return a
			}
			for _, folder := range []string{"One", "Two"} {
				require.NoError(t, joe(raw, x).Create(t.Context(), folder, mailbox.CreateOptions{}))
			}
			require.NoError(t, setRights(t.Context(), joe(raw, x), "One", mailbox.ACLReplace, "lr"))
			meet(
				t, raw, x,
				func(raw mailbox.Store, x mailbox.ShareIndex) {
					require.NoError(t, setRights(t.Context(), joe(raw, x), "Two", mailbox.ACLReplace, "lr"))
				},
				func(raw mailbox.Store, x mailbox.ShareIndex) {
					require.NoError(t, setRights(t.Context(), joe(raw, x), "One", mailbox.ACLDelete, ""))
				},
			)
			has, err := x.Has(t.Context(), "bob", "joe")
			require.NoError(t, err)
			require.True(t, has, "Two is shared with bob")
		})
	}
}

// A lost index is had again from the lists; an account that goes leaves nothing in it.
func TestReindexAndForget(t *testing.T) {
	raw := mailbox.NewMemory()
	s := newShared(t, raw, mailbox.Sharing{})
	s.grant("Work", "bob", "lr")
	s.grant("Work", "!$team", "lr")
	users := func(yield func(string, error) bool) { _ = yield("joe", nil) && yield("bob", nil) }

	x := mailbox.NewShares()
	fresh := mailbox.WithSharing(raw, mailbox.Sharing{Index: x, Groups: func(_ context.Context, user string) ([]string, error) {
		return map[string][]string{"carol": {"team"}}[user], nil
	}})
	bob, err := fresh.Account(t.Context(), "bob")
	require.NoError(t, err)
	carol, err := fresh.Account(t.Context(), "carol")
	require.NoError(t, err)
	require.NotContains(t, names(t, bob), work)
	require.NoError(t, fresh.Reindex(t.Context(), iter.Seq2[string, error](users)))
	require.Contains(t, names(t, bob), work)
	require.Contains(t, names(t, carol), work)
	require.ErrorIs(t, fresh.Reindex(t.Context(), func(yield func(string, error) bool) { yield("", context.Canceled) }), context.Canceled)

	require.NoError(t, fresh.Forget(t.Context(), "joe"))
	for _, id := range []mailbox.Identifier{"bob", "$team"} {
		ok, err := x.Has(t.Context(), id, "joe")
		require.NoError(t, err)
		require.False(t, ok)
	}
}

// The index does not grow with what is over.
func TestIndexForgetsWhatIsOver(t *testing.T) {
	x := mailbox.NewShares()
	s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{Index: x})
	has := func() bool {
		ok, err := x.Has(t.Context(), "bob", "joe")
		require.NoError(t, err)
		return ok
	}
	require.NoError(t, s.joe.Create(t.Context(), "Two", mailbox.CreateOptions{}))
	s.grant("Work", "bob", "l")
	s.grant("Two", "bob", "l")
	require.True(t, has())
	require.NoError(t, s.joe.Delete(t.Context(), "Two"))
	require.True(t, has(), "the other folder is shared still")
	s.grant("Work", "bob", "")
	require.False(t, has())
	require.Error(t, mailbox.ChangeACL(t.Context(), s.joe, "absent", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: list(t, "bob l")[0]}))
	require.False(t, has())
}

// BenchmarkListOf100000 is what a user's look for shared folders costs when there are 100,000 users (10,000 in the
// short form) who share something each, and one of them with him.
func BenchmarkListOf100000(b *testing.B) {
	users := 10_000
	if os.Getenv("GONIEC_LONG") == "1" {
		users = 100_000
	}
	dir := b.TempDir()
	for i := range users {
		to := filepath.Join(dir, fmt.Sprintf("user=u%d", i))
		require.NoError(b, os.Mkdir(to, 0o700))
		require.NoError(b, os.WriteFile(filepath.Join(to, fmt.Sprintf("u%d", (i+1)%users)), nil, 0o600))
	}
	x, err := mailbox.OpenShareFiles(nil, dir)
	require.NoError(b, err)
	defer x.Close()
	raw := mailbox.NewMemory()
	owner, err := raw.Account(b.Context(), "u1")
	require.NoError(b, err)
	require.NoError(b, mailbox.ChangeACL(b.Context(), owner, "INBOX", mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: mailbox.ACLEntry{ID: "u0", Rights: mailbox.AllRights}}))
	list := func(b *testing.B, s mailbox.Store, want int) {
		a, err := s.Account(b.Context(), "u0")
		require.NoError(b, err)
		defer a.Close()
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range a.Mailboxes(b.Context()) {
				require.NoError(b, err)
				n++
			}
			require.Equal(b, want, n)
		}
	}
	b.Run("alone", func(b *testing.B) { list(b, raw, 1) })
	b.Run("shared", func(b *testing.B) { list(b, mailbox.WithSharing(raw, mailbox.Sharing{Index: x}), 2) })
}

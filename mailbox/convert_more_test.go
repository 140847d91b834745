package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/mbox"
)

func uidsOf(t *testing.T, a mailbox.Account, name string) (validity uint32, uids []mailbox.UID) {
	t.Helper()
	m, err := a.Open(t.Context(), name)
	require.NoError(t, err)
	defer m.Close()
	ch, err := m.Changes(t.Context(), 0)
	require.NoError(t, err)
	for meta := range ch.Messages {
		uids = append(uids, meta.UID)
	}
	return ch.State.UIDValidity, uids
}

// TestConvertUIDs keeps UIDs, in rows and with gaps, where the target takes several messages at once (Maildir) and where not (mbox).
func TestConvertUIDs(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]mailbox.Store{
		"maildir": &maildir.Store{Root: t.TempDir()},
		"mbox":    &mbox.Store{Root: t.TempDir() + "/{user}"},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := convertSource(t, 300), convertAccount(t, target)
			m, err := from.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			_, err = m.Expunge(t.Context(), mailbox.UIDs(1, 11, 13, 15, 17, 30, 31, 32, 100, 110, 111, 200))
			require.NoError(t, err)
			c := &mailbox.Converter{From: from, To: to, KeepUIDs: true, Verify: true}
			reports, err := c.Run(t.Context())
			require.NoError(t, err)
			for _, rep := range reports {
				require.Equal(t, rep.Messages, rep.KeptUIDs)
				require.Zero(t, rep.Missing)
				require.True(t, rep.Complete())
				wantValidity, want := uidsOf(t, from, rep.From)
				validity, got := uidsOf(t, to, rep.To)
				require.Equal(t, wantValidity, validity)
				require.Equal(t, want, got)
			}
			// A target that has messages of its own can not: that is told.
			other := convertAccount(t, &maildir.Store{Root: t.TempDir()})
			m, err = other.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			a, ok := mailbox.As[mailbox.UIDAppender](m)
			require.True(t, ok)
			_, err = a.AppendUID(t.Context(), 7, 1, strings.NewReader("own\r\n"), mailbox.AppendOptions{})
			require.NoError(t, err)
			c.To, c.Rename = other, func(name string) string { return strings.TrimPrefix(name, "Work/Old") }
			reports, err = c.Run(t.Context())
			require.NoError(t, err)
			require.Zero(t, reports[0].KeptUIDs)
			require.Contains(t, reports[0].Losses, mailbox.Loss{What: "UID", Messages: 287})
			require.Equal(t, 287, reports[0].Verified)
		})
	}
}

// TestConvertLosses: what the target can not keep is in the reports, and does not stop anything; what it can is kept.
func TestConvertLosses(t *testing.T) {
	from := convertAccount(t, mailbox.NewMemory())
	require.NoError(t, from.Create(t.Context(), "Out", mailbox.CreateOptions{SpecialUse: mailbox.UseSent}))
	require.NoError(t, mailbox.Subscribe(t.Context(), from, "INBOX", true))
	m, err := from.Open(t.Context(), "Out")
	require.NoError(t, err)
	require.NoError(t, mailbox.SetAnnotation(t.Context(), m, "/private/comment", []byte("mine")))
	require.NoError(t, mailbox.SetAccountAnnotation(t.Context(), from, "/private/sieve", []byte("keep;")))
	entry := mailbox.ACLEntry{ID: "bob", Rights: mailbox.RightLookup | mailbox.RightRead}
	require.NoError(t, mailbox.ChangeACL(t.Context(), from, "Out", mailbox.ACLChange{Op: mailbox.ACLReplace, Entry: entry}))
	for i := range 30 {
		o := mailbox.AppendOptions{Date: time.Unix(1e9, 0), Flags: mailbox.FlagList{Keywords: []string{fmt.Sprintf("k%02d", i)}}}
		_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprint(i)), o)
		require.NoError(t, err)
	}
	var inbox mailbox.FolderReport
	run := func(to mailbox.Store) (mailbox.Account, mailbox.FolderReport) {
		a := convertAccount(t, to)
		reports, err := (&mailbox.Converter{From: from, To: a, Verify: true}).Run(t.Context())
		require.NoError(t, err)
		require.Len(t, reports, 2)
		require.Equal(t, "Out", reports[1].From)
		require.Equal(t, 30, reports[1].Verified)
		inbox = reports[0]
		return a, reports[1]
	}
	a, rep := run(mailbox.NewMemory())
	require.Empty(t, rep.Losses)
	use, err := mailbox.WithUse(t.Context(), a, mailbox.UseSent)
	require.NoError(t, err)
	require.Equal(t, "Out", use)
	subscribed, err := mailbox.Subscribed(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, []string{"INBOX"}, subscribed)
	m, err = a.Open(t.Context(), "Out")
	require.NoError(t, err)
	entries, err := mailbox.Annotations(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"/private/comment": []byte("mine")}, entries)
	entries, err = mailbox.AccountAnnotations(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"/private/sieve": []byte("keep;")}, entries)
	for _, to := range []mailbox.Account{a, func() mailbox.Account { a, rep = run(&maildir.Store{Root: t.TempDir()}); return a }()} {
		require.NotContains(t, rep.Losses, mailbox.Loss{What: "access control list"})
		list, err := mailbox.GetACL(t.Context(), to, "Out")
		require.NoError(t, err)
		require.Equal(t, mailbox.ACL{entry}, list)
	}
	require.Empty(t, inbox.Losses)

	_, rep = run(&mailbox.Memory{KeywordLimit: 28})
	require.Equal(t, []mailbox.Loss{{What: "keyword k28", Messages: 1}, {What: "keyword k29", Messages: 1}}, rep.Losses)

	_, rep = run(&mbox.Store{Root: t.TempDir() + "/{user}"})
	require.Equal(t, []mailbox.Loss{{What: `special use \Sent`}, {What: "unsubscribed"}, {What: "annotation /private/comment"}, {What: "access control list"}}, rep.Losses)
	require.Equal(t, []mailbox.Loss{{What: "annotation /private/sieve of the account"}}, inbox.Losses)
}

// forgetsSaved keeps nothing of AppendOptions.Saved.
type forgetsSaved struct{ mailbox.Mailbox }

func (m forgetsSaved) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	o.Saved = time.Time{}
	return m.Mailbox.Append(ctx, msg, o)
}

type forgetfulAccount struct{ mailbox.Account }

func (a forgetfulAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	return forgetsSaved{m}, err
}

// TestConvertSaveDates: SAVEDATE is kept where the target can, also with UIDs, and is among the losses where it can not. A copy
// inside an account has a new one (RFC 8514 §3).
func TestConvertSaveDates(t *testing.T) {
	from := convertAccount(t, mailbox.NewMemory())
	m, err := from.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	for i := range 40 {
		o := mailbox.AppendOptions{Date: time.Unix(1e9, 0), Saved: time.Unix(int64(1.5e9-i), 0)}
		meta, err := m.Append(t.Context(), strings.NewReader(fmt.Sprint(i)), o)
		require.NoError(t, err)
		require.EqualValues(t, 1.5e9-i, meta.Saved)
	}
	saved := func(a mailbox.Account, name string) (all []mailbox.Date) {
		m, err := a.Open(t.Context(), name)
		require.NoError(t, err)
		defer m.Close()
		ch, err := m.Changes(t.Context(), 0)
		require.NoError(t, err)
		for meta := range ch.Messages {
			all = append(all, meta.Saved)
			require.EqualValues(t, 1e9, meta.Date)
		}
		return all
	}
	root := t.TempDir()
	for _, keep := range []bool{true, false} {
		for _, target := range []mailbox.Store{
			mailbox.NewMemory(), &mbox.Store{Root: fmt.Sprintf("%s/mbox-%t/{user}", root, keep)},
			&maildir.Store{Root: fmt.Sprintf("%s/maildir-%t", root, keep)},
		} {
			to := convertAccount(t, target)
			reports, err := (&mailbox.Converter{From: from, To: to, KeepUIDs: keep}).Run(t.Context())
			require.NoError(t, err)
			require.Empty(t, slices.DeleteFunc(reports[0].Losses, func(l mailbox.Loss) bool { return l.What == "unsubscribed" }), "%T", target)
			require.Equal(t, saved(from, "INBOX"), saved(to, "INBOX"), "%T", target)
			require.NoError(t, to.Create(t.Context(), "copies", mailbox.CreateOptions{}))
			_, err = mailbox.Copy(t.Context(), to, "INBOX", 0, mailbox.UIDs(1), "copies")
			require.NoError(t, err)
			require.Greater(t, saved(to, "copies")[0], mailbox.Date(1.5e9))
		}
	}
	to := forgetfulAccount{convertAccount(t, mailbox.NewMemory())}
	reports, err := (&mailbox.Converter{From: from, To: to}).Run(t.Context())
	require.NoError(t, err)
	require.Contains(t, reports[0].Losses, mailbox.Loss{What: "save date", Messages: 40})
}

// TestConvertOnce: what a folder has beside its messages is copied once; what its user changes afterwards stays.
func TestConvertOnce(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	from, to := convertSource(t, 3), convertAccount(t, mailbox.NewMemory())
	c := &mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state"}
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	require.NoError(t, mailbox.Subscribe(t.Context(), to, "Work/Old", false))
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	subscribed, err := mailbox.Subscribed(t.Context(), to)
	require.NoError(t, err)
	require.Empty(t, subscribed)
	// A folder that was deleted is made again, with everything.
	require.NoError(t, to.Delete(t.Context(), "Work/Old"))
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	subscribed, err = mailbox.Subscribed(t.Context(), to)
	require.NoError(t, err)
	require.Equal(t, []string{"Work/Old"}, subscribed)
}

// TestConvertNames: two folders that would become one are refused before anything is done; a name that the target can not have
// is told at the end.
func TestConvertNames(t *testing.T) {
	from := convertSource(t, 3)
	require.NoError(t, from.Create(t.Context(), "x.lock", mailbox.CreateOptions{}))
	require.NoError(t, from.Create(t.Context(), "y", mailbox.CreateOptions{}))
	c := &mailbox.Converter{From: from, To: convertAccount(t, &mbox.Store{Root: t.TempDir() + "/{user}"})}
	reports, err := c.Run(t.Context())
	require.ErrorIs(t, err, mailbox.ErrName)
	require.ErrorContains(t, err, "x.lock")
	require.Len(t, reports, 4)
	require.ErrorIs(t, reports[2].Err, mailbox.ErrName)
	require.False(t, reports[2].Complete())
	require.NoError(t, reports[3].Err)
	require.Equal(t, 2, reports[1].Copied)

	c.To = convertAccount(t, &mbox.Store{Inbox: t.TempDir() + "/{user}"}) // it has no folders
	reports, err = c.Run(t.Context())
	require.ErrorContains(t, err, "3 folders were not copied")
	require.Equal(t, 2, reports[0].Copied)

	c.To = convertAccount(t, mailbox.NewMemory())
	c.Rename = func(name string) string { return strings.NewReplacer("x.lock", "z", "y", "z").Replace(name) }
	reports, err = c.Run(t.Context())
	require.ErrorIs(t, err, mailbox.ErrName)
	require.ErrorContains(t, err, `would both become "z"`)
	require.Empty(t, reports)
	require.Empty(t, convertList(t, c.To, "INBOX"))
}

// TestConvertTwice: a second Run with the state file of one that is at work fails, and names it.
func TestConvertTwice(t *testing.T) {
	dir, err := faultfs.OS{}.OpenDir(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	c := &mailbox.Converter{From: convertSource(t, 70), To: convertAccount(t, mailbox.NewMemory()), StateDir: dir, StateName: "state"}
	second := *c
	asked := false
	c.Progress = func(mailbox.Progress) {
		if asked {
			return
		}
		asked = true
		_, err := second.Run(t.Context())
		require.ErrorIs(t, err, mailbox.ErrInUse)
		require.ErrorContains(t, err, fmt.Sprintf("process %d is at work", os.Getpid()))
		dry := second
		dry.DryRun = true
		_, err = dry.Run(t.Context())
		require.NoError(t, err, "who only counts disturbs nobody")
	}
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	require.True(t, asked)
	_, err = second.Run(t.Context())
	require.NoError(t, err)
}

// stingy takes a number of messages, then no more: AppendAll stores them all or none.
type stingy struct {
	fragileAccount
	torn bool // AppendAll stores all and then says that it failed
}

func (a stingy) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	return stingyMailbox{fragileMailbox{m, a.left}, a.torn}, err
}

type stingyMailbox struct {
	fragileMailbox
	torn bool
}

func (m stingyMailbox) AppendAll(ctx context.Context, msgs iter.Seq2[mailbox.NewMessage, error]) ([]mailbox.Meta, error) {
	metas, err := mailbox.AppendAll(ctx, m.Mailbox, func(yield func(mailbox.NewMessage, error) bool) {
		for msg, err := range msgs {
			if *m.left--; *m.left < 0 && err == nil && !m.torn {
				err = errPulled
			}
			if !yield(msg, err) || err != nil {
				return
			}
		}
	})
	if *m.left < 0 && err == nil {
		err = errPulled
	}
	return metas, err
}

// TestConvertResumeTogether is TestConvertResume for targets that take several messages at once; some have stored them
// when they fail, as after a kill.
func TestConvertResumeTogether(t *testing.T) {
	t.Parallel()
	for _, torn := range []bool{false, true} {
		for step := 10; step < 200; step += 17 {
			dir, err := faultfs.NewCrash(1).OpenDir("/")
			require.NoError(t, err)
			from, to := convertSource(t, 150), convertAccount(t, mailbox.NewMemory())
			for runs := 0; ; runs++ {
				left := step + 60*runs
				c := &mailbox.Converter{From: from, To: stingy{fragileAccount{to, &left}, torn}, StateDir: dir, StateName: "state", Verify: true}
				reports, err := c.Run(t.Context())
				if err == nil {
					require.True(t, reports[0].Complete() && reports[1].Complete())
					break
				}
				require.ErrorIs(t, err, errPulled)
				require.Less(t, runs, 30)
			}
			require.Equal(t, convertList(t, from, "INBOX"), convertList(t, to, "INBOX"), "step %d", step)
			require.Equal(t, convertList(t, from, "Work/Old"), convertList(t, to, "Work/Old"), "step %d", step)
		}
	}
}

// TestConvertTornState cuts the last line of the state file: nothing is copied twice. A line that is broken elsewhere is refused.
func TestConvertTornState(t *testing.T) {
	t.Parallel()
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	from, to := convertSource(t, 100), convertAccount(t, mailbox.NewMemory())
	c := &mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state"}
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	whole, err := faultfs.ReadFile(dir, "state", 1<<20)
	require.NoError(t, err)
	last := strings.LastIndex(string(whole), `{"Note"`) // those before were durable before it was begun
	want := slices.Concat(convertList(t, to, "INBOX"), convertList(t, to, "Work/Old"))
	for n := last; n < len(whole); n += 7 {
		for _, tail := range []string{"", "\x00\x00", `{"No`} {
			c.StateName = "torn"
			require.NoError(t, faultfs.WriteFile(dir, "torn", append(slices.Clone(whole[:n]), tail...), 0o600))
			_, err = c.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, slices.Concat(convertList(t, to, "INBOX"), convertList(t, to, "Work/Old")), "cut at %d", n)
		}
	}
}

// TestConvertBrokenState: what is no state file, or is broken in the middle, is refused with its name.
func TestConvertBrokenState(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	c := &mailbox.Converter{From: convertSource(t, 3), To: convertAccount(t, mailbox.NewMemory()), StateDir: dir, StateName: "state"}
	for text, good := range map[string]bool{
		"":                             true,
		"goniec-con":                   true, // torn when it was made
		"\x00\x00\x00":                 true, // and what was longer had not come to the disk
		"goniec-con\x00\x00":           true,
		strings.Repeat("\x00", 200):    true,
		"\x00goniec-convert 1\n":       false,
		"goniec-convert 1\n":           true,
		"goniec-convert 1\n{}\n":       true,
		"goniec-convert 1\n{\"Pid\":":  true,
		"goniec-convert 1\n\x00\x00":   true,
		"goniec-convert 2\n":           false,
		"shopping list\n":              false,
		"goniec-convert 1\n{\n{}\n":    false,
		"goniec-convert 1\n[]\n{}\n":   false,
		"goniec-convert 1\n\x00\n{}\n": false,
		`goniec-convert 1` + "\n" + `{"Note":{"Failed":"0"}}` + "\n{}\n": false,
	} {
		require.NoError(t, faultfs.WriteFile(dir, "state", []byte(text), 0o600))
		_, err := c.Run(t.Context())
		if good {
			require.NoError(t, err, "%q", text)
			continue
		}
		require.ErrorContains(t, err, "not the state of a conversion", "%q", text)
		left, err := faultfs.ReadFile(dir, "state", 1000)
		require.NoError(t, err)
		require.Equal(t, text, string(left), "it is left alone")
	}
}

// TestConvertStateFaults lets each call of the state file fail: Run says so, and the next copies nothing twice (F04).
func TestConvertStateFaults(t *testing.T) {
	from := convertSource(t, 70)
	var to mailbox.Account
	run := func(fsys faultfs.FS) error {
		dir, err := fsys.OpenDir("/")
		if err != nil {
			return err
		}
		defer dir.Close()
		_, err = (&mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state"}).Run(t.Context())
		return err
	}
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Setup: func(faultfs.FS) error {
			to = convertAccount(t, mailbox.NewMemory())
			return nil
		},
		Op: run,
		Check: func(r faultfs.FaultRun) error {
			if err := run(r.FS); err != nil {
				return err
			}
			for _, name := range []string{"INBOX", "Work/Old"} {
				if !slices.Equal(convertList(t, from, name), convertList(t, to, name)) {
					return fmt.Errorf("%s: %d messages after %v", name, len(convertList(t, to, name)), r.Err)
				}
			}
			return nil
		},
	})
	require.NoError(t, err)
	require.Greater(t, report.Runs, 20)
}

// TestConvertFull: the target's quota ends in the middle of a batch; what there is room for is stored, and the rest when there
// is more.
func TestConvertFull(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	from := convertSource(t, 50)
	s := &mailbox.Memory{MessageLimit: 30}
	to := convertAccount(t, s)
	c := &mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state"}
	reports, err := c.Run(t.Context())
	require.ErrorIs(t, err, mailbox.ErrOverQuota)
	require.Equal(t, 30, reports[0].Copied)
	q, ok := mailbox.As[mailbox.QuotaKeeper](to)
	require.True(t, ok)
	require.NoError(t, q.SetQuota(t.Context(), 0, 0))
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, convertList(t, from, "INBOX"), convertList(t, to, "INBOX"))
}

// TestConvertCancelled: the end of the context ends Run, between messages or in one.
func TestConvertCancelled(t *testing.T) {
	from, to := convertSource(t, 300), convertAccount(t, mailbox.NewMemory())
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &mailbox.Converter{From: from, To: to, Progress: func(p mailbox.Progress) {
		if p.Messages > 100 {
			cancel(errors.New("enough"))
		}
	}}
	reports, err := c.Run(ctx)
	require.ErrorContains(t, err, "enough")
	require.Positive(t, reports[0].Copied)
	require.Less(t, reports[0].Copied, 299)
}

// hideMulti hides MultiAppender.
func hideMulti(a mailbox.Account) mailbox.Account {
	left := 1 << 30
	return fragileAccount{a, &left}
}

// BenchmarkConvert copies 300 messages into stores on disk, several at once and one by one.
func BenchmarkConvert(b *testing.B) {
	const n = 300
	from, err := mailbox.NewMemory().Account(b.Context(), "ann")
	require.NoError(b, err)
	m, err := from.Open(b.Context(), "INBOX")
	require.NoError(b, err)
	for i := range n {
		_, err := m.Append(b.Context(), strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("0123456789abcde\r\n", 300))), mailbox.AppendOptions{})
		require.NoError(b, err)
	}
	for _, name := range []string{"maildir", "mbox"} {
		for how, wrap := range map[string]func(mailbox.Account) mailbox.Account{"together": func(a mailbox.Account) mailbox.Account { return a }, "single": hideMulti} {
			b.Run(name+"/"+how, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					var s mailbox.Store = &maildir.Store{Root: b.TempDir()}
					if name == "mbox" {
						s = &mbox.Store{Root: b.TempDir() + "/{user}"}
					}
					to, err := s.Account(b.Context(), "ann")
					require.NoError(b, err)
					_, err = (&mailbox.Converter{From: from, To: wrap(to)}).Run(b.Context())
					require.NoError(b, err)
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "messages/s")
			})
		}
	}
}

package maildir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

const user = "u"

// view is what a user sees of an account.
type view map[string]folderView

type folderView struct {
	validity uint32
	next     mailbox.UID
	id       string
	mails    map[mailbox.UID]string // flags and content
	modSeq   mailbox.ModSeq
	modSeqs  map[mailbox.UID]mailbox.ModSeq
}

// look reads an account with a new Store, as after a restart. Every message must be readable.
func look(fsys faultfs.FS) (view, error) {
	ctx := context.Background()
	s := maildir.Impatient(&maildir.Store{Root: "/mail", FS: fsys, Host: "h"})
	defer s.Close()
	a, err := s.Account(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	defer a.Close()
	return lookAccount(ctx, a)
}

func lookAccount(ctx context.Context, a mailbox.Account) (view, error) {
	v := make(view)
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		f, err := lookFolder(ctx, a, info.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", info.Name, err)
		}
		v[info.Name] = f
	}
	return v, nil
}

func lookFolder(ctx context.Context, a mailbox.Account, name string) (f folderView, err error) {
	m, err := a.Open(ctx, name)
	if err != nil {
		return f, err
	}
	defer m.Close()
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return f, err
	}
	f = folderView{
		ch.State.UIDValidity, ch.State.UIDNext, ch.State.ID,
		map[mailbox.UID]string{},
		ch.State.ModSeq,
		map[mailbox.UID]mailbox.ModSeq{},
	}
	var uids []mailbox.UID
	for meta := range ch.Messages {
		l := meta.Flags.List(ch.State.Keywords)
		f.mails[meta.UID] = fmt.Sprintf("%x %v ", l.System, l.Keywords)
		f.modSeqs[meta.UID] = meta.ModSeq
		uids = append(uids, meta.UID)
		if meta.UID >= f.next {
			return f, fmt.Errorf("UID %d is not below UIDNEXT %d", meta.UID, f.next)
		}
	}
	for msg, err := range m.Read(ctx, mailbox.UIDs(uids...)) {
		if err != nil {
			return f, err
		}
		b, err := io.ReadAll(goniec.NewReader(msg.Content))
		if err != nil {
			return f, err
		}
		f.mails[msg.UID] += string(b)
	}
	return f, nil
}

// texts are a folder's messages without their UIDs.
func (f folderView) texts() []string {
	t := slices.Collect(maps.Values(f.mails))
	slices.Sort(t)
	return t
}

// same reports whether two views hold the same messages, and explains.
func same(x, y view) error {
	if kx, ky := slices.Sorted(maps.Keys(x)), slices.Sorted(maps.Keys(y)); !slices.Equal(kx, ky) {
		return fmt.Errorf("folders %q, not %q", kx, ky)
	}
	for name := range x {
		if tx, ty := x[name].texts(), y[name].texts(); !slices.Equal(tx, ty) {
			return fmt.Errorf("%s has %q, not %q", name, tx, ty)
		}
	}
	return nil
}

// keeps checks that nobody who saw old is fooled by now: UIDVALIDITY and the UIDs of the same
// messages stay, no UID gets another message.
func keeps(old, now view) error {
	for name, o := range old {
		n, ok := now[name]
		if !ok || n.id != o.id {
			continue
		}
		if n.validity != o.validity {
			return fmt.Errorf("%s: UIDVALIDITY %d became %d", name, o.validity, n.validity)
		}
		if n.modSeq < o.modSeq {
			return fmt.Errorf("%s: mod-sequence fell from %d to %d", name, o.modSeq, n.modSeq)
		}
		if n.next < o.next {
			return fmt.Errorf("%s: UIDNEXT fell from %d to %d", name, o.next, n.next)
		}
		for uid, text := range n.mails {
			was, ok := o.mails[uid]
			if uid < o.next && !ok {
				return fmt.Errorf("%s: UID %d was used again", name, uid)
			}
			_, wasBody, _ := strings.Cut(was, "] ")
			if _, body, _ := strings.Cut(text, "] "); ok && body != wasBody {
				return fmt.Errorf("%s: UID %d became another message", name, uid)
			}
			if (!ok || text != was) && n.modSeqs[uid] <= o.modSeq {
				return fmt.Errorf("%s: UID %d changed from %q to %q below mod-sequence %d", name, uid, was, text, o.modSeq)
			}
		}
	}
	return nil
}

// crashOp is an operation that must be there whole or not at all after a crash.
type crashOp struct {
	name     string
	setup    func(t *script)
	run      func(t *script)
	unopened bool // nobody has looked at the account before
	// between judges other states that are allowed: a move may leave both.
	between func(before, after, now view) error
	// judge says what else must hold; done: it was acknowledged.
	judge func(now view, done bool) error
}

// script does things with a Store and keeps the first error.
type script struct {
	ctx   context.Context
	store *maildir.Store
	acc   mailbox.Account
	seen  view // what a client has seen, see the step see
	err   error
}

func run(fsys faultfs.FS, steps func(t *script)) error {
	_, err := runSeen(fsys, steps)
	return err
}

// runSeen also returns what was seen of the account meanwhile, at the end if the steps do not say when.
func runSeen(fsys faultfs.FS, steps func(t *script)) (view, error) {
	s := maildir.Impatient(&maildir.Store{Root: "/mail", FS: fsys, Host: "h"})
	t := &script{ctx: context.Background(), store: s}
	t.acc, t.err = s.Account(t.ctx, user)
	if t.err == nil {
		if steps != nil {
			steps(t)
		}
		t.acc.Close()
	}
	s.Close()
	return t.seen, t.err
}

// see looks as a client of the same process does.
func (t *script) see() {
	if t.err == nil {
		t.seen, t.err = lookAccount(t.ctx, t.acc)
	}
}

func (t *script) unflag(name string, uids ...mailbox.UID) {
	t.in(name, func(m mailbox.Mailbox) error {
		_, err := m.SetFlags(t.ctx, mailbox.UIDs(uids...), mailbox.FlagChange{
			Op: mailbox.FlagsRemove, Flags: mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"new"}},
		})
		return err
	})
}

func (t *script) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *script) in(name string, do func(m mailbox.Mailbox) error) {
	if t.err != nil {
		return
	}
	m, err := t.acc.Open(t.ctx, name)
	if err == nil {
		err = do(m)
		m.Close()
	}
	t.keep(err)
}

func (t *script) deliver(text string) {
	if t.err == nil {
		t.keep(t.store.Deliver(t.ctx, user, "", strings.NewReader(text), mailbox.AppendOptions{}))
	}
}

func (t *script) appendTo(name string, texts ...string) {
	t.in(name, func(m mailbox.Mailbox) error {
		_, err := mailbox.AppendAll(t.ctx, m, messages(texts...))
		return err
	})
}

func messages(texts ...string) iter.Seq2[mailbox.NewMessage, error] {
	return func(yield func(mailbox.NewMessage, error) bool) {
		for _, text := range texts {
			o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Draft, Keywords: []string{"k"}}}
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(text), Options: o}, nil) {
				return
			}
		}
	}
}

func (t *script) flag(name string, uids ...mailbox.UID) {
	t.in(name, func(m mailbox.Mailbox) error {
		_, err := m.SetFlags(t.ctx, mailbox.UIDs(uids...), mailbox.FlagChange{
			Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"new"}},
		})
		return err
	})
}

func (t *script) expunge(name string, uids ...mailbox.UID) {
	t.in(name, func(m mailbox.Mailbox) error {
		_, err := m.Expunge(t.ctx, mailbox.UIDs(uids...))
		return err
	})
}

func (t *script) create(names ...string) {
	for _, n := range names {
		if t.err == nil {
			t.keep(t.acc.Create(t.ctx, n, mailbox.CreateOptions{}))
		}
	}
}

func (t *script) visit(name string) {
	t.in(name, func(m mailbox.Mailbox) error { _, err := m.Changes(t.ctx, 0); return err })
}

// last returns the UID of the fourth message in INBOX.
func (t *script) last() (last mailbox.UID) {
	t.in("INBOX", func(m mailbox.Mailbox) error {
		ch, err := m.Changes(t.ctx, 0)
		if err == nil && ch.State.Messages != 4 {
			err = errors.New("not shown yet: the disk is full")
		}
		if err != nil {
			return err
		}
		for meta := range ch.Messages {
			last = meta.UID
		}
		return nil
	})
	return last
}

func three(t *script) { t.appendTo("INBOX", "one\r\n", "two\r\n", "three\r\n") }

var crashOps = []crashOp{
	{name: "first delivery", unopened: true, run: func(t *script) { t.deliver(hello) }},
	{name: "delivery", setup: three, run: func(t *script) { t.deliver(hello) }},
	{name: "open after delivery", unopened: true, setup: func(t *script) { three(t); t.deliver(hello); t.deliver("b\r\n") }, run: func(t *script) { t.visit("INBOX") }},
	{name: "append", setup: three, run: func(t *script) { t.appendTo("INBOX", hello) }},
	{name: "flag one", setup: three, run: func(t *script) { t.flag("INBOX", 2) }},
	{name: "expunge one", setup: three, run: func(t *script) { t.expunge("INBOX", 2) }},
	{name: "append three", setup: three, run: func(t *script) { t.appendTo("INBOX", "a\r\n", "b\n", "c\r\n") }},
	{name: "flag three", setup: three, run: func(t *script) { t.flag("INBOX", 1, 2, 3) }},
	{name: "append and see", setup: three, run: func(t *script) { t.appendTo("INBOX", hello); t.see() }},
	{name: "deliver and see", setup: three, run: func(t *script) { t.deliver(hello); t.see() }},
	{name: "flag and back", setup: func(t *script) { three(t); t.see() }, run: func(t *script) { t.flag("INBOX", 2); t.see(); t.unflag("INBOX", 2) }, between: func(_, _, _ view) error { return nil }},
	{name: "expunge and see", setup: three, run: func(t *script) { t.expunge("INBOX", 3); t.see() }},
	// What was delivered a moment ago has an old name in new/ that a crash may bring back.
	{name: "open and flag", setup: func(t *script) { three(t); t.deliver(hello) }, unopened: true, run: func(t *script) { t.flag("INBOX", t.last()) }},
	{name: "open and expunge", setup: func(t *script) { three(t); t.deliver(hello) }, unopened: true, run: func(t *script) { t.expunge("INBOX", t.last()) }},
	{name: "open and move", setup: func(t *script) { three(t); t.create("A"); t.deliver(hello) }, unopened: true, run: func(t *script) { t.transfer(mailbox.Move, "A", t.last()) }, between: bothHave},
	// O01: what QUIT of a POP3 session does; I15: MULTIAPPEND is "append three".
	{name: "expunge three", setup: three, run: func(t *script) { t.expunge("INBOX", 1, 2, 3) }},
	{name: "copy", setup: func(t *script) { three(t); t.create("A") }, run: func(t *script) { t.transfer(mailbox.Copy, "A", 1, 3) }},
	{name: "move one", setup: func(t *script) { three(t); t.create("A") }, run: func(t *script) { t.transfer(mailbox.Move, "A", 2) }, between: bothHave},
	{name: "move three", setup: func(t *script) { three(t); t.create("A") }, run: func(t *script) { t.transfer(mailbox.Move, "A", 1, 2, 3) }, between: bothHave},
	{name: "deliver with quota", setup: func(t *script) { three(t); t.keep(t.acc.(*maildir.Account).SetQuota(t.ctx, 1<<20, 10)) }, run: func(t *script) { t.deliver(hello) }},
	{name: "create", setup: three, run: func(t *script) { t.create("A/B") }},
	{name: "delete", setup: func(t *script) { t.create("A", "A/B"); t.appendTo("A", hello) }, run: func(t *script) { t.keep(t.acc.Delete(t.ctx, "A")) }},
	{name: "rename", setup: func(t *script) { t.create("A"); t.appendTo("A", hello) }, run: func(t *script) { t.keep(t.acc.Rename(t.ctx, "A", "X")) }},
	{name: "rename tree", setup: func(t *script) { t.create("A", "A/B", "A/C"); t.appendTo("A/B", hello) }, run: func(t *script) { t.keep(t.acc.Rename(t.ctx, "A", "X/Y")) }},
	{name: "subscribe", run: func(t *script) { t.keep(mailbox.Subscribe(t.ctx, t.acc, "A", true)) }},
}

func (t *script) transfer(how func(context.Context, mailbox.Account, string, uint32, mailbox.UIDSet, string) (mailbox.CopyResult, error), to string, uids ...mailbox.UID) {
	if t.err == nil {
		_, err := how(t.ctx, t.acc, "INBOX", 0, mailbox.UIDs(uids...), to)
		t.keep(err)
	}
}

// bothHave allows what a move may leave: all of it in the destination, and the source as before.
func bothHave(before, after, now view) error {
	want := view{"INBOX": before["INBOX"], "A": after["A"]}
	if err := same(now, want); err != nil {
		return fmt.Errorf("neither before, after, nor in both: %w", err)
	}
	return nil
}

// F02: every state that a power cut can leave of each operation holds it whole or not at all; once it
// was acknowledged, whole; and no UID means another message than before.
func TestF02_CrashStates(t *testing.T) {
	for _, op := range crashOps {
		for model, name := range map[faultfs.Model]string{faultfs.POSIX: "posix", faultfs.Ordered: "ordered"} {
			t.Run(op.name+"/"+name, func(t *testing.T) { t.Parallel(); crashTest(t, op, model) })
		}
	}
}

func crashTest(t *testing.T, op crashOp, model faultfs.Model) {
	before, after := outcome(t, op)
	var was, seen view
	limit := 12
	if long {
		limit = 3000
	}
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Model: model, Limit: limit,
		Setup: func(c *faultfs.Crash) (err error) {
			if err = run(c, op.setup); err == nil && !op.unopened {
				was, err = look(c)
			}
			return err
		},
		Op: func(c *faultfs.Crash) (err error) { seen, err = runSeen(c, op.run); return err },
		Check: func(s *faultfs.CrashState) error {
			known := was
			if s.Done && seen != nil {
				known = seen
			}
			return checkCrash(op, before, after, known, s)
		},
	})
	require.NoError(t, err)
	t.Logf("%d points, %d states, %d sampled", report.Points, report.States, report.Sampled)
}

// outcome returns what an account looks like before and after an operation.
func outcome(t *testing.T, op crashOp) (before, after view) {
	t.Helper()
	c := faultfs.NewCrash(1)
	require.NoError(t, run(c, op.setup))
	before, err := look(c)
	require.NoError(t, err)
	c = faultfs.NewCrash(1)
	require.NoError(t, run(c, op.setup))
	require.NoError(t, run(c, op.run))
	after, err = look(c)
	require.NoError(t, err)
	return before, after
}

func checkCrash(op crashOp, before, after, was view, s *faultfs.CrashState) error {
	now, err := look(s.FS)
	if err != nil {
		return err
	}
	if err := wholeOrAbsent(op, before, after, now, s.Done); err != nil {
		return err
	}
	if err := keeps(was, now); err != nil {
		return err
	}
	if op.judge != nil {
		if err := op.judge(now, s.Done); err != nil {
			return err
		}
	}
	// The next operations work, and what they promise counts from what was seen now.
	if err := run(s.FS, func(t *script) { t.deliver("later\r\n"); t.appendTo("INBOX", "last\r\n") }); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	later, err := look(s.FS)
	if err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	if n := len(later["INBOX"].mails) - len(now["INBOX"].mails); n != 2 {
		return fmt.Errorf("afterwards: %d new messages, not 2", n)
	}
	return keeps(now, later)
}

func wholeOrAbsent(op crashOp, before, after, now view, done bool) error {
	asAfter := same(now, after)
	if asAfter == nil {
		return nil
	}
	if done {
		return fmt.Errorf("acknowledged, and yet: %w", asAfter)
	}
	asBefore := same(now, before)
	if asBefore == nil {
		return nil
	}
	if op.between != nil {
		return op.between(before, after, now)
	}
	return errors.Join(fmt.Errorf("not as before: %w", asBefore), fmt.Errorf("not as after: %w", asAfter))
}

// F04: whatever call of an operation fails, and with whatever error: nothing is acknowledged that
// is not there, nothing is left open or locked, the operation is there whole or not at all, and the next one works.
func TestF04_FailingCalls(t *testing.T) {
	for _, op := range crashOps {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persist=%v", op.name, persist), func(t *testing.T) { t.Parallel(); faultTest(t, op, persist) })
		}
	}
}

func faultTest(t *testing.T, op crashOp, persist bool) {
	before, after := outcome(t, op)
	var errs []error // all
	switch {
	case long:
	case persist:
		errs = []error{syscall.ENOSPC}
	default:
		errs = []error{syscall.EIO, syscall.EMFILE, faultfs.Half{Err: syscall.ENOSPC}}
	}
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Persist: persist, Errors: errs,
		Setup: func(fsys faultfs.FS) error { return run(fsys, op.setup) },
		Op:    func(fsys faultfs.FS) error { return run(fsys, op.run) },
		Check: func(r faultfs.FaultRun) error {
			return checkCrash(op, before, after, nil, &faultfs.CrashState{FS: r.FS.(*faultfs.Crash), Done: r.Err == nil})
		},
	})
	require.NoError(t, err)
	t.Logf("%d runs", report.Runs)
}

// F02: the index may lose the end that tells of new messages. They keep their UIDs, and no mod-sequence that was told is given
// again, also when the clock has gone back meanwhile.
func TestF02_IndexLosesItsEnd(t *testing.T) {
	root := fastDir(t)
	now := time.Unix(1_700_000_000, 0)
	visit := func(do func(m mailbox.Mailbox)) {
		s := &maildir.Store{Root: root, Now: func() time.Time { return now }}
		defer s.Close()
		_, m := open(t, s, "u", "INBOX")
		defer m.Close()
		do(m)
	}
	add := func(m mailbox.Mailbox) (meta mailbox.Meta) {
		meta, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
		return meta
	}
	index := filepath.Join(root, "u", "goniec-index")
	var before, after []byte
	var told mailbox.Meta
	visit(func(m mailbox.Mailbox) { add(m) })
	before, err := os.ReadFile(index)
	require.NoError(t, err)
	now = now.Add(time.Minute)
	visit(func(m mailbox.Mailbox) { told = add(m) })
	after, err = os.ReadFile(index)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(after, before))
	now = now.Add(-time.Minute)
	for cut := len(before); cut < len(after); cut += 7 {
		require.NoError(t, os.WriteFile(index, after[:cut], 0o600))
		visit(func(m mailbox.Mailbox) {
			metas, state := list(t, m)
			require.Len(t, metas, 2)
			require.Equal(t, told.UID, metas[1].UID)
			require.GreaterOrEqual(t, state.ModSeq, told.ModSeq, "cut at %d of %d", cut, len(after))
			res, err := m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}})
			require.NoError(t, err)
			require.Greater(t, res.ModSeq, told.ModSeq)
			_, err = m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{Op: mailbox.FlagsRemove, Flags: mailbox.FlagList{System: mailbox.Flagged}})
			require.NoError(t, err)
		})
	}
}

// F02: a power cut leaves the annotations as before or as after, and after once they were acknowledged.
func TestF02_MetadataCrash(t *testing.T) {
	annotate := func(fsys faultfs.FS, value string) error {
		return run(fsys, func(t *script) {
			t.in("INBOX", func(m mailbox.Mailbox) error {
				return mailbox.SetAnnotation(t.ctx, m, "/private/comment", []byte(value))
			})
			t.keep(mailbox.SetAccountAnnotation(t.ctx, t.acc, "/private/comment", []byte(value)))
		})
	}
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Limit: 25,
		Setup: func(c *faultfs.Crash) error { return annotate(c, "before") },
		Op:    func(c *faultfs.Crash) error { return annotate(c, "after") },
		Check: func(s *faultfs.CrashState) error { return checkAnnotations(s.FS, s.Done) },
	})
	require.NoError(t, err)
	t.Logf("%d points, %d states", report.Points, report.States)
	faults, err := faultfs.EachFault(faultfs.FaultPlan{
		Setup: func(fsys faultfs.FS) error { return annotate(fsys, "before") },
		Op:    func(fsys faultfs.FS) error { return annotate(fsys, "after") },
		Check: func(r faultfs.FaultRun) error {
			if err := checkAnnotations(r.FS, r.Err == nil); err != nil {
				return err
			}
			if err := annotate(r.FS, "after"); err != nil {
				return fmt.Errorf("afterwards: %w", err)
			}
			return checkAnnotations(r.FS, true)
		},
	})
	require.NoError(t, err)
	t.Logf("%d runs with a fault", faults.Runs)
}

func checkAnnotations(fsys faultfs.FS, done bool) error {
	var folder, account map[string][]byte
	err := run(fsys, func(t *script) {
		t.in("INBOX", func(m mailbox.Mailbox) (err error) {
			folder, err = mailbox.Annotations(t.ctx, m)
			return err
		})
		var err error
		account, err = mailbox.AccountAnnotations(t.ctx, t.acc)
		t.keep(err)
	})
	if err != nil {
		return err
	}
	for _, all := range []map[string][]byte{folder, account} {
		if got := string(all["/private/comment"]); len(all) != 1 || got != "after" && (done || got != "before") {
			return fmt.Errorf("annotations %q, done %v", all, done)
		}
	}
	return nil
}

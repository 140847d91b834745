package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// CrashSuite proves that a store on disk keeps its promises through power cuts and failing calls:
// an operation that was acknowledged is there, one that was not is there or not for each message,
// nothing else is touched, and no UID comes to mean another message.
type CrashSuite struct {
	// Open opens the store on a file system, which is empty the first time and later what a crash
	// has left. When the store is an io.Closer it is closed.
	Open func(fsys faultfs.FS) (mailbox.Store, error)
	// User is the account; "" means "alice@example.org".
	User string
	// Lacks names what the store can not do; operations that need it are left out.
	Lacks Lack
	// Limit bounds the states tried at each point of the cut; see faultfs.CrashPlan. Zero means 100.
	Limit int
	// Model is what directories survive; the zero value is POSIX.
	Model faultfs.Model
}

// TestCrash runs the crash suite over a store that can do everything.
func TestCrash(t *testing.T, open func(fsys faultfs.FS) (mailbox.Store, error)) {
	t.Helper()
	CrashSuite{Open: open}.Run(t)
}

// crashOperation is one operation of the suite, on the account that crashSetup made.
type crashOperation struct {
	name  string
	needs Lack
	run   func(d *disk) error
}

var crashOperations = []crashOperation{
	{"Append", 0, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			flags := mailbox.FlagList{System: mailbox.Seen}
			_, err := m.Append(d.ctx, strings.NewReader(crashMessage("new")), mailbox.AppendOptions{Flags: flags})
			return err
		})
	}},
	{"AppendLarge", 0, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			_, err := m.Append(d.ctx, strings.NewReader(crashMessage("large")+strings.Repeat("0123456789abcde\r\n", 600)), mailbox.AppendOptions{})
			return err
		})
	}},
	{"AppendAll", 0, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			_, err := mailbox.AppendAll(d.ctx, m, newMessages(
				mailbox.NewMessage{Msg: strings.NewReader(crashMessage("first"))},
				mailbox.NewMessage{Msg: strings.NewReader(crashMessage("second"))}))
			return err
		})
	}},
	{"DeliverAll", LacksFolders, func(d *disk) error {
		to := []mailbox.Target{{User: d.user}, {User: d.user, Name: "Work"}}
		return errors.Join(mailbox.DeliverAll(d.ctx, d.store, to, strings.NewReader(crashMessage("mail")), mailbox.AppendOptions{})...)
	}},
	{"SetFlags", LacksFlags, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			_, err := m.SetFlags(d.ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}})
			return err
		})
	}},
	{"SetKeyword", LacksFlags | LacksKeywords, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			_, err := m.SetFlags(d.ctx, mailbox.UIDs(d.uids["INBOX"][1]),
				mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{Keywords: []string{"$Label1"}}})
			return err
		})
	}},
	{"Expunge", LacksExpunge, func(d *disk) error {
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			_, err := m.Expunge(d.ctx, mailbox.UIDs(d.uids["INBOX"][0], d.uids["INBOX"][2]))
			return err
		})
	}},
	{"Copy", LacksFolders, func(d *disk) error {
		_, err := mailbox.Copy(d.ctx, d.account, "INBOX", 0, mailbox.UIDs(d.uids["INBOX"][:2]...), "Work")
		return err
	}},
	{"Move", LacksFolders | LacksExpunge, func(d *disk) error {
		_, err := mailbox.Move(d.ctx, d.account, "INBOX", 0, mailbox.UIDs(d.uids["INBOX"][:2]...), "Work")
		return err
	}},
	{"Create", LacksFolders, func(d *disk) error { return d.account.Create(d.ctx, "New/Folder", mailbox.CreateOptions{}) }},
	{"Delete", LacksFolders, func(d *disk) error { return d.account.Delete(d.ctx, "Work") }},
	{"Rename", LacksFolders, func(d *disk) error { return d.account.Rename(d.ctx, "Work", "Play") }},
}

// crashMessage is a message whose text is its name.
func crashMessage(name string) string {
	return "Subject: " + name + "\r\n\r\nThis is " + name + ".\r\n"
}

// disk is the store open on a file system.
type disk struct {
	ctx     context.Context
	user    string
	store   mailbox.Store
	account mailbox.Account
	uids    map[string][]mailbox.UID // of the setup
}

func (s CrashSuite) open(fsys faultfs.FS, uids map[string][]mailbox.UID) (*disk, error) {
	d := &disk{ctx: context.Background(), user: s.User, uids: uids}
	var err error
	if d.store, err = s.Open(fsys); err != nil {
		return nil, err
	}
	if d.account, err = d.store.Account(d.ctx, s.User); err != nil {
		d.closeStore()
		return nil, err
	}
	return d, nil
}

func (d *disk) closeStore() error {
	if c, ok := d.store.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (d *disk) close() error { return errors.Join(d.account.Close(), d.closeStore()) }

// in opens a folder for one operation.
func (d *disk) in(name string, do func(mailbox.Mailbox) error) error {
	m, err := d.account.Open(d.ctx, name)
	if err != nil {
		return err
	}
	return errors.Join(do(m), m.Close())
}

// on opens the store on a file system for one operation.
func (s CrashSuite) on(fsys faultfs.FS, uids map[string][]mailbox.UID, do func(*disk) error) error {
	d, err := s.open(fsys, uids)
	if err != nil {
		return err
	}
	return errors.Join(do(d), d.close())
}

// setup makes the account that operations work on.
func (s CrashSuite) setup(d *disk) error {
	folders := []string{"INBOX"}
	if s.Lacks&LacksFolders == 0 {
		folders = append(folders, "Work", "Work/Sub")
	}
	for _, name := range folders {
		if name != "INBOX" {
			if err := d.account.Create(d.ctx, name, mailbox.CreateOptions{}); err != nil {
				return err
			}
		}
		for i := range 3 {
			err := d.in(name, func(m mailbox.Mailbox) error {
				meta, err := m.Append(d.ctx, strings.NewReader(crashMessage(fmt.Sprintf("%s %d", name, i))), mailbox.AppendOptions{})
				d.uids[name] = append(d.uids[name], meta.UID)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Run runs every operation through Crashes and Faults.
func (s CrashSuite) Run(t *testing.T) {
	t.Helper()
	s.Crashes(t)
	s.Faults(t)
}

// Crashes cuts the power before and after each call of every operation (F02), by faultfs.EachCrash.
func (s CrashSuite) Crashes(t *testing.T) {
	t.Helper()
	s.each(t, "F02_Crash", func(t *testing.T, s CrashSuite, op crashOperation) {
		report, err := s.crash(op)
		require.NoError(t, err)
		t.Logf("%d points, %d states, %d points sampled", report.Points, report.States, report.Sampled)
	})
}

// Faults makes each call of every operation fail in turn, with each error (F04), by faultfs.EachFault. The
// store must leave no handle open when it is closed.
func (s CrashSuite) Faults(t *testing.T) {
	t.Helper()
	s.each(t, "F04_Fault", func(t *testing.T, s CrashSuite, op crashOperation) {
		report, err := s.fault(op)
		require.NoError(t, err)
		t.Logf("%d failed calls", report.Runs)
	})
}

func (s CrashSuite) each(t *testing.T, prefix string, run func(*testing.T, CrashSuite, crashOperation)) {
	for _, op := range crashOperations {
		if op.needs&s.Lacks == 0 {
			t.Run(prefix+op.name, func(t *testing.T) { run(t, s.defaults(), op) })
		}
	}
}

func (s CrashSuite) defaults() CrashSuite {
	if s.User == "" {
		s.User = "alice@example.org"
	}
	if s.Limit == 0 {
		s.Limit = 100
	}
	return s
}

// expected runs an operation on an undisturbed disk and returns the account before and after it.
func (s CrashSuite) expected(op crashOperation) (before, after tree, err error) {
	fsys, uids := faultfs.NewCrash(1), make(map[string][]mailbox.UID)
	err = s.on(fsys, uids, s.setup)
	if err == nil {
		err = s.on(fsys, uids, func(d *disk) (err error) { before, err = d.tree(); return err })
	}
	if err == nil {
		err = s.on(fsys, uids, op.run)
	}
	if err == nil {
		err = s.on(fsys, uids, func(d *disk) (err error) { after, err = d.tree(); return err })
	}
	return before, after, err
}

func (s CrashSuite) crash(op crashOperation) (faultfs.CrashReport, error) {
	before, after, err := s.expected(op)
	if err != nil {
		return faultfs.CrashReport{}, err
	}
	uids := make(map[string][]mailbox.UID)
	var start tree
	return faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Model: s.Model, Limit: s.Limit,
		Setup: func(c *faultfs.Crash) error {
			clear(uids)
			return s.on(c, uids, func(d *disk) (err error) {
				if err = s.setup(d); err == nil {
					start, err = d.tree()
				}
				return err
			})
		},
		Op: func(c *faultfs.Crash) error {
			return s.on(c, uids, func(d *disk) error {
				if err := op.run(d); err != nil {
					return err
				}
				c.Mark("acknowledged")
				return nil
			})
		},
		Check: func(st *faultfs.CrashState) error {
			return s.check(st.FS, start, before, after, st.Marked("acknowledged"))
		},
	})
}

func (s CrashSuite) fault(op crashOperation) (faultfs.FaultReport, error) {
	before, after, err := s.expected(op)
	if err != nil {
		return faultfs.FaultReport{}, err
	}
	uids := make(map[string][]mailbox.UID)
	var start tree
	return faultfs.EachFault(faultfs.FaultPlan{
		Setup: func(fsys faultfs.FS) error {
			clear(uids)
			return s.on(fsys, uids, func(d *disk) (err error) {
				if err = s.setup(d); err == nil {
					start, err = d.tree()
				}
				return err
			})
		},
		Op: func(fsys faultfs.FS) error {
			d, err := s.open(fsys, uids)
			if err != nil {
				return err
			}
			err = op.run(d) // an error of close takes nothing back that was acknowledged
			_ = d.close()
			return err
		},
		Check: func(r faultfs.FaultRun) error {
			return s.check(r.FS, start, before, after, r.Err == nil)
		},
	})
}

// check opens the store on what is left and compares it with what may be there.
func (s CrashSuite) check(fsys faultfs.FS, start, before, after tree, acknowledged bool) error {
	var first tree
	err := s.on(fsys, nil, func(d *disk) (err error) { first, err = d.tree(); return err })
	if err != nil {
		return fmt.Errorf("open what is left: %w", err)
	}
	if err := first.between(before, after, acknowledged); err != nil {
		return err
	}
	if err := first.sameUIDs(start); err != nil {
		return err
	}
	return s.checkNext(fsys, first)
}

// checkNext: the store works on, with UIDs above all that there were.
func (s CrashSuite) checkNext(fsys faultfs.FS, first tree) error {
	return s.on(fsys, nil, func(d *disk) error {
		again, err := d.tree()
		if err != nil {
			return err
		}
		if err := again.sameUIDs(first); err != nil {
			return fmt.Errorf("opened again: %w", err)
		}
		return d.in("INBOX", func(m mailbox.Mailbox) error {
			meta, err := m.Append(d.ctx, strings.NewReader(crashMessage("afterwards")), mailbox.AppendOptions{})
			if err != nil {
				return fmt.Errorf("append afterwards: %w", err)
			}
			if next := again["INBOX"].next; meta.UID < next {
				return fmt.Errorf("append gave UID %d, UIDNEXT was %d", meta.UID, next)
			}
			return nil
		})
	})
}

// tree is an account as a client sees it.
type tree map[string]leafFolder

type leafFolder struct {
	validity uint32
	next     mailbox.UID
	messages map[string]leafMessage // by text: in the suite all differ
}

type leafMessage struct {
	uid   mailbox.UID
	flags string
}

func (d *disk) tree() (tree, error) {
	all := make(tree)
	for info, err := range d.account.Mailboxes(d.ctx) {
		if err != nil {
			return nil, err
		}
		if info.NoSelect {
			continue
		}
		err := d.in(info.Name, func(m mailbox.Mailbox) (err error) {
			all[info.Name], err = d.leaf(m)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", info.Name, err)
		}
	}
	return all, nil
}

func (d *disk) leaf(m mailbox.Mailbox) (leafFolder, error) {
	ch, err := m.Changes(d.ctx, 0)
	if err != nil {
		return leafFolder{}, err
	}
	f := leafFolder{ch.State.UIDValidity, ch.State.UIDNext, make(map[string]leafMessage)}
	for msg, err := range m.Read(d.ctx, mailbox.AllUIDs()) {
		if err != nil {
			return f, err
		}
		text, err := io.ReadAll(io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
		if err != nil {
			return f, err
		}
		if _, twice := f.messages[string(text)]; twice {
			return f, fmt.Errorf("message twice in a folder: %.40q", text)
		}
		list := msg.Flags.List(ch.State.Keywords)
		slices.Sort(list.Keywords)
		f.messages[string(text)] = leafMessage{msg.UID, fmt.Sprint(list.System, list.Keywords)}
	}
	return f, nil
}

// between checks that every folder and message is as it was before or as it is after the operation;
// once that was acknowledged, as after.
func (t tree) between(before, after tree, acknowledged bool) error {
	if acknowledged {
		before = after
	}
	for name := range t {
		if _, ok := before[name]; !ok && !hasFolder(after, name) && !isParent(after, name) {
			return fmt.Errorf("folder %q came from nowhere", name)
		}
	}
	for name := range before {
		if hasFolder(after, name) && !hasFolder(t, name) {
			return fmt.Errorf("folder %q is lost", name)
		}
	}
	if err := t.messagesFrom(before, after); err != nil {
		return err
	}
	for name, f := range after {
		for text, want := range f.messages {
			was, old := before[name].messages[text]
			got, there := t[name].messages[text]
			switch {
			case old && !there:
				return fmt.Errorf("%s: lost %.40q", name, text)
			case there && got.flags != want.flags && (!old || got.flags != was.flags):
				return fmt.Errorf("%s: %.40q has flags %s, not %s", name, text, got.flags, want.flags)
			}
			if !t.anywhere(text) && before.anywhere(text) {
				return fmt.Errorf("%.40q is in no folder", text)
			}
		}
	}
	return nil
}

// messagesFrom checks that each message is one that may be in its folder: never a part of one.
func (t tree) messagesFrom(before, after tree) error {
	for name, f := range t {
		for text := range f.messages {
			_, old := before[name].messages[text]
			_, new := after[name].messages[text]
			if !old && !new {
				return fmt.Errorf("%s: a message that nobody stored there: %.60q", name, text)
			}
		}
	}
	return nil
}

func hasFolder(t tree, name string) bool { _, ok := t[name]; return ok }

func isParent(t tree, name string) bool {
	for other := range t {
		if strings.HasPrefix(other, name+"/") {
			return true
		}
	}
	return false
}

func (t tree) anywhere(text string) bool {
	for _, f := range t {
		if _, ok := f.messages[text]; ok {
			return true
		}
	}
	return false
}

// sameUIDs checks that under one UIDVALIDITY a UID still means what it meant, and UIDNEXT did not
// go down.
func (t tree) sameUIDs(earlier tree) error {
	for name, f := range t {
		was, ok := earlier[name]
		if !ok || was.validity != f.validity {
			continue
		}
		if f.next < was.next {
			return fmt.Errorf("%s: UIDNEXT went from %d to %d", name, was.next, f.next)
		}
		for text, m := range f.messages {
			old, known := was.messages[text]
			if known && old.uid != m.uid {
				return fmt.Errorf("%s: %.40q had UID %d and has %d", name, text, old.uid, m.uid)
			}
			if !known && m.uid < was.next {
				return fmt.Errorf("%s: UID %d is used again for %.40q", name, m.uid, text)
			}
		}
	}
	return nil
}

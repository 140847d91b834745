package queuetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/queue"
)

// Closer is a store on files.
type Closer interface {
	queue.Store
	io.Closer
}

// OpenFunc opens a store on a file system, always in the same place.
type OpenFunc func(fsys faultfs.FS) (Closer, error)

// IDs of the messages that are queued before an operation, and of those that operations store.
const (
	idOne   = "0000000000A1"
	idTwo   = "0000000000A2"
	idLarge = "0000000000A3"
	idNew   = "0000000000B1"
	idNext  = "0000000000C1"
)

func putAs(s queue.Store, id string, m queue.Message) error {
	m.Envelope.ID = id
	got, err := s.Put(context.Background(), m)
	if err == nil && string(got) != id {
		err = fmt.Errorf("message got the ID %s, not %s", got, id)
	}
	return err
}

// fill queues what is there before an operation.
func fill(s queue.Store) error {
	return errors.Join(
		putAs(s, idOne, Message(bodies()[idOne], "a@x.example")),
		putAs(s, idTwo, Message(bodies()[idTwo], "a@x.example", "b@y.example")),
		putAs(s, idLarge, Message(bodies()[idLarge], "a@z.example")))
}

func bodies() map[queue.ID]string {
	return map[queue.ID]string{idOne: "body one", idTwo: "body two", idLarge: strings.Repeat("large ", 200)}
}

// view is what is left after a crash.
type view map[queue.ID]queue.Entry

func (v view) has(id string) bool { _, ok := v[queue.ID(id)]; return ok }

func (v view) jobs(id string) []queue.Job { return v[queue.ID(id)].Jobs }

// operation is something that a store does durably. After a crash before its end either nothing of it
// has happened or all; after its end, all.
type operation struct {
	name   string
	run    func(s queue.Store) error
	before func(v view) bool // what is there if nothing has happened
	after  func(v view) bool
	ends   string // the message that goes by it, if one does

	slow    bool                                     // fewer errors and states in the short form
	prepare func(s queue.Store) error                // what is done before
	then    func(s queue.Store, promised bool) error // further questions to what is left; it may change it
}

func settleOp(name, id string, st queue.Settlement, before, after func(view) bool) operation {
	ends := ""
	if len(st.Open) == 0 {
		ends = id
	}
	return operation{name: name, run: func(s queue.Store) error { return settleID(s, id, st) }, before: before, after: after, ends: ends}
}

func settleID(s queue.Store, id string, st queue.Settlement) error {
	ls, err := s.Claim(context.Background(), queue.ClaimRequest{ID: queue.ID(id), Max: 1})
	if err != nil {
		return err
	}
	if len(ls) == 0 {
		return errors.New("nothing to claim")
	}
	st.New = slices.Clone(st.New) // tests of an operation run side by side
	for i := range st.New {
		st.New[i].Body = strings.NewReader("report")
	}
	return s.Settle(context.Background(), ls[0], st)
}

func operations() []operation {
	due := base.Add(time.Hour)
	has := func(id string) func(view) bool { return func(v view) bool { return v.has(id) } }
	not := func(id string) func(view) bool { return func(v view) bool { return !v.has(id) } }
	held := func(yes bool) func(view) bool {
		return func(v view) bool {
			e := v[idTwo]
			return (e.State() == queue.StateHold) == yes
		}
	}
	put := func(body string) func(queue.Store) error {
		return func(s queue.Store) error { return putAs(s, idNew, Message(body, "new@x.example")) }
	}
	update := func(c queue.Change) func(queue.Store) error {
		return func(s queue.Store) error { return s.Update(context.Background(), idTwo, c) }
	}
	report := Message("report", "sender@example.org")
	report.Envelope.ID, report.Key = idNew, "report"
	done := queue.Settlement{Attempted: true}
	return []operation{
		{name: "Put", run: put("a new body"), before: not(idNew), after: has(idNew)},
		{name: "PutLarge", run: put(strings.Repeat("new ", 300)), before: not(idNew), after: has(idNew)},
		settleOp("Done", idOne, done, has(idOne), not(idOne)),
		settleOp("DoneLarge", idLarge, done, has(idLarge), not(idLarge)),
		settleOp("Defer", idOne, queue.Settlement{Attempted: true, Open: []int{0}, Reasons: []string{"451 later"}, Due: due},
			func(v view) bool { return v.jobs(idOne)[0].Attempts == 0 },
			func(v view) bool {
				j := v.jobs(idOne)[0]
				return j.Attempts == 1 && len(j.Reasons) == 1 && j.Due.Unix() == due.Unix()
			}),
		settleOp("Bounce", idOne, queue.Settlement{Attempted: true, New: []queue.Message{report}},
			func(v view) bool { return v.has(idOne) && !v.has(idNew) },
			func(v view) bool { return !v.has(idOne) && v.has(idNew) }),
		{name: "Hold", run: update(queue.Change{Op: queue.Hold}), before: held(false), after: held(true)},
		{name: "Remove", run: update(queue.Change{Op: queue.Remove}), before: has(idTwo), after: not(idTwo), ends: idTwo},
		{
			name: "Reroute", run: update(queue.Change{Op: queue.Reroute, Groups: []queue.Group{{Dest: "smarthost", Rcpts: []int{0, 1}}}}),
			before: func(v view) bool { return len(v.jobs(idTwo)) == 2 },
			after:  func(v view) bool { return len(v.jobs(idTwo)) == 1 && v.jobs(idTwo)[0].Dest == "smarthost" },
		},
		{name: "Work", run: work, before: func(view) bool { return true }, after: not(idOne), ends: idOne, slow: true},
	}
}

// work is enough of everything to fill, rotate and clean segments.
func work(s queue.Store) error {
	for i := range 14 {
		id := fmt.Sprintf("0000000000%02d", 10+i)
		if err := putAs(s, id, Message(strings.Repeat("w", 600), "w@w.example")); err != nil {
			return err
		}
		if err := settleID(s, id, queue.Settlement{Attempted: true}); err != nil {
			return err
		}
	}
	return settleID(s, idOne, queue.Settlement{Attempted: true})
}

// look opens the store and reads everything.
func look(open OpenFunc, fsys faultfs.FS) (v view, err error) {
	s, err := open(fsys)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	v = view{}
	for e, err := range s.Entries(context.Background(), queue.Filter{}) {
		if err != nil {
			return nil, err
		}
		if e.State() == queue.StateCorrupt || e.Envelope == nil {
			return nil, fmt.Errorf("%s is corrupt", e.ID)
		}
		b, err := s.Open(context.Background(), e.ID)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(goniec.NewReader(b))
		if err = errors.Join(err, b.Close()); err != nil {
			return nil, err
		}
		if int64(len(data)) != e.Size || len(data) == 0 {
			return nil, fmt.Errorf("%s has %d of %d octets", e.ID, len(data), e.Size)
		}
		if want, ok := bodies()[e.ID]; ok && string(data) != want {
			return nil, fmt.Errorf("%s has another body", e.ID)
		}
		v[e.ID] = e
	}
	return v, nil
}

// check judges what is left.
func (o *operation) check(v view, promised bool) error {
	for _, id := range [...]string{idOne, idTwo, idLarge} {
		if id != o.ends && !v.has(id) {
			return fmt.Errorf("%s is lost", id)
		}
	}
	switch {
	case o.after(v):
		return nil
	case promised:
		return fmt.Errorf("promised and lost; left: %+v", v)
	case !o.before(v):
		return fmt.Errorf("half done; left: %+v", v)
	}
	return nil
}

// TestCrash runs every operation of a store and cuts the power at every point of it. The store should be
// opened with small segments and a small limit for bodies in them. After each cut the store opens by
// itself, nothing that was promised is missing and nothing is half there; and the same when it
// is opened once more.
func TestCrash(t *testing.T, open OpenFunc) {
	for _, model := range []faultfs.Model{faultfs.POSIX, faultfs.Ordered} {
		for _, o := range allOperations() {
			t.Run(fmt.Sprintf("%s/%d", o.name, model), func(t *testing.T) { t.Parallel(); o.crash(t, open, model) })
		}
	}
}

func (o *operation) setup(open OpenFunc, fsys faultfs.FS) error {
	s, err := open(fsys)
	if err != nil {
		return err
	}
	err = fill(s)
	if err == nil && o.prepare != nil {
		err = o.prepare(s)
	}
	return errors.Join(err, s.Close())
}

// ask puts the further questions.
func (o *operation) ask(open OpenFunc, fsys faultfs.FS, promised bool) error {
	if o.then == nil {
		return nil
	}
	s, err := open(fsys)
	if err != nil {
		return err
	}
	return errors.Join(o.then(s, promised), s.Close())
}

// faultStates bounds the states that are tried after each fault.
func (o *operation) faultStates() int {
	if o.slow && !peertest.LongForm() {
		return 3
	}
	return 8
}

// limit bounds the states that are tried at each point, in the short and the long form.
func (o *operation) limit() int {
	switch {
	case peertest.LongForm():
		return 5000
	case o.slow:
		return 15
	}
	return 100
}

func (o *operation) crash(t *testing.T, open OpenFunc, model faultfs.Model) {
	report, err := faultfs.EachCrash(faultfs.CrashPlan{
		Seed: 1, Model: model, Limit: o.limit(),
		Setup: func(c *faultfs.Crash) error { return o.setup(open, c) },
		Op: func(c *faultfs.Crash) error {
			s, err := open(c)
			if err != nil {
				return err
			}
			if err = o.run(s); err == nil {
				c.Mark("promised")
			}
			return errors.Join(err, s.Close())
		},
		Check: func(st *faultfs.CrashState) error {
			for range 2 {
				v, err := look(open, st.FS)
				if err == nil {
					err = o.check(v, st.Marked("promised"))
				}
				if err != nil {
					return err
				}
			}
			return o.ask(open, st.FS, st.Marked("promised"))
		},
	})
	require.NoError(t, err)
	t.Logf("%d points, %d states, %d sampled", report.Points, report.States, report.Sampled)
	require.Greater(t, report.States, 1)
}

// TestFaults makes every call of the file system fail, in every operation: an error is not an
// acknowledgement, what was there stays, nothing stays open, and when the trouble is over the same
// store works.
func TestFaults(t *testing.T, open OpenFunc) {
	for _, o := range allOperations() {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persist=%v", o.name, persist), func(t *testing.T) { t.Parallel(); o.faults(t, open, persist) })
		}
	}
}

var errNext = errors.New("then a message was stored")

func (o *operation) faults(t *testing.T, open OpenFunc, persist bool) {
	recovered := 0
	var errs []error // all
	switch {
	case peertest.LongForm():
	case o.slow:
		errs = []error{syscall.EIO}
	case persist:
		errs = []error{syscall.EIO, syscall.ENOSPC}
	}
	report, err := faultfs.EachFault(faultfs.FaultPlan{
		Persist: persist, Errors: errs,
		Setup: func(fsys faultfs.FS) error { return o.setup(open, fsys) },
		Op: func(fsys faultfs.FS) error {
			s, err := open(fsys)
			if err != nil {
				return err
			}
			defer s.Close()
			if err = o.run(s); err == nil || persist { // there is no end of the trouble to wait for
				return err
			}
			return errors.Join(err, next(s))
		},
		Check: func(r faultfs.FaultRun) error {
			if errors.Is(r.Err, errNext) {
				recovered++
			}
			for st := range r.FS.(*faultfs.Crash).States(o.faultStates()) {
				v, err := look(open, st.FS)
				if err == nil {
					err = o.check(v, r.Err == nil)
				}
				if err == nil && errors.Is(r.Err, errNext) && !v.has(idNext) {
					err = errors.New("the message after the error is lost")
				}
				if err == nil {
					err = o.ask(open, st.FS, r.Err == nil)
				}
				if err != nil {
					return fmt.Errorf("after %s: %v (operation said %v): %w", r.Call, r.Injected, r.Err, err)
				}
			}
			return nil
		},
	})
	require.NoError(t, err)
	t.Logf("%d runs; after %d errors the store went on", report.Runs, recovered)
}

// next stores a message after an error, in the same store. A full disk may be left alone for a second.
func next(s queue.Store) error {
	for wait := time.Duration(0); ; wait += 300 * time.Millisecond {
		time.Sleep(wait)
		err := putAs(s, idNext, Message("next", "next@x.example"))
		switch {
		case err == nil:
			return errNext
		case wait > 2*time.Second:
			return fmt.Errorf("the store does not recover: %w", err)
		}
	}
}

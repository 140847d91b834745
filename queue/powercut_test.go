package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/queue"
)

// outcome is what a recipient of a message may have come to: a set, of one when all was acknowledged.
type outcome uint8

const (
	waits outcome = 1 << iota
	done
)

// cutMail is a message as the ledger knows it.
type cutMail struct {
	id     string
	key    string
	size   int
	stored bool      // Put was acknowledged
	rcpts  []outcome // while stored or not known
	why    []string  // replies that a waiting recipient may have; "" = none yet
	held   []bool    // what may be
	report *cutMail  // stored with the end of the first recipient, or not at all
}

// cutLedger is what a load has been told. It is kept outside of the disk.
type cutLedger struct {
	mu    sync.Mutex
	mails map[string]*cutMail
	n     int         // acknowledgements
	lost  atomic.Bool // the power has been cut, or is about to be
	errs  []error     // before that
}

// try runs an operation: may says before it what it may do to the ledger, must says after it what it has done.
func (l *cutLedger) try(may, must func(), op func() error) bool {
	l.mu.Lock()
	may()
	l.mu.Unlock()
	err := op()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		must()
		l.n++
	case !l.lost.Load():
		l.errs = append(l.errs, err)
	}
	return err == nil
}

// acknowledged is the number of acknowledgements so far.
func (l *cutLedger) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func cutBody(id string, size int) string {
	return strings.Repeat("line of "+id+"\r\n", size/22+1) + "end of " + id + "\r\n"
}

// cutLoad is the work on a queue until the power goes.
type cutLoad struct {
	*cutLedger
	t *testing.T
	s *queue.FileStore
}

func (c *cutLoad) message(dest string, rcpts int) (*cutMail, queue.Message) {
	env := &goniec.Envelope{ID: goniec.NewID()}
	env.From, _ = goniec.ParseAddress("sender@example.org")
	m := &cutMail{id: env.ID, size: rand.IntN(12 << 10), rcpts: make([]outcome, rcpts), why: []string{""}, held: []bool{false}}
	dests := make([]string, rcpts)
	for i := range rcpts {
		to, _ := goniec.ParseAddress(fmt.Sprintf("r%d@%s", i, dest))
		env.To = append(env.To, goniec.Recipient{Address: to})
		dests[i] = fmt.Sprint(i%2, dest)
		m.rcpts[i] = waits
	}
	if rand.IntN(3) == 0 {
		m.key = "key of " + env.ID
	}
	return m, queue.Message{Envelope: env, Groups: queue.GroupBy(dests, 100), Key: m.key, Body: strings.NewReader(cutBody(m.id, m.size))}
}

func (c *cutLoad) store(m *cutMail, msg queue.Message) bool {
	return c.try(func() { c.mails[m.id] = m }, func() { m.stored = true }, func() error {
		id, err := c.s.Put(context.Background(), msg)
		if err == nil && string(id) != m.id {
			err = fmt.Errorf("put as %s, not %s", id, m.id)
		}
		return err
	})
}

func (c *cutLoad) put() bool {
	m, msg := c.message("d.example", 1+rand.IntN(3))
	return c.store(m, msg)
}

// deliver claims some jobs and settles them: done, deferred, or bounced with a report.
func (c *cutLoad) deliver() bool {
	for dest := range 2 {
		ls, err := c.s.Claim(context.Background(), queue.ClaimRequest{Dest: fmt.Sprint(dest, "d.example"), Max: 4, Now: time.Now().Add(time.Hour)})
		if err != nil {
			return c.try(func() {}, func() {}, func() error { return err })
		}
		for _, l := range ls {
			if !c.settle(l) {
				return false
			}
		}
	}
	return true
}

func (c *cutLoad) settle(l queue.Lease) bool {
	c.mu.Lock()
	m := c.mails[string(l.ID)]
	c.mu.Unlock()
	set := func(to outcome, keep bool) {
		for _, r := range l.Rcpts {
			if keep {
				to |= m.rcpts[r]
			}
			m.rcpts[r] = to
		}
	}
	st := queue.Settlement{Attempted: true}
	may, must := func() { set(done, true) }, func() { set(done, false) }
	switch rand.IntN(4) {
	case 0:
		why := fmt.Sprint("451 later ", rand.IntN(1000))
		st.Open, st.Due = l.Rcpts, time.Now().Add(time.Minute)
		for range l.Rcpts {
			st.Reasons = append(st.Reasons, why)
		}
		may = func() { m.why = append(m.why, why) }
		must = func() {} // each group has replies of its own
	case 1:
		if l.Group == 0 && m.report == nil {
			report, msg := c.message("u.example", 1)
			st.New = []queue.Message{msg}
			may = func() { set(done, true); m.report = report; c.mails[report.id] = report }
			must = func() { set(done, false); report.stored = true }
		}
	}
	return c.try(may, must, func() error { return c.s.Settle(context.Background(), l, st) })
}

// edit changes a message of its own again and again.
func (c *cutLoad) edit() bool {
	m, msg := c.message("u.example", 2)
	ok := c.store(m, msg)
	change := func(ch queue.Change, may, must func()) {
		ok = ok && c.try(may, must, func() error { return c.s.Update(context.Background(), queue.ID(m.id), ch) })
	}
	either, nothing := func() { m.held = []bool{false, true} }, func() {}
	change(queue.Change{Op: queue.Hold}, either, func() { m.held = []bool{true} })
	change(queue.Change{Op: queue.Reroute, Groups: []queue.Group{{Dest: "u2.example", Rcpts: []int{0, 1}}}}, nothing, nothing)
	change(queue.Change{Op: queue.Release}, either, func() { m.held = []bool{false} })
	change(queue.Change{Op: queue.Retry, Due: time.Now().Add(time.Hour)}, nothing, nothing)
	if rand.IntN(3) > 0 {
		change(queue.Change{Op: queue.Remove}, func() { m.rcpts = []outcome{waits | done, waits | done} },
			func() { m.rcpts = []outcome{done, done} })
	}
	return ok
}

func (c *cutLoad) run(disk *peertest.Disk, journal bool) {
	enough := c.acknowledged() + 20
	var wg sync.WaitGroup
	for _, do := range []func() bool{c.put, c.put, c.put, c.put, c.deliver, c.deliver, c.edit} {
		wg.Go(func() {
			for do() && !c.lost.Load() {
			}
		})
	}
	for stop := time.Now().Add(time.Minute); c.acknowledged() < enough && time.Now().Before(stop); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
	c.lost.Store(true)
	disk.Cut(journal)
	wg.Wait()
}

// check compares a queue with the ledger, which takes over what has come of operations that were under way.
func (l *cutLedger) check(t *testing.T, s *queue.FileStore) {
	t.Helper()
	there := make(map[string]queue.Entry)
	for e, err := range s.Entries(t.Context(), queue.Filter{}) {
		require.NoError(t, err)
		require.NotEqual(t, queue.StateCorrupt, e.State(), e.ID)
		m := l.mails[string(e.ID)]
		require.NotNil(t, m, "%s came from nowhere", e.ID)
		body, err := s.Open(t.Context(), e.ID)
		require.NoError(t, err)
		text, err := io.ReadAll(goniec.NewReader(body))
		require.NoError(t, errors.Join(err, body.Close()))
		require.Equal(t, cutBody(m.id, m.size), string(text))
		there[m.id] = e
	}
	for _, m := range l.mails {
		_, here := there[m.id]
		require.True(t, here || !m.stored || !slices.Contains(m.rcpts, waits), "%s was acknowledged and is lost", m.id)
		m.check(t, there)
		if r := m.report; r != nil && m.rcpts[0] == done {
			_, reported := there[r.id]
			require.True(t, reported || r.stored, "%s has ended without its report", m.id)
		}
	}
	for id, m := range l.mails { // those under way have ended one way or the other
		_, here := there[id]
		if m.stored = m.stored || here; !m.stored {
			require.True(t, l.reportOf(m) == nil || l.reportOf(m).rcpts[0] == waits, "%s has its report no more", id)
			delete(l.mails, id)
		}
	}
	for _, m := range l.mails {
		if m.report != nil && l.mails[m.report.id] == nil {
			m.report = nil
		}
	}
}

// reportOf finds the message whose report m is.
func (l *cutLedger) reportOf(m *cutMail) *cutMail {
	for _, of := range l.mails {
		if of.report == m {
			return of
		}
	}
	return nil
}

// check compares one message.
func (m *cutMail) check(t *testing.T, there map[string]queue.Entry) {
	now := make([]outcome, len(m.rcpts))
	e, here := there[m.id]
	for i := range now {
		if now[i] = done; !here && !m.stored {
			now[i] = waits // it was never there
		}
	}
	for _, j := range e.Jobs {
		for i, r := range j.Rcpts {
			now[r] = waits
			why := ""
			if j.Attempts > 0 && len(j.Reasons) > 0 {
				why = j.Reasons[i]
			}
			require.Contains(t, m.why, why, m.id)
			require.Contains(t, m.held, j.State == queue.StateHold, m.id)
		}
	}
	for i, o := range now {
		require.NotZero(t, m.rcpts[i]&o, "%s: recipient %d: %v of %v", m.id, i, o, m.rcpts[i])
	}
	m.rcpts = now
	if here {
		m.held = []bool{e.State() == queue.StateHold}
	}
}

// keys puts some messages again, with the same key: each is remembered, also when it has been delivered meanwhile.
func (l *cutLedger) keys(t *testing.T, s *queue.FileStore) {
	n := 0
	for _, m := range l.mails {
		if m.key == "" || !m.stored {
			continue
		}
		if n++; n > 20 {
			return
		}
		_, again := (&cutLoad{}).message("d.example", 1)
		again.Key = m.key
		id, err := s.Put(t.Context(), again)
		require.ErrorIs(t, err, queue.ErrKnown)
		require.EqualValues(t, m.id, id)
	}
}

// F03: the power of a real ext4 goes at any moment of puts, outcomes, reports and changes. What was acknowledged is there,
// whole; what was delivered or removed does not come back; a report is there when its cause has ended; and
// so again with the same queue.
func TestF03_PowerCuts(t *testing.T) {
	t.Parallel()
	cuts := 3
	if peertest.LongForm() {
		cuts = 20
	}
	disk := peertest.NewDisk(t, 1<<30)
	open := func() *queue.FileStore {
		s, err := queue.OpenFiles(filepath.Join(disk.Path, "queue"), queue.FileOptions{SegmentSize: 256 << 10, InlineBody: 8 << 10, MaxDeaths: -1})
		require.NoError(t, err)
		return s
	}
	l := &cutLedger{mails: map[string]*cutMail{}}
	for round := range cuts {
		s := open()
		l.lost.Store(false)
		(&cutLoad{l, t, s}).run(disk, round%3 == 2)
		_ = s.Close()
		disk.Restore()
		require.Empty(t, l.errs)
		s = open()
		l.check(t, s)
		l.keys(t, s)
		require.NoError(t, s.Close())
	}
	t.Logf("%d power cuts, %d messages, %d acknowledgements", cuts, len(l.mails), l.n)
	require.Greater(t, l.n, 10*cuts)
}

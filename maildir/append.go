package maildir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"sync"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Append implements mailbox.Mailbox. Concurrent Appends to one folder share their syncs.
func (m *Mailbox) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	one := func(yield func(mailbox.NewMessage, error) bool) {
		yield(mailbox.NewMessage{Msg: msg, Options: o}, nil)
	}
	metas, err := m.AppendAll(ctx, one)
	if err != nil {
		return mailbox.Meta{}, err
	}
	return metas[0], nil
}

// AppendAll implements mailbox.MultiAppender.
func (m *Mailbox) AppendAll(ctx context.Context, msgs iter.Seq2[mailbox.NewMessage, error]) ([]mailbox.Meta, error) {
	f, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	job := &appendJob{ctx: ctx, done: make(chan struct{})}
	defer job.discard(f)
	for msg, err := range msgs {
		if err != nil {
			return nil, err
		}
		file, err := f.acct.store.spoolTo(ctx, f.tmp, msg.Msg, stampOf(msg.Options.Date))
		if err != nil {
			return nil, m.vanished(f, refused(err))
		}
		job.items = append(job.items, appendItem{file: file.savedAs(msg.Options), options: msg.Options})
		if err := file.dated(f.tmp); err != nil {
			return nil, err
		}
	}
	if len(job.items) == 0 {
		return nil, nil
	}
	refund, err := f.acct.charge(ctx, job.octets(), int64(len(job.items)))
	if err != nil {
		return nil, err
	}
	if f.appends.run(f, job); job.err != nil {
		refund()
	}
	return job.metas, job.err
}

// dated looks up the file's time, as the file system keeps it: a delivery does not need it.
func (m *stored) dated(tmp faultfs.Dir) error {
	info, err := tmp.Lstat(m.tmp)
	if err == nil {
		m.date = info.ModTime.Unix()
	}
	return err
}

// appendItem is a message on its way from tmp/ to cur/.
type appendItem struct {
	file    *stored
	options mailbox.AppendOptions
	flags   flagBits
	name    string // in cur/, once it is there
}

// appendJob is what is appended together: all or none.
type appendJob struct {
	ctx   context.Context
	items []appendItem
	done  chan struct{}
	// lenient leaves out keywords that the folder can not take.
	lenient bool
	lead    bool // this job's caller does the next batch

	metas    []mailbox.Meta
	validity uint32
	err      error
}

// discard removes what is still in tmp/.
func (j *appendJob) discard(f *folder) {
	for i := range j.items {
		if j.items[i].name == "" {
			_ = f.tmp.Remove(j.items[i].file.tmp)
		}
	}
}

// appendQueue gathers the jobs that come while a batch is being made durable.
type appendQueue struct {
	mu      sync.Mutex
	waiting []*appendJob
	busy    bool
}

// run returns when the job is done. Whoever comes first does the work for all who wait; then the
// first of those who came meanwhile does.
func (q *appendQueue) run(f *folder, job *appendJob) {
	q.mu.Lock()
	q.waiting = append(q.waiting, job)
	lead := !q.busy
	q.busy = true
	q.mu.Unlock()
	if !lead {
		<-job.done
		if !job.lead {
			return
		}
	}
	q.mu.Lock()
	batch := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	defer q.next(batch, job)
	f.appendBatch(batch)
}

// next wakes the others of a batch, and makes one of those who came meanwhile the leader.
func (q *appendQueue) next(batch []*appendJob, self *appendJob) {
	for _, j := range batch {
		if j.metas == nil && j.err == nil {
			j.err = errBatch // the leader panicked
		}
		j.lead = false
		if j != self {
			close(j.done)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	q.waiting[0].lead = true
	close(q.waiting[0].done)
}

var errBatch = errors.New("maildir: append was not finished")

// appendBatch moves the messages of some jobs to cur/ and gives them UIDs, durably, with one sync of
// the directory and one of the list.
func (f *folder) appendBatch(jobs []*appendJob) {
	// The leader's context must not end the work of the others.
	ctx := context.WithoutCancel(jobs[0].ctx)
	err := f.enter(ctx, true)
	if err == nil {
		defer func() {
			var lost error
			if f.leave(&lost); lost != nil {
				failJobs(jobs, lost)
			}
		}()
	}
	var unlock func()
	if err == nil {
		unlock, err = f.lockList(ctx)
	}
	if err == nil {
		defer unlock()
		_, err = f.refreshLocked(ctx)
	}
	var ready []*appendJob
	for _, j := range jobs {
		if err != nil {
			j.err = err
		} else if j.err = f.placeJob(ctx, j); j.err == nil {
			ready = append(ready, j)
		}
		if err == nil && len(j.items) > 1 { // its note lies there: it is committed on its own
			f.commitReady(ready)
			ready = nil
			err = f.afterCommit(ctx)
		}
	}
	f.commitReady(ready)
}

// appending is the state of a folder before the appends that are being synced. Until they are durable, this is the present
// state for those who ask, and they need not wait for the lock: the next APPEND of a client above all, which is to be
// written meanwhile. It is withdrawn before anybody is told of the new messages: who is told must see them.
type appending struct {
	state   mailbox.State
	seenNew dirSeen
}

// unchanged answers Changes while a batch of appends is made durable, if nothing is newer than since. The batch keeps all
// others out but deliveries and programs that do not lock. What the latter do to cur/ in this moment shows later, as it
// does otherwise: see noteOwn.
func (f *folder) unchanged(since mailbox.ModSeq) *mailbox.Changes {
	b := f.busy.Load()
	if b == nil || since < b.state.ModSeq {
		return nil
	}
	info, err := f.new.Stat()
	if err != nil || b.seenNew.stale(info, f.acct.store.now(), 0, 0) {
		return nil
	}
	return &mailbox.Changes{State: b.state, Known: true, Messages: func(func(mailbox.Meta) bool) {}}
}

// afterCommit makes sure that the rest of a batch can go on where a part of it may have failed.
func (f *folder) afterCommit(ctx context.Context) error {
	if f.broken.Load() {
		return errBroken
	}
	_, err := f.refreshLocked(ctx)
	return err
}

func (f *folder) commitReady(ready []*appendJob) {
	if len(ready) == 0 {
		return
	}
	if err := f.commitAppends(ready); err != nil {
		for _, j := range ready {
			j.err = errors.Join(err, f.takeBack(j))
		}
	}
}

// failJobs is for an index that can be neither written nor removed: the messages are there, but
// nobody may be told their mod-sequences.
func failJobs(jobs []*appendJob, err error) {
	for _, j := range jobs {
		if j.err == nil {
			j.err, j.metas = err, nil
		}
	}
}

// placeJob gives the messages of a job their names in cur/: all or none.
func (f *folder) placeJob(ctx context.Context, j *appendJob) (err error) {
	if j.ctx.Err() != nil {
		return context.Cause(j.ctx)
	}
	if err := uidsLeft(f.state.uidNext, len(j.items)); err != nil {
		return err
	}
	var steps []step
	for i := range j.items {
		it := &j.items[i]
		if it.flags, err = f.resolveFor(ctx, it.options.Flags, j.lenient); err != nil {
			return err
		}
		steps = append(steps, step{'T', it.file.tmp, string(appendInfo([]byte(it.file.name()), it.flags))})
	}
	if len(steps) > 1 {
		if err := f.tmp.Sync(); err != nil { // the note must find the files there
			return f.failed(err)
		}
	}
	if err := f.declare(steps); err != nil {
		return err
	}
	for i, s := range steps {
		if err = f.tmp.Rename(s.name, f.cur.Dir, s.target); err != nil {
			return errors.Join(err, f.takeBack(j))
		}
		j.items[i].name = s.target
	}
	return nil
}

// takeBack removes the files of a job that failed.
func (f *folder) takeBack(j *appendJob) error {
	f.state.seenCur = dirSeen{}
	for i := range j.items {
		it := &j.items[i]
		if it.name == "" {
			continue
		}
		if err := f.cur.Remove(it.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.abandon()
			return err
		}
	}
	return f.settle()
}

// commitAppends makes the messages and their UIDs durable, both at once, and takes them into the table.
func (f *folder) commitAppends(jobs []*appendJob) error {
	s := &f.state
	var entries []listEntry
	next := s.uidNext
	for _, j := range jobs {
		for _, it := range j.items {
			entries = append(entries, listEntry{next, it.file.name()})
			next++
		}
	}
	if next >= uint32(mailbox.MaxUID) || next < s.uidNext {
		return mailbox.ErrUIDRange
	}
	if err := f.syncAppends(entries, next); err != nil {
		return err
	}
	modSeq := f.nextModSeq()
	var uids []uint32
	for _, j := range jobs {
		j.validity = s.list.validity
		for i := range j.items {
			uid := entries[len(uids)].uid
			j.metas = append(j.metas, f.addAppended(&j.items[i], uid, modSeq))
			uids = append(uids, uid)
		}
	}
	f.noteMessages(s.t.withUIDs(uids))
	f.changed()
	f.noteOwn()
	return f.settle()
}

// syncAppends makes messages in cur/ and their lines of the list durable.
func (f *folder) syncAppends(entries []listEntry, next uint32) error {
	// Else the state has a mod-sequence, or (AppendUID) a UIDNEXT, that must be durable before it is told.
	if len(f.index.buf) == 0 && !f.index.sure && f.state.uidNext == f.state.list.uidNext() {
		f.busy.Store(&appending{f.mailboxState(), f.state.seenNew})
		defer f.busy.Store(nil)
	}
	synced := make(chan error, 1)
	go func() { synced <- f.cur.Sync() }()
	err := f.commitList(entries)
	if err == nil {
		f.state.uidNext = next // they are in the list, whatever becomes of the files
	}
	if e := f.failed(<-synced); err == nil {
		err = e
	}
	return err
}

func (f *folder) addAppended(it *appendItem, uid uint32, modSeq uint64) mailbox.Meta {
	s := &f.state
	base, info := splitInfo(it.name)
	r := s.t.newRec(uid, base, info, nil)
	r.modSeq = modSeq
	r.setDate(it.file.date)
	if s.counts != nil {
		s.counts.add(&r)
	}
	return s.t.meta(s.t.add(r))
}

package maildir

import (
	"context"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

// pollInterval is how often a watched folder is looked at for what other programs did, where the system does not tell.
const pollInterval = 2 * time.Second

// Watch implements mailbox.Watcher. Changes made through this Store are told at once; those of other
// programs at once on Linux (one inotify descriptor serves a Store), elsewhere within two seconds.
func (m *Mailbox) Watch(ctx context.Context, notify func()) error {
	f, err := m.begin(ctx)
	if err != nil {
		return err
	}
	f.acct.store.hold(f)
	remove := f.watch.add(func() {
		if ctx.Err() == nil { // what follows its end may come late
			notify()
		}
	}, f.observe)
	context.AfterFunc(ctx, func() { // no goroutine meanwhile: thousands may watch
		remove()
		f.acct.store.release(f)
	})
	return nil
}

// hold adds a reference to a folder; release gives it back.
func (s *Store) hold(f *folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(f)
}

// observe looks for what other programs do in the folder until end is called. It does not wait for anything.
func (f *folder) observe() (end func()) {
	s := f.acct.store
	if stop, told := s.observe(dirWatch{f.new.Name(), f}, dirWatch{f.cur.Name(), f}); told {
		return stop
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.hold(f)
	go func() {
		defer s.release(f)
		f.poll(ctx)
	}()
	return cancel
}

// poll compares the times of new/ and cur/ until ctx ends.
func (f *folder) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	newTime, curTime := f.times()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n, c := f.times()
		if !n.Equal(newTime) || !c.Equal(curTime) {
			newTime, curTime = n, c
			f.changed()
		}
	}
}

func (f *folder) times() (newTime, curTime time.Time) {
	if info, err := f.new.Stat(); err == nil {
		newTime = info.ModTime
	}
	if info, err := f.cur.Stat(); err == nil {
		curTime = info.ModTime
	}
	return newTime, curTime
}

// concerned implements watchTarget: whatever happens in new/ and cur/ is of interest.
func (f *folder) concerned(string) watchTarget { return f }

// touched is called when the system says that something happened in new/ or cur/. What this process
// did itself it knows already: then the times are those it has noted.
func (f *folder) touched() {
	select {
	case f.lock <- struct{}{}:
	default:
		f.changed() // somebody is at work in it: rather once too often
		return
	}
	newTime, curTime := f.times()
	known := f.state.loaded && newTime.Equal(f.state.seenNew.mtime) && curTime.Equal(f.state.seenCur.mtime)
	f.lock.unlock()
	if !known {
		f.changed()
	}
}

// Lock implements mailbox.Locker, among all processes of ours on this host.
func (m *Mailbox) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !f.popLock.CompareAndSwap(false, true) {
		return nil, mailbox.ErrInUse
	}
	file, err := f.lockPOP(ctx)
	if err != nil {
		f.popLock.Store(false)
		return nil, err
	}
	s := f.acct.store
	s.hold(f)
	return sync.OnceFunc(func() {
		_ = file.Close() // the lock goes with it
		f.popLock.Store(false)
		s.release(f)
	}), nil
}

package maildir

import (
	"context"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

// pollInterval is how often a watched folder is looked at for what other programs did.
const pollInterval = 2 * time.Second

// Watch implements mailbox.Watcher. Changes made through this Store are told at once, those of other
// programs within two seconds.
func (m *Mailbox) Watch(ctx context.Context, notify func()) error {
	f, err := m.begin(ctx)
	if err != nil {
		return err
	}
	remove := f.watch.add(notify)
	s := f.acct.store
	s.mu.Lock()
	s.take(f)
	s.mu.Unlock()
	go func() {
		defer s.release(f)
		defer remove()
		f.poll(ctx, notify)
	}()
	return nil
}

// poll compares the times of new/ and cur/ until ctx ends.
func (f *folder) poll(ctx context.Context, notify func()) {
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
			notify()
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

// Lock implements mailbox.Locker.
func (m *Mailbox) Lock(ctx context.Context) (unlock func(), err error) {
	f, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	if !f.popLock.CompareAndSwap(false, true) {
		return nil, mailbox.ErrInUse
	}
	s := f.acct.store
	s.mu.Lock()
	s.take(f)
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		f.popLock.Store(false)
		s.release(f)
	}), nil
}

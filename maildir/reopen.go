package maildir

import "sync"

// ctxPointer guards the folder of a handle, which changes when the directories had to be opened anew.
type ctxPointer struct{ mu sync.Mutex }

func (m *Mailbox) current() *folder {
	m.swap.mu.Lock()
	defer m.swap.mu.Unlock()
	return m.f
}

// reopen takes a new folder in place of a broken one. Watchers are told, so that they look again.
func (m *Mailbox) reopen(old *folder) (*folder, error) {
	m.swap.mu.Lock()
	defer m.swap.mu.Unlock()
	if m.f != old {
		return m.f, nil
	}
	f, err := old.acct.store.acquire(old.acct, m.name)
	if err != nil {
		return nil, err
	}
	m.f = f
	old.acct.store.release(old)
	return f, nil
}

package maildir

import (
	"runtime"
	"time"
)

// Impatient makes a Store that does not wait for lock files without content.
func Impatient(s *Store) *Store {
	s.unsigned = time.Nanosecond
	return s
}

// PollEvery makes a Store poll what is watched more often.
func PollEvery(s *Store, d time.Duration) *Store {
	s.polled = d
	return s
}

// Watched returns how many functions are called when a folder changes.
func Watched(s *Store) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		for _, f := range a.folders {
			f.watch.mu.Lock()
			n += len(f.watch.fns)
			f.watch.mu.Unlock()
		}
	}
	return n
}

// SpareLocks makes a Store keep spare lock files from a folder's second lock on.
func SpareLocks(s *Store) { s.spares = 1 }

// OnChange has fn called when this process has changed the folder, not when the system tells of it.
func OnChange(m *Mailbox, fn func()) {
	w := &m.current().watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fns[-1] = fn
}

// AnswersWithoutLock says whether Changes would answer with the state from before appends that are being synced.
func AnswersWithoutLock(m *Mailbox) bool { return m.current().busy.Load() != nil }

// SyncsAtOnce is how many handles a directory is synced by.
const SyncsAtOnce = syncsAtOnce

var (
	FolderDir   = folderDir
	FolderName  = folderName
	AccountPath = accountPath
)

// SystemWatches says whether the system can tell of changes.
const SystemWatches = runtime.GOOS == "linux"

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

// SpareLocks makes a Store keep spare lock files from a folder's second lock on.
func SpareLocks(s *Store) { s.spares = 1 }

// SyncsAtOnce is how many handles a directory is synced by.
const SyncsAtOnce = syncsAtOnce

var (
	FolderDir   = folderDir
	FolderName  = folderName
	AccountPath = accountPath
)

// SystemWatches says whether the system can tell of changes.
const SystemWatches = runtime.GOOS == "linux"

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

var (
	FolderDir   = folderDir
	FolderName  = folderName
	AccountPath = accountPath
)

// SystemWatches says whether the system can tell of changes.
const SystemWatches = runtime.GOOS == "linux"

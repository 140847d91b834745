package maildir

import "time"

// Impatient makes a Store that does not wait for lock files without content.
func Impatient(s *Store) *Store {
	s.unsigned = time.Nanosecond
	return s
}

var (
	FolderDir   = folderDir
	FolderName  = folderName
	AccountPath = accountPath
)

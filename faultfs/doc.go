// Package faultfs is the file-system seam under everything durable: maildirs,
// mboxes, queues, spool files. One small handle-based interface ([FS], [Dir],
// [File]) has three implementations:
//
//   - [OS] is the real file system. Files are reached by openat, renameat,
//     linkat and unlinkat relative to an open directory, never by path, and
//     never through a symbolic link.
//   - [Crash] lives in memory, knows what has been made durable and what has
//     not, and shows every state a disk may be in after a power cut.
//   - [Fault] wraps any of them, counts the calls and makes chosen ones fail.
//
// A store that takes an FS can therefore prove, with plain go test, that
// nothing it acknowledged is lost in any crash ([EachCrash]) and that nothing
// is acknowledged, leaked or broken when any single call fails ([EachFault]).
//
// # Durability in one paragraph
//
// Written bytes survive a power cut after File.Sync. A name survives (or its
// removal does) after Sync of the directory that holds it; syncing the file is
// not enough, and syncing the directory does not cover the file. An error of
// Sync is final: what was written since the last good Sync may be gone, and a
// later Sync that returns nil proves nothing. Discard the file, or close the
// directory and open it again. [WriteFile] does all this for small files,
// [MkdirAll] for directories, and [Group] lets many goroutines share one Sync.
//
// # Names
//
// Every name handed to a Dir is one path element: never "", "." or "..", no
// slash and no NUL ([ErrBadName]; Windows also refuses backslash and colon). A
// path given to FS.OpenDir is the administrator's and may pass through symbolic
// links; below it no link is followed. [Sub] opens a relative path below a Dir,
// element by element.
//
// # Limits
//
//   - OS on Windows and other systems without openat is built on os.Root: links
//     are refused by a look before the open (a race can lead astray, though
//     never out of the directory), Rename and Link between two directories go
//     by path, Info has no inode numbers and link counts (so CheckPrivate
//     refuses no hard links), and Dir.Sync does nothing, for lack of a call that
//     would: a power cut may undo a rename there that was acknowledged.
//   - No file locks, no ownership changes, no extended attributes. Locks are
//     taken on the descriptor: the File of OS implements syscall.Conn.
//   - Waiting for a disk cannot be cancelled; that is why no method has a context.
//   - Crash models one disk behind one process; it has no symbolic links, no
//     permissions and no space limit (Fault gives ENOSPC). A file of more than
//     seven unsynced sectors, or more than twelve unsynced directory changes,
//     have too many states to try them all: EachCrash tries the extreme ones
//     and a seeded sample of them, and its report says so.
//   - Fault loses what a failed Sync leaves unsynced over a Crash only.
package faultfs

package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"
)

// Errors that every implementation gives, inside a *fs.PathError or
// *os.LinkError. Beside them errors.Is works with fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission and fs.ErrClosed.
var (
	// ErrBadName refuses a name that is not one path element.
	ErrBadName = errors.New("not a file name")
	// ErrNotRegular refuses to open what is not a regular file: a symbolic
	// link, a FIFO, a socket, a device, a directory.
	ErrNotRegular = errors.New("not a regular file")
	// ErrNotDir refuses to open what is not a directory, a symbolic link to
	// a directory included.
	ErrNotDir = errors.New("not a directory")
	// ErrLinked is CheckPrivate's answer for a file with several names.
	ErrLinked = errors.New("file has more than one link")
	// ErrOwner is CheckPrivate's answer for a file of another user.
	ErrOwner = errors.New("file belongs to another user")

	errForeignDir = errors.New("target directory belongs to another file system implementation")
)

// FS opens directories. It is safe for concurrent use.
type FS interface {
	// OpenDir opens an existing directory by path, absolute or relative to
	// the working directory. Symbolic links on the way are followed: the
	// path is configuration, not input.
	OpenDir(path string) (Dir, error)
}

// Dir is an open directory. Names are single path elements. The handle stays
// with the directory even if somebody renames or replaces it. All methods
// are safe for concurrent use; a call that meets Close gives fs.ErrClosed.
//
// Link and Rename take a Dir of the same implementation as target.
type Dir interface {
	// Open opens a regular file for reading. Symbolic links and anything
	// that is not a regular file are refused with ErrNotRegular, and a FIFO
	// without a writer does not block.
	Open(name string) (File, error)
	// Create makes a new file, open for reading and writing; fs.ErrExist if
	// the name is taken (by a dangling symbolic link, too).
	Create(name string, perm fs.FileMode) (File, error)
	// OpenFile is the general form: os.O_RDONLY, O_WRONLY or O_RDWR with any
	// of O_APPEND, O_CREATE, O_EXCL, O_TRUNC. It refuses what Open refuses.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// OpenDir opens a directory inside this one, never through a link.
	OpenDir(name string) (Dir, error)
	// Mkdir makes a directory inside this one; fs.ErrExist if it is there.
	Mkdir(name string, perm fs.FileMode) error
	// Link gives a file a second name in to; fs.ErrExist if the name is
	// taken.
	Link(name string, to Dir, newName string) error
	// Rename moves a file or directory, replacing newName if it exists.
	Rename(name string, to Dir, newName string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Lstat describes what a name stands for; of a link, the link itself.
	Lstat(name string) (Info, error)
	// Chtimes sets the time of last modification. It becomes durable with
	// the file's Sync.
	Chtimes(name string, mtime time.Time) error
	// Names lists all names in no order, without "." and "..". Names that
	// come or go during the call may be missing, and on some file systems a
	// file renamed meanwhile is too: look again before calling it gone.
	Names() ([]string, error)
	// Stat describes the directory itself.
	Stat() (Info, error)
	// Sync makes durable every entry made, renamed or removed here before
	// the call. An error is final for the handle; see the package comment.
	Sync() error
	// Name is the path for messages: that of OpenDir with the names opened
	// below it.
	Name() string
	// Close closes the handle. Calls in progress finish.
	Close() error
}

// File is an open regular file. ReadAt, WriteAt, Sync, Datasync, Stat and Close
// are safe for concurrent use; Read, Write and Seek share one position.
// A file opened with O_APPEND refuses WriteAt.
//
// The File of OS also implements syscall.Conn, for locks.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	// Name is the path for messages.
	Name() string
	// Stat describes the file.
	Stat() (Info, error)
	// Truncate sets the size; a longer file is filled with zeros.
	Truncate(size int64) error
	// Sync makes the content, size and times durable, not the name. An error
	// is final: see the package comment. OS returns it again from then on.
	Sync() error
	// Datasync is Sync without the times, and cheaper where the size stays.
	Datasync() error
}

// Info describes a file or directory. Inode, Device and UID are zero and Links
// is one where the system does not tell.
type Info struct {
	Name    string      // last element
	Size    int64       // octets
	Mode    fs.FileMode // type and permissions
	ModTime time.Time   // last change of the content
	Changed time.Time   // last change of content or inode (ctime); zero if unknown
	Inode   uint64
	Device  uint64
	Links   uint64
	UID     uint32
}

// IsDir tells whether it is a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// IsRegular tells whether it is a regular file.
func (i Info) IsRegular() bool { return i.Mode.IsRegular() }

// SameFile tells whether both describe one file. It is false where the system
// does not number files.
func SameFile(a, b Info) bool {
	return a.Inode != 0 && a.Inode == b.Inode && a.Device == b.Device
}

// CheckName returns ErrBadName unless name is a single path element. Every Dir
// calls it.
func CheckName(name string) error {
	if name == "" || name == "." || name == ".." {
		return ErrBadName
	}
	for i := range len(badInName) { // several times as fast as strings.ContainsAny, and each call has one or two names
		if strings.IndexByte(name, badInName[i]) >= 0 {
			return ErrBadName
		}
	}
	return nil
}

// CheckPrivate describes an open file and refuses it with ErrLinked when it has
// another name as well, and with ErrOwner when it is not owned by uid
// (negative: any owner). Files that are appended to under a well-known name,
// such as an mbox, need this: a hard link in its place would write elsewhere.
func CheckPrivate(f File, uid int) (Info, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return info, err
	case info.Links > 1:
		return info, &fs.PathError{Op: "open", Path: f.Name(), Err: ErrLinked}
	case uid >= 0 && int64(info.UID) != int64(uid):
		return info, &fs.PathError{Op: "open", Path: f.Name(), Err: ErrOwner}
	}
	return info, nil
}

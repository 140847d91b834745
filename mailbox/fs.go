package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FS shows an account as a read-only file system: a directory for each folder and each level of the hierarchy, in it a file
// for each message, "0000000042.eml" for UID 42, so that names sort as messages arrived. A file holds the message in network
// form (CRLF), its time is INTERNALDATE, and FileInfo.Sys is its Meta. Nothing is kept: each call sees the folders as they are,
// a message is opened when its file is, and lists cost what Mailboxes and Changes do. Folders that have no valid path
// (fs.ValidPath) do not show, nor does a message whose file has the name of a folder.
//
// ctx is that of all calls. It implements fs.ReadDirFS and fs.StatFS; files are io.ReaderAt and io.Seeker. Who opens a file
// must close it. It is safe for concurrent use, an open file is not, but for ReadAt.
func FS(ctx context.Context, a Account) fs.FS {
	return &mailFS{ctx, func() (map[string]bool, error) { return folderPaths(ctx, a) }, a.Open}
}

// MailboxFS is FS for one folder: its messages are in the file system's root.
func MailboxFS(ctx context.Context, m Mailbox) fs.FS {
	return &mailFS{
		ctx, func() (map[string]bool, error) { return map[string]bool{".": true}, nil },
		func(context.Context, string) (Mailbox, error) { return keptOpen{m}, nil },
	}
}

// keptOpen is a handle that is somebody else's to close.
type keptOpen struct{ Mailbox }

func (keptOpen) Close() error { return nil }

type mailFS struct {
	ctx  context.Context
	list func() (map[string]bool, error) // the directories; true: a folder with messages
	open func(ctx context.Context, name string) (Mailbox, error)
}

// folderPaths lists an account's folders and the levels above them.
func folderPaths(ctx context.Context, a Account) (map[string]bool, error) {
	dirs := map[string]bool{".": false}
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		if !fs.ValidPath(info.Name) || info.Name == "." {
			continue
		}
		dirs[info.Name] = !info.NoSelect
		for dir := path.Dir(info.Name); dir != "."; dir = path.Dir(dir) {
			if _, ok := dirs[dir]; !ok {
				dirs[dir] = false
			}
		}
	}
	return dirs, nil
}

const messageSuffix = ".eml"

func messageFile(u UID) string { return fmt.Sprintf("%010d%s", u, messageSuffix) }

// fileUID reads the UID of a message's file name; 0 for other names.
func fileUID(name string) UID {
	digits, ok := strings.CutSuffix(name, messageSuffix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || messageFile(UID(n)) != name {
		return 0
	}
	return UID(n)
}

// pathError gives errors of stores the names that they have in fs.
func pathError(op, name string, err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrGone) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	} else if errors.Is(err, ErrForbidden) {
		err = fmt.Errorf("%w: %w", fs.ErrPermission, err)
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// find tells what is at a path: a directory, with all there are, or (uid not 0) a message of the folder dir.
func (f *mailFS) find(name string) (dirs map[string]bool, dir string, uid UID, err error) {
	if !fs.ValidPath(name) {
		return nil, "", 0, fs.ErrInvalid
	}
	if dirs, err = f.list(); err != nil {
		return nil, "", 0, err
	}
	if _, ok := dirs[name]; ok {
		return dirs, name, 0, nil
	}
	dir, uid = path.Dir(name), fileUID(path.Base(name))
	if uid == 0 || !dirs[dir] {
		return nil, "", 0, fs.ErrNotExist
	}
	return dirs, dir, uid, nil
}

// Open implements fs.FS.
func (f *mailFS) Open(name string) (fs.File, error) {
	dirs, dir, uid, err := f.find(name)
	if err == nil && uid == 0 {
		return &mailDir{f: f, info: dirInfo(name), path: name, dirs: dirs}, nil
	}
	var file fs.File
	if err == nil {
		file, err = f.message(dir, uid)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return file, nil
}

// Stat implements fs.StatFS. A message is opened only where its size is not known.
func (f *mailFS) Stat(name string) (fs.FileInfo, error) {
	_, dir, uid, err := f.find(name)
	if err == nil && uid == 0 {
		return dirInfo(name), nil
	}
	var info mailInfo
	if err == nil {
		info, err = f.stat(dir, uid)
	}
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return info, nil
}

func (f *mailFS) stat(dir string, uid UID) (info mailInfo, err error) {
	m, err := f.open(f.ctx, dir)
	if err != nil {
		return info, err
	}
	defer m.Close()
	ch, err := List(f.ctx, m, UIDs(uid))
	if err != nil {
		return info, err
	}
	for meta := range ch.Messages {
		if meta.Size >= 0 {
			return mailInfo{messageFile(uid), meta.Size, meta}, nil
		}
		file, err := f.message(dir, uid)
		if err != nil {
			return info, err
		}
		defer file.Close()
		return file.info, nil
	}
	return info, fs.ErrNotExist
}

// ReadDir implements fs.ReadDirFS.
func (f *mailFS) ReadDir(name string) ([]fs.DirEntry, error) {
	dirs, _, uid, err := f.find(name)
	var entries []fs.DirEntry
	switch {
	case err == nil && uid != 0:
		err = errors.New("not a directory")
	case err == nil:
		entries, err = f.entries(name, dirs)
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	return entries, nil
}

// entries lists a directory, sorted.
func (f *mailFS) entries(name string, dirs map[string]bool) (entries []fs.DirEntry, err error) {
	taken := make(map[string]bool)
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if dir != "." && path.Dir(dir) == name {
			taken[path.Base(dir)] = true
			entries = append(entries, mailEntry{dirInfo(dir), f, ""})
		}
	}
	if dirs[name] {
		m, err := f.open(f.ctx, name)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		ch, err := m.Changes(f.ctx, 0)
		if err != nil {
			return nil, err
		}
		for meta := range ch.Messages {
			if file := messageFile(meta.UID); !taken[file] {
				entries = append(entries, mailEntry{mailInfo{file, meta.Size, meta}, f, name})
			}
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// message opens a message. Read's step lasts until the file is closed.
func (f *mailFS) message(dir string, uid UID) (*mailFile, error) {
	m, err := f.open(f.ctx, dir)
	if err != nil {
		return nil, err
	}
	next, stop := iter.Pull2(m.Read(f.ctx, UIDs(uid)))
	msg, err, ok := next()
	if err == nil && !ok {
		err = fs.ErrNotExist
	}
	if err != nil {
		stop()
		_ = m.Close()
		return nil, err
	}
	size := msg.Content.Size()
	return &mailFile{
		SectionReader: io.NewSectionReader(msg.Content, 0, size),
		info:          mailInfo{messageFile(uid), size, msg.Meta},
		close:         func() error { stop(); return m.Close() },
	}, nil
}

// mailInfo describes a message's file, or, with UID 0, a directory.
type mailInfo struct {
	name string
	size int64
	meta Meta
}

func dirInfo(name string) mailInfo { return mailInfo{name: path.Base(name)} }

func (i mailInfo) Name() string       { return i.name }
func (i mailInfo) Size() int64        { return i.size }
func (i mailInfo) IsDir() bool        { return i.meta.UID == 0 }
func (i mailInfo) ModTime() time.Time { return i.meta.Date.Time() }

func (i mailInfo) Mode() fs.FileMode {
	if i.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// Sys returns the Meta of a message, nil for a directory.
func (i mailInfo) Sys() any {
	if i.IsDir() {
		return nil
	}
	return i.meta
}

// mailEntry is a line of a directory's list.
type mailEntry struct {
	info mailInfo
	f    *mailFS
	dir  string
}

func (e mailEntry) Name() string      { return e.info.name }
func (e mailEntry) IsDir() bool       { return e.info.IsDir() }
func (e mailEntry) Type() fs.FileMode { return e.info.Mode().Type() }
func (e mailEntry) String() string    { return fs.FormatDirEntry(e) }

// Info finds the size out where the list does not know it.
func (e mailEntry) Info() (fs.FileInfo, error) {
	if e.info.size >= 0 {
		return e.info, nil
	}
	info, err := e.f.stat(e.dir, e.info.meta.UID)
	if err != nil {
		return nil, pathError("stat", path.Join(e.dir, e.info.name), err)
	}
	return info, nil
}

// mailFile is an open message.
type mailFile struct {
	*io.SectionReader
	info   mailInfo
	close  func() error
	closed bool
}

func (f *mailFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *mailFile) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.info.name, Err: fs.ErrClosed}
	}
	f.closed = true
	f.SectionReader = io.NewSectionReader(closedContent{}, 0, 1)
	return f.close()
}

// closedContent is what a closed file holds.
type closedContent struct{}

func (closedContent) ReadAt([]byte, int64) (int, error) { return 0, fs.ErrClosed }

// mailDir is an open directory. It is listed at the first ReadDir.
type mailDir struct {
	f      *mailFS
	info   mailInfo
	path   string
	dirs   map[string]bool
	listed bool
	left   []fs.DirEntry
}

func (d *mailDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *mailDir) Close() error               { return nil }

func (d *mailDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *mailDir) ReadDir(n int) (entries []fs.DirEntry, err error) {
	if !d.listed {
		if d.left, err = d.f.entries(d.path, d.dirs); err != nil {
			return nil, pathError("readdir", d.path, err)
		}
		d.listed = true
	}
	if n > 0 && len(d.left) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.left) {
		n = len(d.left)
	}
	entries, d.left = d.left[:n:n], d.left[n:]
	return entries, nil
}

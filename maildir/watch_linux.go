package maildir

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// observer is a Store's inotify descriptor. It exists while anything is watched.
type observer struct {
	mu      sync.Mutex
	file    *os.File
	targets map[int32][]watchTarget // by watch descriptor
	ended   chan struct{}           // closed when the reader has returned
}

// watchEvents are the same for all: a directory that is watched twice has one watch.
const watchEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

// observe asks the system to tell of changes in directories. ok is false where it can not (another file system, too
// many watches): they must be polled.
func (s *Store) observe(dirs ...dirWatch) (stop func(), ok bool) {
	if _, system := s.fs().(faultfs.OS); !system {
		return nil, false
	}
	o := &s.observer
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.start(); err != nil {
		return nil, false
	}
	var descriptors []int32
	remove := func() {
		for i, wd := range descriptors {
			o.remove(wd, dirs[i].target)
		}
		o.rest()
	}
	for _, d := range dirs {
		wd, err := o.add(d.path, s.maxWatches())
		if err != nil {
			remove()
			return nil, false
		}
		descriptors = append(descriptors, wd)
		o.targets[wd] = append(o.targets[wd], d.target)
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		remove()
	}, true
}

func (o *observer) start() error {
	if o.file != nil {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	o.file = os.NewFile(uintptr(fd), "inotify")
	o.targets = make(map[int32][]watchTarget)
	o.ended = make(chan struct{})
	go o.read(o.file, o.ended)
	return nil
}

func (o *observer) add(path string, limit int) (wd int32, err error) {
	if limit >= 0 && len(o.targets) >= limit {
		return 0, unix.ENOSPC
	}
	raw, err := o.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := raw.Control(func(fd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(fd), path, watchEvents)
		wd = int32(n)
	}); e != nil {
		return 0, e
	}
	return wd, err
}

// remove ends a watch. o.mu is held.
func (o *observer) remove(wd int32, target watchTarget) {
	i := slices.Index(o.targets[wd], target)
	if i < 0 {
		return
	}
	if o.targets[wd] = slices.Delete(o.targets[wd], i, i+1); len(o.targets[wd]) > 0 {
		return
	}
	delete(o.targets, wd)
	if raw, err := o.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// rest closes the descriptor when nothing is watched any more. o.mu is held.
func (o *observer) rest() {
	if len(o.targets) == 0 && o.file != nil {
		_ = o.file.Close()
		o.file = nil
	}
}

// read hands events on until the descriptor is closed. All events of one read make one call per target.
func (o *observer) read(file *os.File, ended chan struct{}) {
	defer close(ended)
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return
		}
		for t := range o.concerned(file, buf[:n]) {
			t.touched()
		}
	}
}

// concerned returns whom some events concern; everybody when events were lost.
func (o *observer) concerned(file *os.File, b []byte) map[watchTarget]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := make(map[watchTarget]bool)
	if o.file != file {
		return found // nothing was watched for a moment: the descriptors are another file's
	}
	tell := func(targets []watchTarget, name string) {
		for _, t := range targets {
			if t = t.concerned(name); t != nil {
				found[t] = true
			}
		}
	}
	for len(b) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:])
		size := min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])), len(b))
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:size], []byte{0})
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			for _, targets := range o.targets {
				tell(targets, "")
			}
		case mask&unix.IN_IGNORED != 0: // the directory is gone
			delete(o.targets, wd)
		default:
			tell(o.targets[wd], string(name))
		}
		b = b[size:]
	}
	return found
}

package maildir

import (
	"encoding/binary"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

// observer is a Store's inotify descriptor. It exists while a folder is watched.
type observer struct {
	mu      sync.Mutex
	file    *os.File
	folders map[int32][]*folder // by watch descriptor
	ended   chan struct{}       // closed when the reader has returned
}

const watchEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR

// observe asks the system to tell of changes in new/ and cur/. ok is false where it can not (another file system, too many
// watches): the folder must be polled.
func (s *Store) observe(f *folder) (stop func(), ok bool) {
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
	for _, dir := range []faultfs.Dir{f.new.Dir, f.cur.Dir} {
		wd, err := o.add(dir.Name())
		if err != nil {
			o.remove(f, descriptors)
			return nil, false
		}
		descriptors = append(descriptors, wd)
		o.folders[wd] = append(o.folders[wd], f)
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.remove(f, descriptors)
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
	o.folders = make(map[int32][]*folder)
	o.ended = make(chan struct{})
	go o.read(o.file, o.ended)
	return nil
}

func (o *observer) add(path string) (wd int32, err error) {
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

// remove ends watches; with the last one the descriptor goes. o.mu is held.
func (o *observer) remove(f *folder, descriptors []int32) {
	for _, wd := range descriptors {
		i := slices.Index(o.folders[wd], f)
		if i < 0 {
			continue
		}
		if o.folders[wd] = slices.Delete(o.folders[wd], i, i+1); len(o.folders[wd]) > 0 {
			continue
		}
		delete(o.folders, wd)
		if raw, err := o.file.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
		}
	}
	if len(o.folders) == 0 && o.file != nil {
		_ = o.file.Close()
		o.file = nil
	}
}

// read hands events on until the descriptor is closed. All events of one read make one call per folder.
func (o *observer) read(file *os.File, ended chan struct{}) {
	defer close(ended)
	buf := make([]byte, 64<<10)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return
		}
		for f := range o.concerned(buf[:n]) {
			f.touched()
		}
	}
}

// concerned returns the folders of some events; all of them when events were lost.
func (o *observer) concerned(b []byte) map[*folder]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	found := make(map[*folder]bool)
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		if wd < 0 { // IN_Q_OVERFLOW
			for _, all := range o.folders {
				for _, f := range all {
					found[f] = true
				}
			}
		}
		for _, f := range o.folders[wd] {
			found[f] = true
		}
		b = b[min(unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(b[12:])), len(b)):]
	}
	return found
}

package faultfs

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Model says how far a disk may reorder directory changes that were not synced.
// File content is treated alike in all of them: nothing but Sync fixes it.
type Model int

const (
	// POSIX promises only what was synced: any subset of the unsynced
	// directory changes may have reached the disk. A rename inside one
	// directory is one change. Between two directories the new name may be
	// durable without the removal of the old, a second link so to speak; the
	// removal never goes first, which POSIX does not say and every file system
	// worth mail keeps. Directories move whole.
	POSIX Model = iota
	// Ordered is a journal in the manner of ext4: changes reach the disk in
	// the order made, a rename always whole, and any Sync of a file or
	// directory commits all that were made before it.
	Ordered
)

// Crash is a file system in memory that keeps apart what is durable and what
// is not. It starts with an empty root "/"; relative paths start there as
// well. States lists every disk a power cut could leave; [EachCrash] does so
// after every single call of an operation.
//
// Inode numbers, link counts and open-but-removed files behave as on a real
// file system; Names come in an order shuffled by the seed. Times of
// modification are durable with the file's Sync only if set by Chtimes;
// those that writing sets survive always. Permissions are kept and not enforced.
// A file is at most 1 GiB.
//
// Set the fields before use. A Crash is safe for concurrent use.
type Crash struct {
	// Model is POSIX unless set.
	Model Model
	// Now gives the times of modification. Nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	seed    uint64
	device  uint64 // another one for each disk: programs keep what they have locked by it
	lists   uint64 // calls of Names, each shuffled differently
	last    uint64 // number given last, to an inode or change
	root    *inode
	pending []change // directory changes not durable, in order
	marks   []string
	record  func(after string) // EachCrash looks here after each change
}

// inode is a file or directory with its two faces: as programs see it, and
// as the disk has it.
type inode struct {
	num     uint64
	mode    fs.FileMode
	mtime   time.Time
	ctime   time.Time
	links   int    // names in the current view
	parent  *inode // of a directory
	entries map[string]*inode
	durable map[string]*inode // entries on disk

	data    []byte // current content
	shared  bool   // data is disk's slice, to be copied before a change
	disk    []byte // synced content, never modified in place
	version uint64 // counts the syncs that changed disk
	dtime   time.Time
	pending []write // changes of content since the last sync, in order
}

// change is one directory change that reaches the disk whole or not at all.
type change struct {
	what    string // for messages
	effects []effect
	id      uint64
	needs   uint64 // the change that must be on the disk before; 0 = none
}

func (ch change) touches(n *inode) bool {
	return slices.ContainsFunc(ch.effects, func(e effect) bool { return e.dir == n })
}

// effect is one entry's new value; nil removes the name.
type effect struct {
	dir  *inode
	name string
	node *inode
}

const (
	maxCrashFile = 1 << 30
	crashDirPerm = 0o755
)

// NewCrash makes an empty file system. The seed decides the order of Names and
// which crash states are tried where there are too many.
func NewCrash(seed uint64) *Crash {
	c := &Crash{seed: seed, device: 1<<32 | uint64(rand.Uint32())}
	c.root = c.newInode(fs.ModeDir|crashDirPerm, time.Time{})
	c.root.links = 1
	c.root.parent = c.root
	return c
}

// Mark notes that something was promised, such as "message 7 acknowledged".
// Crash states taken from here on carry it in Marks.
func (c *Crash) Mark(label string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marks = append(c.marks, label)
	c.changed("mark " + label)
}

// SyncAll makes everything durable, as a clean unmount does.
func (c *Crash) SyncAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applyChanges(func(change) bool { return true })
	seen := map[*inode]bool{}
	for todo := []*inode{c.root}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		n.settle(true)
		todo = slices.AppendSeq(todo, maps.Values(n.entries))
	}
}

// OpenDir implements FS.
func (c *Crash) OpenDir(path string) (Dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clean := filepath.ToSlash(path[len(filepath.VolumeName(path)):])
	n := c.root
	for name := range strings.SplitSeq(filepath.ToSlash(filepath.Clean("/"+clean)), "/") {
		if name == "" {
			continue
		}
		child := n.entries[name]
		if child == nil {
			return nil, &fs.PathError{Op: "opendir", Path: path, Err: syscall.ENOENT}
		}
		if child.entries == nil {
			return nil, &fs.PathError{Op: "opendir", Path: path, Err: ErrNotDir}
		}
		n = child
	}
	return &crashDir{c: c, n: n, path: path}, nil
}

func (c *Crash) newInode(mode fs.FileMode, now time.Time) *inode {
	c.last++
	n := &inode{num: c.last, mode: mode, mtime: now, dtime: now, ctime: now}
	if mode.IsDir() {
		n.entries, n.durable = map[string]*inode{}, map[string]*inode{}
	}
	return n
}

func (c *Crash) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// changed tells the recorder, if any.
func (c *Crash) changed(after string) {
	if c.record != nil {
		c.record(after)
	}
}

// rng returns a generator for one purpose, the same in each run.
func (c *Crash) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(c.seed, stream)) }

// commit performs a directory change in the current view and keeps it pending for
// the disk. Under POSIX each directory's part is on its own.
func (c *Crash) commit(what string, effects ...effect) {
	now := c.now()
	for _, e := range effects {
		c.set(e, now)
	}
	c.last += 2
	if c.Model == POSIX && len(effects) == 2 && effects[0].dir != effects[1].dir && effects[0].node.entries == nil {
		c.pending = append(c.pending,
			change{what + " (new name)", effects[:1:1], c.last - 1, 0},
			change{what + " (removal of the old name)", effects[1:], c.last, c.last - 1})
	} else {
		c.pending = append(c.pending, change{what, effects, c.last, 0})
	}
	c.changed(what)
}

// set gives an entry its new value in the current view.
func (c *Crash) set(e effect, now time.Time) {
	if old := e.dir.entries[e.name]; old != nil {
		old.links--
		old.ctime = now
	}
	delete(e.dir.entries, e.name)
	if e.node != nil {
		e.dir.entries[e.name] = e.node
		e.node.links++
		e.node.ctime = now
		if e.node.entries != nil {
			e.node.parent = e.dir
		}
	}
	e.dir.mtime, e.dir.ctime = now, now
}

// applyChanges moves the chosen pending changes to the disk. With each go the one it
// needs and those made before it to the same entries, or they would come after it.
func (c *Crash) applyChanges(chosen func(change) bool) {
	type entry struct {
		dir  *inode
		name string
	}
	needed, entries := map[uint64]bool{}, map[entry]bool{}
	for _, ch := range slices.Backward(c.pending) {
		earlier := slices.ContainsFunc(ch.effects, func(e effect) bool { return entries[entry{e.dir, e.name}] })
		if !chosen(ch) && !needed[ch.id] && !earlier {
			continue
		}
		needed[ch.id], needed[ch.needs] = true, true
		for _, e := range ch.effects {
			entries[entry{e.dir, e.name}] = true
		}
	}
	c.pending = slices.DeleteFunc(slices.Clone(c.pending), func(ch change) bool {
		if needed[ch.id] {
			for _, e := range ch.effects {
				e.put(e.dir.durable)
			}
		}
		return needed[ch.id]
	})
}

// put gives an entry its value in a map of entries.
func (e effect) put(entries map[string]*inode) {
	if e.node == nil {
		delete(entries, e.name)
	} else {
		entries[e.name] = e.node
	}
}

// syncDir is Dir.Sync.
func (c *Crash) syncDir(n *inode) {
	c.applyChanges(func(ch change) bool { return ch.touches(n) || c.Model == Ordered })
}

// syncFile is File.Sync and Datasync.
func (c *Crash) syncFile(n *inode, times bool) {
	n.settle(times)
	if c.Model == Ordered {
		c.applyChanges(func(change) bool { return true })
	}
}

// dropDir forgets the pending changes of a directory, and what needs them: they stay
// visible and never reach the disk. That is what a failed fsync does.
func (c *Crash) dropDir(n *inode) {
	dropped := map[uint64]bool{}
	c.pending = slices.DeleteFunc(slices.Clone(c.pending), func(ch change) bool {
		dropped[ch.id] = ch.touches(n) || dropped[ch.needs]
		return dropped[ch.id]
	})
}

package maildir

import (
	"sync"

	"github.com/goniec-mail/goniec/faultfs"
)

// syncDir is a directory whose syncs are shared.
type syncDir struct {
	faultfs.Dir
	group *faultfs.Group
	main  sync.Mutex // the handle is not synced twice at a time
	more  [syncsAtOnce - 1]moreSync
}

// syncsAtOnce is how many syncs of one directory run at a time, and up to how many callers each syncs at once. With one,
// 8 writers lose up to a fourth of the rate that they have without sharing where the disk is slow; with more than eight,
// 32 writers lose what sharing gains.
const syncsAtOnce = 6

// moreSync is one more handle on a syncDir's directory, opened at its first use: deliveries one after the other need none.
type moreSync struct {
	of   *syncDir
	base faultfs.Dir
	name string
	own  faultfs.Dir
}

// init makes d the open directory dir, which is called name in base.
func (d *syncDir) init(dir, base faultfs.Dir, name string) {
	d.Dir = dir
	var more []func() error
	for i := range d.more {
		d.more[i] = moreSync{of: d, base: base, name: name}
		more = append(more, d.more[i].sync)
	}
	d.group = faultfs.NewGroup(d.syncMain, more...)
}

// Sync makes the directory's entries durable; one sync serves all who wait.
func (d *syncDir) Sync() error { return d.group.Sync() }

func (d *syncDir) syncMain() error {
	d.main.Lock()
	defer d.main.Unlock()
	return d.Dir.Sync()
}

func (d *syncDir) closeMore() {
	for i := range d.more {
		if own := d.more[i].own; own != nil {
			_ = own.Close()
		}
	}
}

// sync syncs the directory by the own handle; where that can not be had (too many files are open, or the name leads
// to another directory by now) by the main one, when that is free.
func (m *moreSync) sync() error {
	if m.own == nil && !m.open() {
		return m.of.syncMain()
	}
	return m.own.Sync()
}

func (m *moreSync) open() bool {
	own, err := m.base.OpenDir(m.name)
	if err != nil {
		return false
	}
	info, err := own.Stat()
	if main, e := m.of.Dir.Stat(); err != nil || e != nil || !sameDir(info, main) {
		_ = own.Close()
		return false
	}
	m.own = own
	return true
}

package maildir

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// moving is messages on their way from new/ to cur/.
type moving struct {
	f     *folder
	at    time.Time  // when new/ was listed
	mtime time.Time  // of new/, before that
	old   []string   // names in new/
	names []string   // those linked into cur/
	done  chan error // gets the outcome of finish; nil when nothing is under way
}

// takeNew links the messages of new/ into cur/. Once that is durable, the old names go, so that a crash can leave both names
// but never none; wait must follow. sure is false when others were at work, so that cur/ must be listed.
func (f *folder) takeNew() (m *moving, sure bool, err error) {
	info, err := f.new.Stat()
	if err != nil {
		return nil, false, err
	}
	m = &moving{f: f, at: f.acct.store.now(), mtime: info.ModTime}
	names, err := f.new.Names()
	if err != nil {
		return nil, false, err
	}
	m.old = slices.DeleteFunc(names, func(n string) bool { return !isMessage(n) })
	if sure, err = m.link(); err == nil && len(m.old) > 0 {
		m.done = make(chan error, 1)
		go func() { m.done <- m.finish() }()
	}
	return m, sure, err
}

func (m *moving) link() (sure bool, err error) {
	f := m.f
	sure = true
	for i, n := range m.old {
		base, info := splitInfo(n)
		if info == "" {
			info = infoNone
		}
		err := linkOrRename(f.new.Dir, n, f.cur.Dir, base+info)
		if diskFull(err) {
			f.wait(err)
			m.old = m.old[:i]
			break
		}
		switch {
		case err == nil:
			m.names = append(m.names, base+info)
		case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
			sure = false // linked before a crash, or moved by another program just now
		default:
			return false, err
		}
	}
	return sure, nil
}

// linkOrRename gives a file a second name, or, where the file system has no links, another name.
func linkOrRename(from faultfs.Dir, name string, to faultfs.Dir, newName string) error {
	err := from.Link(name, to, newName)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		return from.Rename(name, to, newName)
	}
	return err
}

// finish makes the new names durable, and removes the old ones, durably. It does not look at the folder's state: UIDs are
// given meanwhile.
func (m *moving) finish() error {
	f := m.f
	if err := f.failed(f.cur.Sync()); err != nil {
		return err
	}
	for _, n := range m.old {
		if err := f.new.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// A name that a crash brings back would be a new message once this one has been flagged, moved or expunged.
	return f.failed(f.new.Sync())
}

// wait returns when the messages have moved.
func (m *moving) wait() error {
	f := m.f
	if m.done != nil {
		if err := <-m.done; err != nil {
			return err
		}
		info, err := f.new.Stat()
		if err != nil {
			return err
		}
		m.mtime = info.ModTime
	}
	f.state.seenNew = dirSeen{m.mtime, m.at}
	return nil
}

// takeMoved gives the messages UIDs while they move.
func (f *folder) takeMoved(ctx context.Context, m *moving) error {
	if len(m.names) == 0 {
		return m.wait()
	}
	err := f.takeFresh(ctx, m.names)
	if e := m.wait(); e != nil {
		f.state.loaded = false // nobody may see them
		return errors.Join(err, e)
	}
	f.noteOwn()
	return err
}

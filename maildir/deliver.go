package maildir

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// dateStamp is the INTERNALDATE of a message, kept as its file's time; nil is the present.
type dateStamp time.Time

func stampOf(t time.Time) *dateStamp {
	if t.IsZero() {
		return nil
	}
	return (*dateStamp)(&t)
}

// apply sets a file's time. The file's sync, which follows, makes it durable.
func (d *dateStamp) apply(dir faultfs.Dir, name string) error {
	if d == nil {
		return nil
	}
	return dir.Chtimes(name, time.Time(*d))
}

// DeliverAll implements mailbox.MultiDeliverer. The message is written once; what the targets get are links
// to it where the file system allows, else copies. It goes into new/ (into cur/ when o has flags)
// without a UID.
func (s *Store) DeliverAll(ctx context.Context, to []mailbox.Target, msg io.Reader, o mailbox.AppendOptions) []error {
	s.init()
	d := &delivery{ctx: ctx, store: s, msg: msg, options: o, errs: make([]error, len(to))}
	defer d.finish()
	for i, t := range to {
		d.errs[i] = d.add(i, t)
	}
	d.sync()
	return d.errs
}

// Deliver delivers a message into one folder; "" is INBOX. When it returns nil, the message is
// durable. It has no UID yet: the next use of the folder gives it one.
func (s *Store) Deliver(ctx context.Context, user, name string, msg io.Reader, o mailbox.AppendOptions) error {
	return s.DeliverAll(ctx, []mailbox.Target{{User: user, Name: name}}, msg, o)[0]
}

// delivery is one DeliverAll under way.
type delivery struct {
	ctx     context.Context
	store   *Store
	msg     io.Reader
	options mailbox.AppendOptions
	errs    []error

	source *folder // in whose tmp/ the message lies, for the links
	file   *stored
	given  bool  // file is no longer in tmp/
	failed error // the message could not be read: it is of no use to ask it again
	placed []placed
}

// placed is a target whose directory is to be synced.
type placed struct {
	target int
	folder *folder
	dir    *syncDir
}

// add puts the message into one target, not durably yet.
func (d *delivery) add(i int, t mailbox.Target) error {
	f, err := d.store.openTarget(d.ctx, t)
	if err != nil {
		return err
	}
	dir, info, err := d.place(f)
	if err == nil {
		err = d.put(f, dir, info)
	}
	if err != nil {
		d.store.release(f)
		return err
	}
	d.placed = append(d.placed, placed{i, f, dir})
	return nil
}

func (s *Store) openTarget(ctx context.Context, t mailbox.Target) (*folder, error) {
	a, err := s.account(ctx, t.User)
	if err != nil {
		return nil, err
	}
	defer s.releaseAccount(a)
	if t.Name == "" {
		t.Name = inbox
	}
	return s.acquire(a, t.Name)
}

// place says where the message goes: flags can only be had in cur/.
func (d *delivery) place(f *folder) (dir *syncDir, info string, err error) {
	if d.options.Flags.System&mailbox.SystemFlags == 0 && len(d.options.Flags.Keywords) == 0 {
		return &f.new, "", nil
	}
	if err := f.enter(d.ctx, true); err != nil {
		return nil, "", err
	}
	defer f.leave(&err)
	bits, err := f.resolve(d.ctx, d.options.Flags)
	return &f.cur, string(appendInfo(nil, bits)), err
}

// put writes the message, or links it from where it lies already.
func (d *delivery) put(f *folder, dir *syncDir, info string) error {
	if d.failed != nil {
		return d.failed
	}
	if d.source == nil {
		m, err := d.store.spoolTo(d.ctx, f.tmp, d.msg, stampOf(d.options.Date))
		if err != nil {
			if _, again := goniec.AsContent(d.msg); !again {
				d.failed = err
			}
			return err
		}
		d.keep(f, m)
	}
	refund, err := f.acct.charge(d.ctx, d.file.netSize, 1)
	if err != nil {
		return err
	}
	if err = d.give(f, dir, info); err != nil {
		refund()
	}
	return err
}

// give puts the stored message into a directory: a rename for the only target, else a link, else a copy (there are no
// links here, too many of them, or it is another file system).
func (d *delivery) give(f *folder, dir *syncDir, info string) error {
	if len(d.errs) == 1 {
		err := moveIn(f, d.file, dir, info)
		if err == nil {
			d.given = true
		}
		return err
	}
	name := withSizes(d.store.names.next(), d.file.fileSize, d.file.netSize)
	if d.source.tmp.Link(d.file.tmp, dir.Dir, name+info) == nil {
		return nil
	}
	return d.copy(f, dir, info)
}

// keep makes a file in tmp/ the source of all links, until finish.
func (d *delivery) keep(f *folder, m *stored) {
	d.source, d.file = f, m
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.take(f)
}

// copy writes the message again, from the first file.
func (d *delivery) copy(f *folder, dir *syncDir, info string) error {
	file, err := d.source.tmp.Open(d.file.tmp)
	if err != nil {
		return err
	}
	how := formLF
	if d.file.fileSize == d.file.netSize {
		how = formRaw
	}
	c := newContent(file, d.file.netSize, how)
	defer c.Close()
	m, err := d.store.spoolTo(d.ctx, f.tmp, goniec.NewReader(c), stampOf(d.options.Date))
	if err != nil {
		return err
	}
	if err = moveIn(f, m, dir, info); err != nil {
		_ = f.tmp.Remove(m.tmp)
	}
	return err
}

// moveIn gives a file in tmp/ its place.
func moveIn(f *folder, m *stored, dir *syncDir, info string) error {
	return f.tmp.Rename(m.tmp, dir.Dir, m.name()+info)
}

// syncers bounds how many directories are synced at once: the file system puts such syncs into one
// commit of its journal.
const syncers = 16

// sync makes all targets durable.
func (d *delivery) sync() {
	if len(d.placed) == 1 {
		d.settle(d.placed[0])
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, syncers)
	for _, p := range d.placed {
		slots <- struct{}{}
		wg.Go(func() {
			d.settle(p)
			<-slots
		})
	}
	wg.Wait()
}

func (d *delivery) settle(p placed) {
	err := p.folder.failed(p.dir.Sync())
	d.errs[p.target] = err
	if err == nil {
		p.folder.changed()
	}
	d.store.release(p.folder)
}

// finish removes the file that was linked from.
func (d *delivery) finish() {
	if d.source != nil {
		if !d.given {
			_ = d.source.tmp.Remove(d.file.tmp)
		}
		d.store.release(d.source)
	}
}

var _ mailbox.MultiDeliverer = (*Store)(nil)

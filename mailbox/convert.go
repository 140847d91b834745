package mailbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// Converter copies folders from one account into another, of any two stores, with dates, flags and
// keywords as far as the target can. UIDs are kept where the target is a UIDAppender and KeepUIDs is set.
// The source is not changed. What a folder has when its turn comes is copied. Set the fields, then call Run.
type Converter struct {
	From, To Account
	// Rename gives the target's name for a folder; "" leaves it out. nil copies all under their names.
	Rename func(name string) string
	// KeepUIDs keeps UIDs where the target can.
	KeepUIDs bool
	// DryRun only counts.
	DryRun bool
	// Verify reads each folder on both sides after copying and compares content, date and system flags.
	Verify bool
	// StateDir and StateName name a file that remembers what was copied. A later Run with the same file goes on there,
	// and copies no message twice, wherever the first one was killed: what the target got after the last note is
	// recognised by its content. StateDir nil: no file. Two Runs at once must not share a file.
	StateDir  faultfs.Dir
	StateName string
	// Progress, if not nil, is called after each batch of messages, and must return soon.
	Progress func(Progress)
}

// Progress tells how far a conversion is.
type Progress struct {
	Folder            string // the source's name
	Folders, Finished int    // how many folders there are, and how many are finished
	Messages, Total   int64  // done (also by earlier runs) and in all
	Octets            int64  // copied by this run
}

// FolderReport tells what happened to one folder.
type FolderReport struct {
	From, To string
	Messages int   // in the source
	Copied   int   // by this run
	Before   int   // by earlier runs
	Octets   int64 // copied by this run
	KeptUIDs int   // copied with their UIDs
	// Failed lists messages that could not be copied, and why (the first 100). A later Run tries them again.
	Failed []FailedMessage
	// Verified is how many were found in the target, Missing how many were not; with Verify only.
	Verified, Missing int
}

// FailedMessage is a message that could not be copied.
type FailedMessage struct {
	UID UID
	Err error
}

const (
	convertBatch  = 64      // messages
	convertOctets = 8 << 20 // of a batch, after which it ends
	maxFailed     = 100
)

// Run copies. It returns a report for each folder it came to, also with an error. A message that can not be read, or
// is too large for the target, does not stop it; any other error does.
func (c *Converter) Run(ctx context.Context) ([]FolderReport, error) {
	state, err := c.loadState()
	if err != nil {
		return nil, err
	}
	run := &conversion{Converter: c, state: state}
	names, err := run.count(ctx)
	if err != nil {
		return nil, err
	}
	var reports []FolderReport
	for i, name := range names {
		run.progress.Folder, run.progress.Finished = name[0], i
		rep, err := run.folder(ctx, name[0], name[1])
		reports = append(reports, rep)
		if err != nil {
			return reports, fmt.Errorf("folder %.80q: %w", name[0], err)
		}
	}
	run.progress.Finished = len(names)
	run.tell()
	if c.DryRun {
		return reports, nil
	}
	return reports, run.subscriptions(ctx)
}

// conversion is one Run.
type conversion struct {
	*Converter
	state    *convertState
	progress Progress
}

func (r *conversion) tell() {
	if r.Progress != nil {
		r.Progress(r.progress)
	}
}

// count lists the folders with their names in the target, and their messages.
func (r *conversion) count(ctx context.Context) (names [][2]string, err error) {
	for info, err := range r.From.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		to := info.Name
		if r.Rename != nil {
			to = r.Rename(info.Name)
		}
		if info.NoSelect || to == "" {
			continue
		}
		names = append(names, [2]string{info.Name, CanonicalName(to)})
	}
	for _, name := range names {
		m, err := r.From.Open(ctx, name[0])
		if err != nil {
			return nil, err
		}
		ch, err := m.Changes(ctx, Latest)
		m.Close()
		if err != nil {
			return nil, err
		}
		r.progress.Total += int64(ch.State.Messages)
	}
	r.progress.Folders = len(names)
	return names, nil
}

// folder copies one folder.
func (r *conversion) folder(ctx context.Context, from, to string) (rep FolderReport, err error) {
	rep = FolderReport{From: from, To: to}
	src, err := r.From.Open(ctx, from)
	if err != nil {
		return rep, err
	}
	defer src.Close()
	ch, err := src.Changes(ctx, 0)
	if err != nil {
		return rep, err
	}
	f := &folderConversion{conversion: r, rep: &rep, src: src, source: ch.State, note: r.state.folder(from, to)}
	todo, err := f.todo(ch)
	if err != nil || r.DryRun {
		return rep, err
	}
	dst, err := r.target(ctx, to)
	if err != nil {
		return rep, err
	}
	defer dst.Close()
	f.dst = dst
	if err := f.prepare(ctx); err != nil {
		return rep, err
	}
	for len(todo) > 0 {
		n := min(convertBatch, len(todo))
		done, err := f.batch(ctx, todo[:n])
		if err != nil {
			return rep, err
		}
		todo = todo[done:]
		if err := f.checkpoint(ctx); err != nil {
			return rep, err
		}
	}
	if r.Verify {
		err = f.verify(ctx)
	}
	return rep, err
}

// target opens a folder of the target, made if need be.
func (r *conversion) target(ctx context.Context, name string) (Mailbox, error) {
	m, err := r.To.Open(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return m, err
	}
	if err := r.To.Create(ctx, name, CreateOptions{}); err != nil && !errors.Is(err, ErrExists) {
		return nil, err
	}
	return r.To.Open(ctx, name)
}

// folderConversion is the copying of one folder.
type folderConversion struct {
	*conversion
	rep      *FolderReport
	src, dst Mailbox
	source   State
	note     *folderNote
	fit      func(FlagList) FlagList
	// stored are messages that the target got after the last note: by content, how many.
	stored map[digest]int
	window int // how many messages of the source are still compared with them
}

// todo returns the UIDs to copy. A source whose UIDVALIDITY has changed is copied from its start: what is
// there by an earlier run can not be told.
func (f *folderConversion) todo(ch *Changes) ([]UID, error) {
	if f.note.SourceValidity != 0 && f.note.SourceValidity != f.source.UIDValidity {
		return nil, fmt.Errorf("%w: its UIDs are not those of the state file; remove that to copy everything again", ErrCannot)
	}
	f.note.SourceValidity = f.source.UIDValidity
	failed, err := ParseUIDSet(f.note.Failed)
	if err != nil {
		return nil, err
	}
	var todo []UID
	for m := range ch.Messages {
		f.rep.Messages++
		if m.UID > f.note.Done || failed.Contains(m.UID) {
			todo = append(todo, m.UID)
		} else {
			f.rep.Before++
			f.progress.Messages++
		}
	}
	return todo, nil
}

// prepare looks at the target, and finds what it got after the last note.
func (f *folderConversion) prepare(ctx context.Context) error {
	ch, err := f.dst.Changes(ctx, Latest)
	if err != nil {
		return err
	}
	f.fit = keywordFilter(ch.State)
	f.stored = make(map[digest]int)
	first := f.note.TargetNext
	if f.note.TargetValidity != ch.State.UIDValidity {
		first = 1 // other UIDs: any message may be one of ours
	}
	if f.note.TargetValidity != 0 && first < ch.State.UIDNext {
		for msg, err := range f.dst.Read(ctx, UIDSet{{first, MaxUID}}) {
			if err != nil && msg.UID == 0 {
				return err
			}
			if err != nil {
				continue
			}
			d, err := digestOf(ctx, msg)
			if err != nil {
				return err
			}
			f.stored[d]++
			f.window++
		}
		f.window += convertBatch
		return nil
	}
	// Before the first message: where the target's own end.
	f.note.TargetValidity, f.note.TargetNext = ch.State.UIDValidity, ch.State.UIDNext
	return f.saveState()
}

// checkpoint notes what is done.
func (f *folderConversion) checkpoint(ctx context.Context) error {
	f.tell()
	if len(f.stored) > 0 {
		return nil // what the target has is not all accounted for: the old note still tells more
	}
	ch, err := f.dst.Changes(ctx, Latest)
	if err != nil {
		return err
	}
	f.note.TargetValidity, f.note.TargetNext = ch.State.UIDValidity, ch.State.UIDNext
	f.note.Done = f.note.pending
	f.note.Failed = f.note.failed.String()
	return f.saveState()
}

// batch copies some messages and returns how many UIDs it has dealt with.
func (f *folderConversion) batch(ctx context.Context, uids []UID) (done int, err error) {
	var octets int64
	seen := 0
	for msg, err := range f.src.Read(ctx, UIDs(uids...)) {
		if err != nil && msg.UID == 0 {
			return seen, err
		}
		for uids[seen] != msg.UID { // expunged meanwhile
			seen++
		}
		if err == nil {
			err = f.one(ctx, msg)
			octets += msg.Content.Size()
		}
		switch {
		case err == nil:
			f.note.failed = f.note.failed.Subtract(UIDs(msg.UID))
		case errors.Is(err, ErrGone):
		case f.passable(ctx, msg, err):
			f.fail(msg.UID, err)
		default:
			return seen, err
		}
		f.finished(uids[seen])
		if seen++; octets >= convertOctets {
			return seen, nil
		}
	}
	f.finished(uids[len(uids)-1])
	return len(uids), nil
}

// passable tells whether the error is the message's alone.
func (f *folderConversion) passable(ctx context.Context, msg Message, err error) bool {
	return ctx.Err() == nil && (msg.Content == nil || errors.Is(err, ErrTooLarge))
}

func (f *folderConversion) finished(u UID) {
	f.note.pending = max(f.note.pending, u)
}

func (f *folderConversion) fail(u UID, err error) {
	f.note.failed = f.note.failed.Add(u)
	if len(f.rep.Failed) < maxFailed {
		f.rep.Failed = append(f.rep.Failed, FailedMessage{u, err})
	}
}

// one copies one message, unless the target has it by a run that was killed.
func (f *folderConversion) one(ctx context.Context, msg Message) error {
	if f.window--; f.window <= 0 {
		clear(f.stored) // what is left came from somebody else
	}
	if len(f.stored) > 0 {
		d, err := digestOf(ctx, msg)
		if err != nil {
			return err
		}
		if n := f.stored[d]; n > 0 {
			if f.stored[d]--; n == 1 {
				delete(f.stored, d)
			}
			f.rep.Before++
			f.progress.Messages++
			return nil
		}
	}
	o := AppendOptions{Flags: f.fit(msg.Flags.List(f.source.Keywords)), Date: msg.Date.Time()}
	if err := f.append(ctx, msg, o); err != nil {
		return err
	}
	f.rep.Copied++
	f.rep.Octets += msg.Content.Size()
	f.progress.Messages++
	f.progress.Octets += msg.Content.Size()
	return nil
}

func (f *folderConversion) append(ctx context.Context, msg Message, o AppendOptions) error {
	if a, ok := As[UIDAppender](f.dst); ok && f.KeepUIDs {
		_, err := a.AppendUID(ctx, f.source.UIDValidity, msg.UID, goniec.NewReader(msg.Content), o)
		if err == nil {
			f.rep.KeptUIDs++
		}
		if !errors.Is(err, ErrCannot) {
			return err
		}
	}
	_, err := f.dst.Append(ctx, goniec.NewReader(msg.Content), o)
	return err
}

// digest tells messages apart: content and date.
type digest [sha256.Size]byte

func digestOf(ctx context.Context, msg Message) (d digest, err error) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d\n", msg.Date, msg.Content.Size())
	if _, err := io.Copy(h, &contextReader{ctx, goniec.NewReader(msg.Content)}); err != nil {
		return d, err
	}
	h.Sum(d[:0])
	return d, nil
}

// verify looks for each message of the source in the target.
func (f *folderConversion) verify(ctx context.Context) error {
	type known struct {
		digest
		flags Flags
	}
	there := make(map[known]int)
	for msg, err := range f.dst.Read(ctx, AllUIDs()) {
		if err != nil && msg.UID == 0 {
			return err
		}
		if err != nil {
			continue
		}
		d, err := digestOf(ctx, msg)
		if err != nil {
			return err
		}
		there[known{d, msg.Flags & SystemFlags}]++
	}
	for msg, err := range f.src.Read(ctx, AllUIDs()) {
		if err != nil && msg.UID == 0 {
			return err
		}
		if err != nil || msg.UID >= f.source.UIDNext {
			continue
		}
		d, err := digestOf(ctx, msg)
		if err != nil {
			return err
		}
		k := known{d, msg.Flags & SystemFlags}
		if there[k]--; there[k] >= 0 {
			f.rep.Verified++
		} else {
			f.rep.Missing++
		}
	}
	return nil
}

// subscriptions are copied where both sides keep them.
func (r *conversion) subscriptions(ctx context.Context) error {
	from, ok := As[Subscriber](r.From)
	if !ok {
		return nil
	}
	to, ok := As[Subscriber](r.To)
	if !ok {
		return nil
	}
	names, err := from.Subscribed(ctx)
	for _, name := range names {
		if r.Rename != nil {
			name = r.Rename(name)
		}
		if name == "" || err != nil {
			continue
		}
		if err = to.Subscribe(ctx, name, true); errors.Is(err, ErrName) {
			err = nil
		}
	}
	return err
}

// Rate estimates the rest of a conversion: octets per second, and how long the messages that are left
// will take at the pace of those that were done since start; 0 when nothing is known.
func (p Progress) Rate(start, now time.Time, startMessages int64) (octets float64, left time.Duration) {
	took := now.Sub(start)
	done := p.Messages - startMessages
	if took <= 0 || done <= 0 {
		return 0, 0
	}
	octets = float64(p.Octets) / took.Seconds()
	return octets, time.Duration(float64(took) / float64(done) * float64(max(p.Total-p.Messages, 0)))
}

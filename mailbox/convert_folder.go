package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/goniec-mail/goniec"
)

// folderConversion is the copying of one folder.
type folderConversion struct {
	*conversion
	pair     folderPair
	rep      *FolderReport
	src, dst Mailbox
	source   State
	note     *folderNote
	keepUIDs bool
	fit      func(FlagList) FlagList
	// copied are messages that earlier runs have copied, by content; nil while UIDs tell it.
	copied map[digest]int
	// stored are messages that the target got after the last note: by content, how many.
	stored map[digest]int
	window int // how many messages of the source are still compared with them
}

// folder copies one folder.
func (r *conversion) folder(ctx context.Context, p folderPair) (rep FolderReport) {
	rep = FolderReport{From: p.from.Name, To: p.to}
	src, err := r.From.Open(ctx, p.from.Name)
	if err != nil {
		rep.Err = err
		return rep
	}
	defer src.Close()
	f := &folderConversion{conversion: r, pair: p, rep: &rep, src: src, note: r.state.folder(p.from.Name, p.to)}
	rep.Err = f.run(ctx)
	return rep
}

func (f *folderConversion) run(ctx context.Context) error {
	todo, err := f.todo(ctx)
	if err != nil || f.DryRun {
		return err
	}
	dst, made, err := f.target(ctx, f.pair)
	if err != nil {
		return err
	}
	defer dst.Close()
	f.dst = dst
	if made { // an older note is of a folder that was deleted
		f.note.Furnished = false
	}
	if err := f.furnish(ctx); err != nil {
		return err
	}
	if err := f.prepare(ctx); err != nil {
		return err
	}
	f.progress.Phase = PhaseCopy
	if err := f.copy(ctx, todo); err != nil || !f.Verify {
		return err
	}
	f.progress.Phase = PhaseVerify
	return f.verify(ctx)
}

// todo returns the UIDs to copy. Where UIDVALIDITY is not that of the note, all may be, and their content tells.
func (f *folderConversion) todo(ctx context.Context) ([]UID, error) {
	ch, err := f.src.Changes(ctx, 0)
	if err != nil {
		return nil, err
	}
	f.source = ch.State
	if f.note.SourceValidity != f.source.UIDValidity {
		if f.copied, err = f.state.sums(f.note); err != nil {
			return nil, err
		}
		f.note.Done, f.note.pending, f.note.failed = 0, 0, nil
		f.note.SourceValidity = f.source.UIDValidity
	}
	f.rep.Messages = 0
	var todo []UID
	for m := range ch.Messages {
		f.rep.Messages++
		if m.UID > f.note.Done || f.note.failed.Contains(m.UID) {
			todo = append(todo, m.UID)
		} else {
			f.done(1)
		}
	}
	return todo, nil
}

// done counts messages that earlier runs have copied.
func (f *folderConversion) done(n int) {
	f.rep.Before += n
	f.progress.Messages += int64(n)
}

// prepare looks at the target, and finds what it got after the last note.
func (f *folderConversion) prepare(ctx context.Context) error {
	ch, err := f.dst.Changes(ctx, Latest)
	if err != nil {
		return err
	}
	f.fit = keywordFilter(ch.State)
	f.stored = make(map[digest]int)
	_, can := As[UIDAppender](f.dst)
	f.keepUIDs = f.KeepUIDs && can
	first := f.note.TargetNext
	if f.note.TargetValidity != ch.State.UIDValidity {
		first = 1 // other UIDs: any message may be one of ours
	}
	if f.note.TargetValidity == 0 || first >= ch.State.UIDNext {
		// Before the first message: where the target's own end.
		f.note.TargetValidity, f.note.TargetNext = ch.State.UIDValidity, ch.State.UIDNext
		return f.state.save(f.note)
	}
	for msg, err := range f.dst.Read(ctx, UIDSet{{first, MaxUID}}) {
		if err != nil && msg.UID == 0 {
			return err
		}
		if err != nil {
			continue
		}
		d, err := digestOf(ctx, msg.Content)
		if err != nil {
			return err
		}
		f.stored[d]++
		f.window++
	}
	f.window += convertBatch
	return nil
}

// copy copies messages in batches and notes what is done. A source whose UIDs change meanwhile is looked at again.
func (f *folderConversion) copy(ctx context.Context, todo []UID) error {
	for restarts := 0; len(todo) > 0; {
		done, err := f.batch(ctx, todo[:min(convertBatch, len(todo))])
		if err != nil {
			return err
		}
		todo = todo[done:]
		if err := f.checkpoint(ctx); err != nil {
			return err
		}
		ch, err := f.src.Changes(ctx, Latest)
		if err != nil {
			return err
		}
		if ch.State.UIDValidity == f.source.UIDValidity {
			continue
		}
		if restarts++; restarts > maxRestarts {
			return fmt.Errorf("%w: the source's UIDs change while it is copied", ErrInUse)
		}
		f.progress.Messages -= int64(f.rep.Before + f.rep.Copied)
		f.rep.Before = -f.rep.Copied // they will be found again
		if todo, err = f.todo(ctx); err != nil {
			return err
		}
	}
	return nil
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
	return f.state.save(f.note)
}

// batch copies some messages and returns how many UIDs it has dealt with. Where the target can take several at once they are
// given so; when that fails for one of them, one by one.
func (f *folderConversion) batch(ctx context.Context, uids []UID) (done int, err error) {
	b := &convertPiece{folderConversion: f, uids: uids}
	a, several := As[MultiAppender](f.dst)
	if several && f.keepUIDs {
		if n := alone(uids); n > 0 {
			b.uids, several = uids[:n], false
		} else if err = b.single(ctx, 1); err != nil { // it says where UIDs go on: those behind need not be named
			return b.seen, err
		} else {
			b.uids = uids[:contiguous(uids)]
		}
	}
	if several {
		err = b.together(ctx, a)
	} else {
		err = b.single(ctx, len(b.uids))
	}
	return b.seen, err
}

// worthwhile is how many messages in a row are worth a common write when UIDs are kept.
const worthwhile = 8

// alone returns how many UIDs there are before the first such row.
func alone(uids []UID) int {
	for i := 0; i < len(uids); {
		n := contiguous(uids[i:])
		if n >= worthwhile {
			return i
		}
		i += n
	}
	return len(uids)
}

// contiguous returns how many of uids follow each other without a gap.
func contiguous(uids []UID) int {
	n := 1
	for n < len(uids) && uids[n] == uids[n-1]+1 {
		n++
	}
	return n
}

// passable tells whether the error is the message's alone.
func passable(ctx context.Context, msg Message, err error) bool {
	return ctx.Err() == nil && (msg.Content == nil || errors.Is(err, ErrTooLarge))
}

// finished takes note of a message.
func (f *folderConversion) finished(u UID, err error) {
	f.note.pending = max(f.note.pending, u)
	if err == nil {
		f.note.failed = f.note.failed.Subtract(UIDs(u))
		return
	}
	f.note.failed = f.note.failed.Add(u)
	f.rep.FailedCount++
	if len(f.rep.Failed) < maxFailed {
		f.rep.Failed = append(f.rep.Failed, FailedMessage{u, err})
	}
}

// known tells whether the target has a message by an earlier run.
func (f *folderConversion) known(d digest) bool {
	if take(f.copied, d) {
		f.done(1)
		return true
	}
	if f.window--; f.window <= 0 {
		clear(f.stored) // what is left came from somebody else
	}
	if !take(f.stored, d) {
		return false
	}
	f.note.add(d)
	f.done(1)
	return true
}

// take takes one out.
func take(set map[digest]int, d digest) bool {
	n := set[d]
	if n == 0 {
		return false
	}
	if set[d]--; n == 1 {
		delete(set, d)
	}
	return true
}

// settled takes note of a message that the target has acknowledged.
func (f *folderConversion) settled(msg sentMessage, meta Meta) {
	f.rep.Copied++
	f.rep.Octets += msg.size
	f.progress.Messages++
	f.progress.Octets += msg.size
	f.note.add(msg.sum)
	f.finished(msg.UID, nil)
	switch {
	case meta.UID == msg.UID && f.keepUIDs:
		f.rep.KeptUIDs++
	case f.KeepUIDs:
		f.lose("UID", 1)
	}
	if meta.Date != msg.Date {
		f.lose("date", 1)
	}
	if msg.Saved != 0 && meta.Saved != msg.Saved {
		f.lose("save date", 1)
	}
	if meta.Flags&SystemFlags != msg.Flags&SystemFlags {
		f.lose("flags", 1)
	}
	for _, k := range msg.lost {
		f.lose("keyword "+k, 1)
	}
}

// sentMessage is what is remembered of a message until the target has acknowledged it.
type sentMessage struct {
	Meta
	size int64
	sum  digest
	lost []string // keywords
}

// options makes the options of a copy, and says what they lack.
func (f *folderConversion) options(msg Message, sum digest) (sentMessage, AppendOptions) {
	all := msg.Flags.List(f.source.Keywords)
	fit := f.fit(all)
	sent := sentMessage{Meta: msg.Meta, size: msg.Content.Size(), sum: sum}
	for _, k := range all.Keywords {
		if KeywordIndex(fit.Keywords, k) < 0 {
			sent.lost = append(sent.lost, k)
		}
	}
	return sent, AppendOptions{Flags: fit, Date: msg.Date.Time(), Saved: msg.Saved.Time()}
}

// convertPiece is a part of a batch, in the order of its UIDs.
type convertPiece struct {
	*folderConversion
	uids []UID
	seen int // how many UIDs are dealt with

	asked bool  // whether the target knows the messages is told already: it does not
	err   error // of reading, which ends the piece
	sent  []sentMessage
	bad   []FailedMessage
}

// single copies messages one by one, to the limit of octets.
func (b *convertPiece) single(ctx context.Context, limit int) error {
	var octets int64
	uids := b.uids[b.seen:min(b.seen+limit, len(b.uids))]
	if len(uids) == 0 {
		return nil
	}
	for msg, err := range b.src.Read(ctx, UIDs(uids...)) {
		if err != nil && msg.UID == 0 {
			return err
		}
		b.upTo(msg.UID)
		if err == nil {
			octets += msg.Content.Size()
			err = b.one(ctx, msg)
		}
		switch {
		case err == nil, errors.Is(err, ErrGone):
			b.note.pending = max(b.note.pending, msg.UID)
		case passable(ctx, msg, err):
			b.finished(msg.UID, err)
		default:
			return err
		}
		if octets >= convertOctets {
			return nil
		}
	}
	b.upTo(uids[len(uids)-1])
	b.note.pending = max(b.note.pending, uids[len(uids)-1])
	return nil
}

// together copies what is left of the piece in one call.
func (b *convertPiece) together(ctx context.Context, a MultiAppender) error {
	if b.seen == len(b.uids) {
		return nil
	}
	metas, err := a.AppendAll(ctx, b.messages(ctx))
	if err = errors.Join(err, b.err); err == nil {
		return b.settle(metas)
	}
	if b.err != nil || !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrOverQuota) {
		return err
	}
	// Nothing was stored. Which message it is for, and how many there is room for, is found out.
	b.settleOthers()
	for _, s := range b.sent {
		one := &convertPiece{folderConversion: b.folderConversion, uids: []UID{s.UID}, asked: true}
		if err := one.single(ctx, 1); err != nil {
			return err
		}
	}
	return nil
}

// upTo counts a UID, and those before it that are expunged.
func (b *convertPiece) upTo(u UID) {
	for b.seen < len(b.uids) && b.uids[b.seen] <= u {
		b.seen++
	}
}

// one copies one message, unless the target has it by an earlier run.
func (b *convertPiece) one(ctx context.Context, msg Message) error {
	sum, err := digestOf(ctx, msg.Content)
	if err != nil {
		return err
	}
	if !b.asked && b.known(sum) {
		b.finished(msg.UID, nil)
		return nil
	}
	sent, o := b.options(msg, sum)
	meta, err := b.append(ctx, msg, o)
	if err == nil {
		b.settled(sent, meta)
	}
	return err
}

func (b *convertPiece) append(ctx context.Context, msg Message, o AppendOptions) (Meta, error) {
	if a, ok := As[UIDAppender](b.dst); ok && b.keepUIDs {
		meta, err := a.AppendUID(ctx, b.source.UIDValidity, msg.UID, goniec.NewReader(msg.Content), o)
		if !errors.Is(err, ErrCannot) {
			return meta, err
		}
		// Another UIDVALIDITY, or UIDs above: that does not change any more. A single UID may be in the way, too.
		ch, e := b.dst.Changes(ctx, Latest)
		if e != nil {
			return Meta{}, e
		}
		b.keepUIDs = ch.State.UIDValidity == b.source.UIDValidity
	}
	return b.dst.Append(ctx, goniec.NewReader(msg.Content), o)
}

// messages yields the messages of the piece for AppendAll. Where UIDs are kept a gap ends it: those behind would move up.
func (b *convertPiece) messages(ctx context.Context) iter.Seq2[NewMessage, error] {
	return func(yield func(NewMessage, error) bool) {
		var octets int64
		uids := b.uids[b.seen:]
		for msg, err := range b.src.Read(ctx, UIDs(uids...)) {
			if err != nil && msg.UID == 0 {
				b.err = err
				yield(NewMessage{}, err)
				return
			}
			gap := msg.UID != b.uids[b.seen]
			if gap && b.keepUIDs {
				return
			}
			b.upTo(msg.UID)
			var sum digest
			if err == nil {
				octets += msg.Content.Size()
				sum, err = digestOf(ctx, msg.Content)
			}
			switch {
			case err != nil && !errors.Is(err, ErrGone) && !passable(ctx, msg, err):
				b.err = err
				yield(NewMessage{}, err)
				return
			case err != nil:
				b.bad = append(b.bad, FailedMessage{msg.UID, err})
			case b.known(sum):
				b.bad = append(b.bad, FailedMessage{msg.UID, nil})
			default:
				sent, o := b.options(msg, sum)
				b.sent = append(b.sent, sent)
				if !yield(NewMessage{goniec.NewReader(msg.Content), o}, nil) || octets >= convertOctets {
					return
				}
				continue
			}
			if b.keepUIDs {
				return
			}
		}
		b.upTo(uids[len(uids)-1])
	}
}

// settle takes note of a piece that the target has acknowledged.
func (b *convertPiece) settle(metas []Meta) error {
	if len(metas) != len(b.sent) {
		return fmt.Errorf("store returned %d outcomes for %d messages", len(metas), len(b.sent))
	}
	for i, s := range b.sent {
		b.settled(s, metas[i])
	}
	b.settleOthers()
	return nil
}

// settleOthers takes note of the messages of the piece that were not given to the target.
func (b *convertPiece) settleOthers() {
	for _, m := range b.bad {
		if errors.Is(m.Err, ErrGone) {
			m.Err = nil
		}
		b.finished(m.UID, m.Err)
	}
	if b.seen > 0 {
		b.note.pending = max(b.note.pending, b.uids[b.seen-1])
	}
}

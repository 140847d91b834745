package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/goniec-mail/goniec"
)

// Copy copies messages from one folder of an account into another, or the same: all or none, with
// flags, keywords and dates; see Copier. Without Copier they are read and appended. validity is the UIDVALIDITY that the
// UIDs belong to: ErrUIDValidity, and nothing is copied, where the folder has another one; 0 means whatever it has.
func Copy(ctx context.Context, a Account, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	if c, ok := As[Copier](a); ok {
		return c.Copy(ctx, from, validity, uids, to)
	}
	src, dst, err := openBoth(ctx, a, from, to)
	if err != nil {
		return CopyResult{}, err
	}
	defer src.Close()
	defer dst.Close()
	_, res, err := copyMessages(ctx, src, validity, uids, dst)
	return res, err
}

// Move moves messages from one folder of an account into another; see Mover and Copy. Without Mover they
// are copied and then expunged: a crash between leaves them in both. When the expunge is refused (ErrReadOnly,
// ErrForbidden, ErrCannot, ErrUIDValidity, errors.ErrUnsupported, or ctx has ended before it), or somebody else expunged
// them meanwhile, the copies are taken back. After any other error of the expunge they stay, as it may have happened:
// messages may then be in both folders, never in none.
func Move(ctx context.Context, a Account, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	if m, ok := As[Mover](a); ok {
		return m.Move(ctx, from, validity, uids, to)
	}
	src, dst, err := openBoth(ctx, a, from, to)
	if err != nil {
		return CopyResult{}, err
	}
	defer src.Close()
	defer dst.Close()
	validity, res, err := copyFor(ctx, a, src, from, validity, uids, dst, to)
	if err != nil {
		return CopyResult{}, err
	}
	var gone UIDSet
	if err = sameFolder(ctx, src, validity); err == nil {
		gone, err = src.Expunge(ctx, UIDs(res.Source...))
	} else {
		err = notBegun{err}
	}
	if err != nil {
		return CopyResult{}, undoMove(ctx, src, validity, dst, res, err)
	}
	kept, lost := res.split(gone)
	return kept, takeBack(ctx, dst, UIDs(lost.Dest...), nil)
}

// notBegun is the error of an expunge that was not asked for.
type notBegun struct{ error }

func (e notBegun) Unwrap() error { return e.error }

// undoMove takes back the copies of messages that surely are still in src. An expunge that failed may have
// happened all the same, in part, or later (the answer of a server was lost): its copies stay, as a message twice
// is a nuisance and none a loss.
func undoMove(ctx context.Context, src Mailbox, validity uint32, dst Mailbox, res CopyResult, cause error) error {
	var still UIDSet
	if refused(cause) {
		ch, err := src.Changes(context.WithoutCancel(ctx), 0)
		if err == nil && ch.State.UIDValidity == validity {
			var b UIDSetBuilder
			for meta := range ch.Messages {
				b.Add(meta.UID)
			}
			still = b.Set()
		}
	}
	there, doubtful := res.split(still)
	err := takeBack(ctx, dst, UIDs(there.Dest...), cause)
	if len(doubtful.Dest) > 0 {
		err = fmt.Errorf("%w (copies stay: UIDs %s)", err, UIDs(doubtful.Dest...))
	}
	return err
}

// refused reports that an error of Expunge says that nothing was done.
func refused(err error) bool {
	var e notBegun
	return errors.As(err, &e) || errors.Is(err, ErrReadOnly) || errors.Is(err, ErrForbidden) ||
		errors.Is(err, ErrCannot) || errors.Is(err, ErrUIDValidity) || errors.Is(err, errors.ErrUnsupported)
}

// split parts a result by whether the source was in uids. In a Move the others were expunged or moved
// by somebody else between the copy and the expunge: theirs is the message, ours a copy too many.
func (r CopyResult) split(uids UIDSet) (in, out CopyResult) {
	in.UIDValidity, out.UIDValidity = r.UIDValidity, r.UIDValidity
	for i, u := range r.Source {
		to := &out
		if uids.Contains(u) {
			to = &in
		}
		to.Source, to.Dest = append(to.Source, u), append(to.Dest, r.Dest[i])
	}
	return in, out
}

// copyFor is the first half of Move: it asks the account's Copier before it reads messages through. It returns the
// UIDVALIDITY of what was copied.
func copyFor(ctx context.Context, a Account, src Mailbox, from string, validity uint32, uids UIDSet, dst Mailbox, to string) (uint32, CopyResult, error) {
	c, ok := As[Copier](a)
	if !ok {
		return copyMessages(ctx, src, validity, uids, dst)
	}
	if validity == 0 { // what src has: it is src that is expunged
		ch, err := src.Changes(ctx, Latest)
		if err != nil {
			return 0, CopyResult{}, err
		}
		validity = ch.State.UIDValidity
	}
	res, err := c.Copy(ctx, from, validity, uids, to)
	return validity, res, err
}

// sameFolder makes sure that a handle shows the folder that it did: other programs may have replaced it.
func sameFolder(ctx context.Context, m Mailbox, validity uint32) error {
	if err := ended(ctx); err != nil {
		return notBegun{err}
	}
	ch, err := m.Changes(ctx, Latest)
	if err != nil {
		return notBegun{err}
	}
	if ch.State.UIDValidity != validity {
		return notSame(ch.State.UIDValidity, validity)
	}
	return nil
}

// notSame is ErrUIDValidity with what is and what was wanted.
func notSame(is, want uint32) error {
	return fmt.Errorf("%w: it is %d, not %d", ErrUIDValidity, is, want)
}

func openBoth(ctx context.Context, a Account, from, to string) (src, dst Mailbox, err error) {
	if src, err = a.Open(ctx, from); err != nil {
		return nil, nil, err
	}
	if dst, err = a.Open(ctx, to); err != nil {
		src.Close()
		return nil, nil, err
	}
	return src, dst, nil
}

// copyMessages reads messages and appends them. It returns the UIDVALIDITY of src.
func copyMessages(ctx context.Context, src Mailbox, validity uint32, uids UIDSet, dst Mailbox) (uint32, CopyResult, error) {
	s, err := src.Changes(ctx, Latest)
	if err != nil {
		return 0, CopyResult{}, err
	}
	if validity == 0 {
		validity = s.State.UIDValidity
	}
	if s.State.UIDValidity != validity {
		return 0, CopyResult{}, notSame(s.State.UIDValidity, validity)
	}
	d, err := dst.Changes(ctx, Latest)
	if err != nil {
		return 0, CopyResult{}, err
	}
	// In a copy of a folder into itself the copies must not be copied again.
	uids = uids.Intersect(UIDSet{{1, max(s.State.UIDNext, 1) - 1}}.canonical())
	res := CopyResult{UIDValidity: d.State.UIDValidity}
	fit := keywordFilter(d.State)
	metas, err := AppendAll(ctx, dst, func(yield func(NewMessage, error) bool) {
		for msg, err := range src.Read(ctx, uids) {
			if msg.UID != 0 && errors.Is(err, ErrGone) {
				continue // expunged meanwhile: as if it had been before
			}
			if err != nil {
				yield(NewMessage{}, err)
				return
			}
			res.Source = append(res.Source, msg.UID)
			flags := fit(msg.Flags.List(s.State.Keywords))
			if !yield(NewMessage{goniec.NewReader(msg.Content), AppendOptions{Flags: flags, Date: msg.Date.Time()}}, nil) {
				return
			}
		}
		// What was read is what was asked for if nothing has changed: only then any of it is kept.
		if err := sameFolder(ctx, src, validity); err != nil {
			yield(NewMessage{}, err)
		}
	})
	if err != nil {
		return 0, CopyResult{}, err
	}
	for _, m := range metas {
		res.Dest = append(res.Dest, m.UID)
	}
	return validity, res, nil
}

// canonical drops intervals that have no UID, which arithmetic at the lower end may make.
func (s UIDSet) canonical() UIDSet {
	var b UIDSetBuilder
	for _, r := range s {
		b.AddRange(r.First, r.Last)
	}
	return b.Set()
}

// keywordFilter returns a function that leaves out the keywords that a folder has no place for,
// counting those that it lets through.
func keywordFilter(s State) func(FlagList) FlagList {
	known := append([]string(nil), s.Keywords...)
	return func(l FlagList) FlagList {
		fit := FlagList{System: l.System}
		for _, k := range l.Keywords {
			if KeywordIndex(known, k) < 0 {
				if len(known) >= s.KeywordLimit {
					continue
				}
				known = append(known, k)
			}
			fit.Keywords = append(fit.Keywords, k)
		}
		return fit
	}
}

// Rename renames a folder and its children, with IMAP's meaning for INBOX (RFC 9051 §6.3.6):
// renaming it makes the new folder and moves all messages there; INBOX stays, empty, and its
// children stay where they are.
func Rename(ctx context.Context, a Account, from, to string) error {
	from, to = CanonicalName(from), CanonicalName(to)
	if from != "INBOX" {
		return a.Rename(ctx, from, to)
	}
	if err := a.Create(ctx, to, CreateOptions{}); err != nil {
		return err
	}
	_, err := Move(ctx, a, from, 0, AllUIDs(), to)
	return err
}

// DeliverAll delivers one message into many folders and returns one error, nil or not, for each:
// nil is durable. Without MultiDeliverer each folder is opened and gets a copy of its own; a
// message for several is spooled first.
func DeliverAll(ctx context.Context, s Store, to []Target, msg io.Reader, o AppendOptions) []error {
	errs := make([]error, len(to))
	if d, ok := As[MultiDeliverer](s); ok {
		got := d.DeliverAll(ctx, to, msg, o)
		if len(got) == len(to) {
			return got
		}
		// Nobody knows which target is meant: none may be taken for delivered.
		return fillErrors(errs, fmt.Errorf("store returned %d outcomes for %d targets", len(got), len(to)))
	}
	if len(to) == 1 {
		errs[0] = deliverOne(ctx, s, to[0], msg, o)
		return errs
	}
	content, ok := goniec.AsContent(msg)
	if !ok && len(to) > 0 {
		spooled, err := goniec.Spool(ctx, msg, -1) // the limit was set where the message came in
		if err != nil {
			return fillErrors(errs, err)
		}
		defer spooled.Close()
		content = spooled
	}
	for i, t := range to {
		errs[i] = deliverOne(ctx, s, t, goniec.NewReader(content), o)
	}
	return errs
}

func fillErrors(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func deliverOne(ctx context.Context, s Store, t Target, msg io.Reader, o AppendOptions) error {
	a, err := s.Account(ctx, t.User)
	if err != nil {
		return err
	}
	defer a.Close()
	m, err := a.Open(ctx, t.Folder())
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.Append(ctx, msg, o)
	return err
}

// Folder returns the folder's canonical name: INBOX for "".
func (t Target) Folder() string {
	if t.Name == "" {
		return "INBOX"
	}
	return CanonicalName(t.Name)
}

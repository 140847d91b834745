package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// Converter copies folders from one account into another, of any two stores, with dates, save dates, flags, keywords, special
// uses, subscriptions, annotations and access control lists as far as the target can keep them, and UIDs if KeepUIDs is set.
// What it can not keep is in the reports. The annotations of the account go with INBOX. The source is not changed. What a folder
// has when its turn comes is copied. Quota limits are not. Set the fields, then call Run.
type Converter struct {
	From, To Account
	// Rename gives the target's name for a folder; "" leaves it out. nil copies all under their names. No two folders may
	// get one name.
	Rename func(name string) string
	// KeepUIDs keeps UIDs where the target is a UIDAppender and has none that are in the way.
	KeepUIDs bool
	// DryRun only counts.
	DryRun bool
	// Verify reads each folder on both sides after copying and compares content, date and flags.
	Verify bool
	// StateDir and StateName name a file that remembers what was copied. A later Run with the same file goes on there,
	// and copies no message twice, wherever the first one was killed: what the target got after the last note is
	// recognised by its content, and so is everything when the source's UIDs have changed meanwhile. StateDir nil: no
	// file. A second Run at the same time fails with ErrInUse and the first one's process number (where the system has
	// flock).
	StateDir  faultfs.Dir
	StateName string
	// Progress, if not nil, is called after each batch of messages, and must return soon.
	Progress func(Progress)
}

// ConvertPhase is what a conversion is doing.
type ConvertPhase string

// The phases, for each folder one after the other.
const (
	PhaseCopy   ConvertPhase = "copy"
	PhaseVerify ConvertPhase = "verify"
)

// Progress tells how far a conversion is.
type Progress struct {
	Phase             ConvertPhase
	Folder            string // the source's name
	Folders, Finished int    // how many folders there are, and how many are finished
	Messages, Total   int64  // copied (also by earlier runs) and in all
	Verified          int64  // messages of the source that were compared
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
	// Err tells why the folder was not copied, or not to its end: the target can not have its name, say.
	Err error
	// Failed lists messages that could not be copied, and why (the first 100). A later Run tries them again.
	Failed []FailedMessage
	// FailedCount is how many there are in all.
	FailedCount int
	// Losses lists what this run has copied the folder without.
	Losses []Loss
	// Verified is how many were found in the target, Missing how many were not; with Verify only.
	Verified, Missing int
}

// Complete reports whether all messages of the folder are in the target, as far as is known.
func (r FolderReport) Complete() bool { return r.Err == nil && r.FailedCount == 0 && r.Missing == 0 }

// FailedMessage is a message that could not be copied.
type FailedMessage struct {
	UID UID
	Err error
}

// Loss is something that the target could not keep.
type Loss struct {
	// What is "keyword $Later", "date", "save date", "flags", "UID"; of the folder "special use \Sent", "annotation
	// /private/comment", "annotation /private/comment of the account", "access control list", "unsubscribed".
	What     string
	Messages int // how many messages it concerns; 0: it is the folder's
}

const (
	convertBatch  = 64      // messages
	convertOctets = 8 << 20 // of a batch, after which it ends
	maxFailed     = 100
	// maxRestarts bounds how often a folder is begun again because the source's UIDs have changed meanwhile.
	maxRestarts = 10
)

// Run copies. It returns a report for each folder it came to, also with an error. A message that can not be read, or
// is too large for the target, does not stop it, nor does a folder whose name the target can not have: the error then
// comes at the end. Any other error stops it.
func (c *Converter) Run(ctx context.Context) (reports []FolderReport, err error) {
	run := &conversion{Converter: c}
	if run.state, err = c.loadState(); err != nil {
		return nil, err
	}
	defer run.state.close()
	if err := run.count(ctx); err != nil {
		return nil, err
	}
	left := 0
	for i, p := range run.pairs {
		run.progress.Folder, run.progress.Finished = p.from.Name, i
		rep := run.folder(ctx, p)
		reports = append(reports, rep)
		if rep.Err != nil && !passableFolder(ctx, rep.Err) {
			return reports, fmt.Errorf("folder %.80q: %w", p.from.Name, rep.Err)
		}
		if rep.Err != nil {
			if left++; left == 1 {
				err = fmt.Errorf("folder %.80q: %w", p.from.Name, rep.Err)
			}
		}
	}
	run.progress.Finished = len(run.pairs)
	run.tell()
	if left > 1 {
		err = fmt.Errorf("%d folders were not copied, the first: %w", left, err)
	}
	return reports, err
}

// passableFolder tells whether an error is the folder's alone.
func passableFolder(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (errors.Is(err, ErrName) || errors.Is(err, ErrNotFound))
}

// conversion is one Run.
type conversion struct {
	*Converter
	state      *convertState
	pairs      []folderPair
	there      map[string]Info // the target's folders by name
	subscribed map[string]bool // the source's
	progress   Progress
}

// folderPair is a folder and its name in the target.
type folderPair struct {
	from Info
	to   string
}

func (r *conversion) tell() {
	if r.Progress != nil {
		r.Progress(r.progress)
	}
}

// count lists the folders with their names in the target, sorted, and counts their messages.
func (r *conversion) count(ctx context.Context) error {
	taken := make(map[string]string)
	for info, err := range r.From.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		to := info.Name
		if r.Rename != nil {
			to = r.Rename(info.Name)
		}
		if info.NoSelect || to == "" {
			continue
		}
		to = CanonicalName(to)
		if other, ok := taken[to]; ok {
			return fmt.Errorf("%w: %.80q and %.80q would both become %.80q", ErrName, other, info.Name, to)
		}
		taken[to] = info.Name
		r.pairs = append(r.pairs, folderPair{info, to})
	}
	slices.SortFunc(r.pairs, func(a, b folderPair) int { return strings.Compare(a.from.Name, b.from.Name) })
	for _, p := range r.pairs {
		n, err := r.messages(ctx, p.from.Name)
		if err != nil {
			return fmt.Errorf("folder %.80q: %w", p.from.Name, err)
		}
		r.progress.Total += int64(n)
	}
	r.progress.Folders = len(r.pairs)
	if r.DryRun {
		return nil
	}
	return r.look(ctx)
}

func (r *conversion) messages(ctx context.Context, name string) (int, error) {
	m, err := r.From.Open(ctx, name)
	if errors.Is(err, ErrNotFound) { // it went meanwhile, which its report will say
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer m.Close()
	ch, err := m.Changes(ctx, Latest)
	if err != nil {
		return 0, err
	}
	return ch.State.Messages, nil
}

// look asks for what is known of folders beside their messages.
func (r *conversion) look(ctx context.Context) error {
	r.there = make(map[string]Info)
	for info, err := range r.To.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		r.there[info.Name] = info
	}
	names, err := Subscribed(ctx, r.From)
	r.subscribed = make(map[string]bool, len(names))
	for _, n := range names {
		r.subscribed[n] = true
	}
	return err
}

// target opens a folder of the target, made if need be.
func (r *conversion) target(ctx context.Context, p folderPair) (m Mailbox, made bool, err error) {
	if m, err = r.To.Open(ctx, p.to); !errors.Is(err, ErrNotFound) {
		return m, false, err
	}
	err = r.To.Create(ctx, p.to, CreateOptions{SpecialUse: p.from.SpecialUse})
	if errors.Is(err, ErrCannot) && p.from.SpecialUse != "" {
		err = r.To.Create(ctx, p.to, CreateOptions{})
	} else if err == nil {
		r.there[p.to] = Info{Name: p.to, SpecialUse: p.from.SpecialUse}
	}
	if errors.Is(err, ErrCannot) {
		err = fmt.Errorf("%w: %w", ErrName, err) // a store that has no folders but INBOX
	}
	if err != nil && !errors.Is(err, ErrExists) {
		return nil, false, err
	}
	m, err = r.To.Open(ctx, p.to)
	return m, true, err
}

// furnish copies what a folder has beside its messages. It is done once: what users change in the target afterwards stays.
func (f *folderConversion) furnish(ctx context.Context) error {
	if f.note.Furnished {
		return nil
	}
	if use := f.pair.from.SpecialUse; use != "" && f.there[f.pair.to].SpecialUse != use {
		if err := f.orLoss(SetSpecialUse(ctx, f.To, f.pair.to, use), "special use "+string(use)); err != nil {
			return err
		}
	}
	_, keeps := As[Subscriber](f.To)
	switch {
	case f.subscribed[f.pair.from.Name] && keeps:
		if err := Subscribe(ctx, f.To, f.pair.to, true); err != nil {
			return err
		}
	case !f.subscribed[f.pair.from.Name] && !keeps: // every folder counts as subscribed there
		f.lose("unsubscribed", 0)
	}
	entries, err := Annotations(ctx, f.src)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(entries) {
		if err := f.orLoss(SetAnnotation(ctx, f.dst, name, entries[name]), "annotation "+name); err != nil {
			return err
		}
	}
	if err := f.copyACL(ctx); err != nil {
		return err
	}
	if f.pair.from.Name == "INBOX" {
		if err := f.copyAccount(ctx); err != nil {
			return err
		}
	}
	f.note.Furnished = true
	return nil
}

// copyACL copies the access control list. Entries that the target's list has already stay.
func (f *folderConversion) copyACL(ctx context.Context) error {
	list, err := GetACL(ctx, f.From, f.pair.from.Name)
	if errors.Is(err, ErrCannot) || errors.Is(err, errors.ErrUnsupported) {
		return nil // the source has no lists
	}
	if errors.Is(err, ErrForbidden) {
		f.lose("access control list", 0)
		return nil
	}
	if err != nil || len(list) == 0 {
		return err
	}
	changes := make([]ACLChange, 0, len(list))
	for _, e := range list {
		changes = append(changes, ACLChange{ACLReplace, e})
	}
	return f.orLoss(ChangeACL(ctx, f.To, f.pair.to, changes...), "access control list")
}

// copyAccount copies the annotations of the account.
func (f *folderConversion) copyAccount(ctx context.Context) error {
	entries, err := AccountAnnotations(ctx, f.From)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(entries) {
		err := SetAccountAnnotation(ctx, f.To, name, entries[name])
		if err := f.orLoss(err, "annotation "+name+" of the account"); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// orLoss notes a loss when an error says that the target can not keep something.
func (f *folderConversion) orLoss(err error, what string) error {
	for _, can := range []error{ErrCannot, ErrForbidden, ErrTooLarge, ErrACLLimit, ErrIdentifier, ErrRights, errors.ErrUnsupported} {
		if errors.Is(err, can) {
			f.lose(what, 0)
			return nil
		}
	}
	return err
}

// maxLosses bounds the kinds of losses of one folder; MaxKeywords fit.
const maxLosses = 200

// lose notes a loss of some messages, 0: of the folder.
func (f *folderConversion) lose(what string, messages int) {
	for i := range f.rep.Losses {
		if f.rep.Losses[i].What == what {
			f.rep.Losses[i].Messages += messages
			return
		}
	}
	if len(f.rep.Losses) < maxLosses {
		f.rep.Losses = append(f.rep.Losses, Loss{what, messages})
	}
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

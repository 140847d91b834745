package mailbox

import (
	"context"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// sourceFolder is what is known of one folder of a Source, shared by its handles.
type sourceFolder struct {
	store *SourceStore
	sourceName
	watchers watchers
	turn     chan struct{} // holds a token while somebody asks the Source: a lock that ends with a context
	dirty    atomic.Bool   // Notify said that the list is old

	// Written with the turn and mu held; read with either.
	mu       sync.Mutex
	loaded   bool
	read     time.Time // when the list was read
	validity uint32
	next     UID
	modseq   ModSeq
	horizon  ModSeq
	entries  []sourceEntry // ascending by UID; never changed in place
	index    map[string]int
	keywords []string
	expunges []memoryExpunge
}

type sourceEntry struct {
	Meta
	key string
}

// sourceHistory is how many changes with expunges are remembered.
const sourceHistory = 1000

// lock takes the folder's turn.
func (f *sourceFolder) lock(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		if err := ended(ctx); err != nil {
			f.unlock()
			return err
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *sourceFolder) unlock() { <-f.turn }

// fresh makes sure that the list is not older than it may be; force reads it in any case. The turn
// is held.
func (f *sourceFolder) fresh(ctx context.Context, force bool) error {
	if !f.loaded {
		if err := f.load(ctx); err != nil {
			return err
		}
	}
	if !force && !f.dirty.Load() && !f.store.stale(f.read) {
		return nil
	}
	f.dirty.Store(false)
	if err := f.compare(ctx); err != nil {
		f.dirty.Store(true)
		return err
	}
	return nil
}

// load reads the kept UIDs. Mod-sequences start above any that an earlier run can have given: they
// count in microseconds of time, and changes come slower.
func (f *sourceFolder) load(ctx context.Context) error {
	kept := sourceKept{}
	if f.store.State != nil {
		data, err := f.store.State.LoadState(ctx, f.user, f.folder)
		if err != nil {
			return err
		}
		if kept, err = parseSourceKept(data); err != nil {
			kept = sourceKept{} // damaged: no UID of it can be trusted, so UIDVALIDITY rises
		}
	}
	if kept.validity == 0 {
		kept.validity, kept.next = f.store.newValidity(), 1
	}
	modseq := max(kept.modseq+1, ModSeq(max(f.store.now().UnixMicro(), 1)))
	for i := range kept.entries {
		kept.entries[i].ModSeq = modseq
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.validity, f.next, f.modseq, f.horizon, f.loaded = kept.validity, kept.next, modseq, modseq, true
	f.setEntries(kept.entries)
	return nil
}

// setEntries is called with the turn and mu held.
func (f *sourceFolder) setEntries(entries []sourceEntry) {
	f.entries = entries
	f.index = make(map[string]int, len(entries))
	for i, e := range entries {
		f.index[e.key] = i
	}
}

// sourceDiff is what a new list has changed.
type sourceDiff struct {
	entries  []sourceEntry
	keywords []string
	changed  bool
	gone     UIDSet
	next     UID
}

// compare reads the Source's list and takes its changes over. The turn is held.
func (f *sourceFolder) compare(ctx context.Context) error {
	read := f.store.now()
	d, err := f.diff(ctx)
	if err != nil {
		return err
	}
	if d.changed && (d.next != f.next || !d.gone.Empty()) {
		if err := f.save(ctx, d); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read, f.keywords = read, d.keywords
	if !d.changed {
		return nil
	}
	defer f.changed()
	f.modseq++
	f.next = d.next
	f.setEntries(d.entries)
	if !d.gone.Empty() {
		f.expunges = append(f.expunges, memoryExpunge{f.modseq, d.gone})
	}
	if extra := len(f.expunges) - sourceHistory; extra > 0 {
		f.horizon = f.expunges[extra-1].at
		f.expunges = slices.Delete(f.expunges, 0, extra)
	}
	return nil
}

func (f *sourceFolder) diff(ctx context.Context) (*sourceDiff, error) {
	d := &sourceDiff{keywords: f.keywords, next: f.next, entries: slices.Clone(f.entries)}
	seen := make([]bool, len(f.entries))
	fresh := make(map[string]bool)
	for item, err := range f.store.Source.List(ctx, f.user, f.folder) {
		if err != nil {
			return nil, err
		}
		flags := d.flags(item.Flags)
		if i, ok := f.index[item.Key]; ok {
			seen[i] = true
			d.update(&d.entries[i], item, flags, f.modseq+1)
			continue
		}
		if fresh[item.Key] {
			continue
		}
		if d.next == MaxUID {
			return nil, ErrUIDRange
		}
		fresh[item.Key] = true
		meta := Meta{UID: d.next, Flags: flags, ModSeq: f.modseq + 1, Size: item.Size, Date: DateOf(item.Date)}
		d.entries, d.changed = append(d.entries, sourceEntry{meta, item.Key}), true
		d.next++
	}
	if err := ended(ctx); err != nil {
		return nil, err // a list that was cut short must not look like expunges
	}
	d.drop(seen)
	return d, nil
}

// update takes over what a list says of an item that was known before.
func (d *sourceDiff) update(e *sourceEntry, item Item, flags Flags, modseq ModSeq) {
	e.Size, e.Date = item.Size, DateOf(item.Date)
	if e.Flags != flags {
		e.Flags, e.ModSeq, d.changed = flags, modseq, true
	}
}

// drop removes the entries that were not seen in the list.
func (d *sourceDiff) drop(seen []bool) {
	var gone UIDSetBuilder
	for i, ok := range seen {
		if !ok {
			gone.Add(d.entries[i].UID)
		}
	}
	if d.gone = gone.Set(); !d.gone.Empty() {
		d.changed = true
		d.entries = slices.DeleteFunc(d.entries, func(e sourceEntry) bool { return d.gone.Contains(e.UID) })
	}
}

// flags turns names into bits; those that can not have one are passed over.
func (d *sourceDiff) flags(l FlagList) Flags {
	flags := l.System & SystemFlags
	for _, k := range l.Keywords {
		bits, known, err := AssignKeywords(d.keywords, MaxKeywords, FlagList{Keywords: []string{k}})
		if err == nil {
			flags, d.keywords = flags|bits, known
		}
	}
	return flags
}

func (f *sourceFolder) save(ctx context.Context, d *sourceDiff) error {
	if f.store.State == nil {
		return nil
	}
	kept := sourceKept{validity: f.validity, next: d.next, modseq: f.modseq + 1, entries: d.entries}
	return f.store.State.SaveState(ctx, f.user, f.folder, kept.bytes())
}

func (f *sourceFolder) changes(since ModSeq, id string) *Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := &Changes{State: f.state(id), Known: since >= f.horizon}
	entries := f.entries
	if since >= f.modseq {
		entries = nil
	}
	if ch.Known {
		first := sort.Search(len(f.expunges), func(i int) bool { return f.expunges[i].at > since })
		var gone UIDSetBuilder
		for _, e := range f.expunges[first:] {
			gone.AddSet(e.uids)
		}
		ch.Expunged = gone.Set()
	}
	ch.Messages = func(yield func(Meta) bool) {
		for i := range entries {
			if entries[i].ModSeq > since && !yield(entries[i].Meta) {
				return
			}
		}
	}
	return ch
}

func (f *sourceFolder) state(id string) State {
	return State{
		UIDValidity: f.validity, UIDNext: f.next, ModSeq: f.modseq, Horizon: f.horizon,
		Messages: len(f.entries), Unseen: -1, Deleted: -1, Size: -1,
		Keywords: f.keywords, KeywordLimit: MaxKeywords, ReadOnly: f.store.ReadOnly, ID: id,
	}
}

// find returns the entries of uids.
func (f *sourceFolder) find(uids UIDSet) []sourceEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []sourceEntry
	for _, r := range uids {
		i := sort.Search(len(f.entries), func(i int) bool { return f.entries[i].UID >= r.First })
		for ; i < len(f.entries) && f.entries[i].UID <= r.Last; i++ {
			found = append(found, f.entries[i])
		}
	}
	return found
}

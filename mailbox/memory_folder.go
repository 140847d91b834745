package mailbox

import (
	"slices"
	"sort"
)

// memoryFolder is one folder. Its account's lock covers it, all methods are called with it held.
type memoryFolder struct {
	account  *memoryAccount
	name, id string
	use      SpecialUse
	gone     bool

	validity uint32
	next     UID
	modseq   ModSeq
	msgs     []memoryMessage // ascending by UID
	size     int64
	unseen   int
	deleted  int
	keywords []string // shared with callers: never changed in place, only replaced by a longer one

	expunges []memoryExpunge // ascending by modseq
	horizon  ModSeq

	locked      bool
	watchers    watchers
	annotations annotations
	acl         ACL // never changed in place
	derived     map[string]map[UID][]byte
}

type memoryMessage struct {
	Meta
	id   string
	body []byte // never changed
}

type memoryNew struct {
	body    []byte
	options AppendOptions
}

type memoryExpunge struct {
	at   ModSeq
	uids UIDSet
}

func (f *memoryFolder) state() State {
	return State{
		UIDValidity: f.validity, UIDNext: f.next, ModSeq: f.modseq, Horizon: f.horizon,
		Messages: len(f.msgs), Unseen: f.unseen, Deleted: f.deleted, Size: f.size,
		Keywords: f.keywords, KeywordLimit: f.keywordLimit(), ID: f.id,
	}
}

// count adds a message to the counters, or takes it off when n is -1.
func (f *memoryFolder) count(m Meta, n int) {
	f.size += int64(n) * m.Size
	if m.Flags&Seen == 0 {
		f.unseen += n
	}
	if m.Flags&Deleted != 0 {
		f.deleted += n
	}
}

func (f *memoryFolder) keywordLimit() int {
	switch limit := f.account.store.KeywordLimit; {
	case limit == 0:
		return MaxKeywords
	default:
		return min(max(limit, 0), MaxKeywords)
	}
}

// changed tells those who watch.
func (f *memoryFolder) changed() {
	f.watchers.notify(f.name)
	f.account.watchers.notify(f.name)
}

func (f *memoryFolder) append(msgs []memoryNew) ([]Meta, error) {
	if f.gone {
		return nil, ErrNotFound
	}
	var octets int64
	for _, m := range msgs {
		octets += int64(len(m.body))
	}
	if err := f.account.fits(octets, int64(len(msgs))); err != nil {
		return nil, err
	}
	now := f.account.store.now()
	added, keywords := make([]memoryMessage, 0, len(msgs)), f.keywords
	for _, m := range msgs {
		flags, known, err := AssignKeywords(keywords, f.keywordLimit(), m.options.Flags)
		if err != nil {
			return nil, err
		}
		keywords = known
		date := m.options.Date
		if date.IsZero() {
			date = now
		}
		saved := m.options.Saved
		if saved.IsZero() {
			saved = now
		}
		meta := Meta{Flags: flags, Size: int64(len(m.body)), Date: DateOf(date), Saved: DateOf(saved)}
		added = append(added, memoryMessage{meta, "", m.body})
	}
	return f.add(added, keywords)
}

// mayGive reports ErrCannot when the folder can not give uid under validity, see UIDAppender.
func (f *memoryFolder) mayGive(validity uint32, uid UID) error {
	if validity == 0 || uid < f.next || validity != f.validity && f.next != 1 {
		return ErrCannot
	}
	for _, other := range f.account.folders {
		if other != f && other.validity == validity {
			return ErrCannot
		}
	}
	return nil
}

// add gives UIDs and a mod-sequence to messages that are complete otherwise.
func (f *memoryFolder) add(msgs []memoryMessage, keywords []string) ([]Meta, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	if uint64(f.next)+uint64(len(msgs)) > uint64(MaxUID) {
		return nil, ErrUIDRange
	}
	f.modseq++
	f.keywords = keywords
	metas := make([]Meta, 0, len(msgs))
	for _, m := range msgs {
		m.UID, m.ModSeq, m.id = f.next, f.modseq, f.account.store.uniqueID()
		f.next++
		f.count(m.Meta, 1)
		f.msgs = append(f.msgs, m)
		metas = append(metas, m.Meta)
	}
	f.changed()
	return metas, nil
}

// find returns the messages of uids, as indexes into f.msgs.
func (f *memoryFolder) find(uids UIDSet) []int {
	var found []int
	for _, r := range uids {
		i := sort.Search(len(f.msgs), func(i int) bool { return f.msgs[i].UID >= r.First })
		for ; i < len(f.msgs) && f.msgs[i].UID <= r.Last; i++ {
			found = append(found, i)
		}
	}
	return found
}

func (f *memoryFolder) changes(since ModSeq) *Changes {
	ch := &Changes{State: f.state(), Known: since >= f.horizon}
	var metas []Meta
	if since < f.modseq {
		if since == 0 {
			metas = make([]Meta, 0, len(f.msgs))
		}
		for i := range f.msgs {
			if f.msgs[i].ModSeq > since {
				metas = append(metas, f.msgs[i].Meta)
			}
		}
		if ch.Known {
			first := sort.Search(len(f.expunges), func(i int) bool { return f.expunges[i].at > since })
			var gone UIDSetBuilder
			for _, e := range f.expunges[first:] {
				gone.AddSet(e.uids)
			}
			ch.Expunged = gone.Set()
		}
	}
	ch.Messages = slices.Values(metas)
	return ch
}

func (f *memoryFolder) setFlags(uids UIDSet, c FlagChange) (FlagResult, error) {
	res := FlagResult{ModSeq: f.modseq}
	found := f.find(uids)
	if len(found) == 0 {
		return res, nil
	}
	bits, keywords := KnownFlags(f.keywords, c.Flags), f.keywords
	if c.Op != FlagsRemove {
		var err error
		if bits, keywords, err = AssignKeywords(keywords, f.keywordLimit(), c.Flags); err != nil {
			return res, err
		}
	}
	var changed, modified UIDSetBuilder
	for _, i := range found {
		m := &f.msgs[i]
		now := c.Op.Apply(m.Flags, bits)
		switch {
		case c.UnchangedSince != nil && m.ModSeq > *c.UnchangedSince:
			modified.Add(m.UID)
		case now != m.Flags:
			f.count(m.Meta, -1)
			m.Flags, m.ModSeq = now, f.modseq+1
			f.count(m.Meta, 1)
			changed.Add(m.UID)
		}
	}
	res.Changed, res.Modified = changed.Set(), modified.Set()
	if !res.Changed.Empty() {
		f.modseq++
		f.keywords = keywords
		f.changed()
	}
	res.ModSeq = f.modseq
	return res, nil
}

func (f *memoryFolder) expunge(uids UIDSet) UIDSet {
	var gone UIDSetBuilder
	for _, i := range f.find(uids) {
		gone.Add(f.msgs[i].UID)
		f.count(f.msgs[i].Meta, -1)
	}
	set := gone.Set()
	if set.Empty() {
		return nil
	}
	f.msgs = slices.DeleteFunc(f.msgs, func(m memoryMessage) bool { return set.Contains(m.UID) })
	for _, values := range f.derived {
		for u := range values {
			if set.Contains(u) {
				delete(values, u)
			}
		}
	}
	f.modseq++
	f.expunges = append(f.expunges, memoryExpunge{f.modseq, set})
	f.forget()
	f.changed()
	return set
}

// forget drops the oldest expunges beyond the limit: the horizon moves up.
func (f *memoryFolder) forget() {
	limit := f.account.store.HistoryLimit
	if limit == 0 {
		limit = defaultMemoryHistory
	}
	if extra := len(f.expunges) - max(limit, 0); extra > 0 {
		f.horizon = f.expunges[extra-1].at
		f.expunges = slices.Delete(f.expunges, 0, extra)
	}
}

func (f *memoryFolder) copyTo(dst *memoryFolder, uids UIDSet, fits func(octets, messages int64) error) (CopyResult, error) {
	res := CopyResult{UIDValidity: dst.validity}
	keywords, fit := dst.keywords, keywordFilter(dst.state())
	saved := DateOf(f.account.store.now())
	var msgs []memoryMessage
	var octets int64
	for _, i := range f.find(uids) {
		m := f.msgs[i]
		res.Source = append(res.Source, m.UID)
		flags, known, err := AssignKeywords(keywords, dst.keywordLimit(), fit(m.Flags.List(f.keywords)))
		if err != nil {
			return CopyResult{}, err
		}
		m.Flags, m.Saved, keywords = flags, saved, known
		octets += m.Size
		msgs = append(msgs, m)
	}
	if err := fits(octets, int64(len(msgs))); err != nil {
		return CopyResult{}, err
	}
	metas, err := dst.add(msgs, keywords)
	if err != nil {
		return CopyResult{}, err
	}
	for _, m := range metas {
		res.Dest = append(res.Dest, m.UID)
	}
	return res, nil
}

// annotations are those of a folder or an account.
type annotations map[string][]byte

// Limits of one such set.
const (
	maxAnnotations      = 100
	maxAnnotationOctets = 256 << 10 // of names and values
)

// clone copies all: values are the caller's.
func (all annotations) clone() map[string][]byte {
	c := make(map[string][]byte, len(all))
	for entry, value := range all {
		c[entry] = append([]byte{}, value...)
	}
	return c
}

// set sets or removes one.
func (all *annotations) set(entry string, value []byte) error {
	if value == nil {
		delete(*all, entry)
		return nil
	}
	count, octets := 1, len(entry)+len(value)
	for e, v := range *all {
		if e != entry {
			count++
			octets += len(e) + len(v)
		}
	}
	if count > maxAnnotations || octets > maxAnnotationOctets {
		return ErrOverQuota
	}
	if *all == nil {
		*all = make(annotations)
	}
	(*all)[entry] = append([]byte{}, value...)
	return nil
}

package imap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// keptKinds names the bytes that stores keep for us (mailbox.Derived), by item. A kind whose form
// changes gets a new number.
var keptKinds = [...]struct {
	item itemKind
	kind string
}{
	{itemEnvelope, "imap.envelope/1"},
	{itemBody, "imap.body/1"},
	{itemBodyStructure, "imap.bodystructure/1"},
	{itemFields, "imap.fields/1"},
	{itemPreview, "imap.preview/1"},
	{itemEmailID, "imap.emailid/1"},
	{itemThreadID, "imap.threadid/1"},
	{itemStructure, structureKind},
}

// keptStructure is the index of structures.
const keptStructure = int(itemStructure - itemEnvelope)

// keptFieldNames are the fields whose lines are kept for message lists: what clients ask for.
const keptFieldNames = " date from sender reply-to to cc bcc subject message-id in-reply-to references newsgroups content-type " +
	"x-priority priority importance x-spam-status x-spam-flag list-id list-post list-unsubscribe mime-version " +
	"user-agent x-mailer disposition-notification-to delivered-to return-path x-label keywords "

// maxKept is how many octets of fields of one message are kept. Longer ones are read each time.
const maxKept = 16 << 10

// keptValues holds the kept bytes of a chunk of messages. They are copied: those of a store are valid
// for one step.
type keptValues struct {
	arena  []byte
	spans  [len(keptKinds)][]span
	failed []error // by message
}

// span is a place in the arena; set tells an empty value from none.
type span struct {
	from, to int
	set      bool
}

func (v *keptValues) reset(n int) {
	v.arena = v.arena[:0]
	for k := range v.spans {
		v.spans[k] = slices.Grow(v.spans[k][:0], n)[:n]
		clear(v.spans[k])
	}
	v.failed = slices.Grow(v.failed[:0], n)[:n]
	clear(v.failed)
}

func (v *keptValues) put(k, i int, b []byte) {
	from := len(v.arena)
	v.arena = append(v.arena, b...)
	v.spans[k][i] = span{from, len(v.arena), true}
}

// value returns the bytes of an item for message i of the chunk; NIL where there are none.
func (v *keptValues) value(item itemKind, i int) []byte {
	s := v.spans[item-itemEnvelope][i]
	if !s.set {
		return []byte("NIL")
	}
	return v.arena[s.from:s.to]
}

// wantedKinds is a set of indexes into keptKinds.
type wantedKinds [len(keptKinds)]bool

func (w wantedKinds) or(o wantedKinds) wantedKinds {
	for k := range w {
		w[k] = w[k] || o[k]
	}
	return w
}

// kindsOf returns the kinds that the items need, those that they take only where they are kept, and whether sizes are
// asked for.
func kindsOf(items []fetchItem) (want, lazy wantedKinds, sizes, any bool) {
	for i := range items {
		switch k := items[i].kind; {
		case k.kept() && items[i].lazy:
			lazy[k-itemEnvelope], any = true, true
		case k.kept():
			want[k-itemEnvelope], any = true, true
		case k == itemSize:
			sizes = true
		}
	}
	return want, lazy, sizes, any
}

// load takes what the store keeps for a chunk of messages, and makes the rest by reading them. metas get
// their size where the index lacks it.
func (v *keptValues) load(ctx context.Context, mb mailbox.Mailbox, items []fetchItem, metas []mailbox.Meta) error {
	v.reset(len(metas))
	want, lazy, sizes, any := kindsOf(items)
	if !any && !sizes {
		return nil
	}
	v.take(ctx, mb, want.or(lazy), metas)
	var missing mailbox.UIDSetBuilder
	for i, m := range metas {
		if sizes && m.Size < 0 || v.lacks(want, i) {
			missing.Add(m.UID)
		}
	}
	uids := missing.Set()
	if uids.Empty() {
		return nil
	}
	return v.read(ctx, mb, uids, want, metas)
}

// take copies what the store keeps.
func (v *keptValues) take(ctx context.Context, mb mailbox.Mailbox, want wantedKinds, metas []mailbox.Meta) {
	var b mailbox.UIDSetBuilder
	for _, m := range metas {
		b.Add(m.UID)
	}
	uids := b.Set()
	for k, kind := range keptKinds {
		if !want[k] {
			continue
		}
		i := 0
		for uid, b := range mailbox.DerivedOf(ctx, mb, kind.kind, uids) {
			for i < len(metas) && metas[i].UID < uid {
				i++
			}
			if i < len(metas) && metas[i].UID == uid {
				v.put(k, i, b)
			}
		}
	}
}

func (v *keptValues) lacks(want wantedKinds, i int) bool {
	for k := range want {
		if want[k] && !v.spans[k][i].set {
			return true
		}
	}
	return false
}

// read makes what lacks, and gives it to the store.
func (v *keptValues) read(ctx context.Context, mb mailbox.Mailbox, uids mailbox.UIDSet, want wantedKinds, metas []mailbox.Meta) error {
	made := wantedKinds{}
	i := 0
	for _, m := range metas {
		if uids.Contains(m.UID) {
			v.failed[i] = mailbox.ErrGone // until it is read
		}
		i++
	}
	if want[itemBody-itemEnvelope] || want[itemBodyStructure-itemEnvelope] || want[itemPreview-itemEnvelope] {
		v.take(ctx, mb, wantedKinds{keptStructure: true}, metas)
	}
	i = 0
	for msg, err := range mb.Read(ctx, uids) {
		if err != nil && msg.UID == 0 {
			return err
		}
		for i < len(metas) && metas[i].UID < msg.UID {
			i++
		}
		if i == len(metas) || metas[i].UID != msg.UID {
			continue
		}
		if err == nil {
			metas[i].Size = msg.Content.Size()
			err = v.make(&message{ctx: ctx, mb: mb, uid: msg.UID, content: msg.Content, many: true}, want, &made, i)
		}
		v.failed[i] = err
	}
	v.give(ctx, mb, made, uids, metas)
	return nil
}

// make renders what lacks for one message. It is parsed as far as the question needs, and once.
func (v *keptValues) make(m *message, want wantedKinds, made *wantedKinds, i int) error {
	if s := v.spans[keptStructure][i]; s.set {
		m.recall(v.arena[s.from:s.to])
	}
	if want[itemBody-itemEnvelope] && !v.spans[itemBody-itemEnvelope][i].set ||
		want[itemBodyStructure-itemEnvelope] && !v.spans[itemBodyStructure-itemEnvelope][i].set {
		if _, err := m.structure(); err != nil {
			return err
		}
	}
	for k := range want {
		if !want[k] || v.spans[k][i].set {
			continue
		}
		b, err := m.render(keptKinds[k].item)
		if err != nil {
			return err
		}
		v.put(k, i, b)
		made[k] = true
	}
	if m.many && m.parsed {
		if b, err := m.st.MarshalBinary(); err == nil {
			v.put(keptStructure, i, b)
			made[keptStructure] = true
		}
	}
	return nil
}

// render makes the value of a kept item.
func (m *message) render(item itemKind) ([]byte, error) {
	switch item {
	case itemEnvelope:
		root, err := m.header()
		if err != nil {
			return nil, err
		}
		return renderEnvelope(root.Envelope), nil
	case itemFields:
		start, err := m.bodyStart()
		if err != nil {
			return nil, err
		}
		return selectFields(io.NewSectionReader(m.content, 0, start), strings.Fields(keptFieldNames), false)
	}
	if item == itemEmailID || item == itemThreadID {
		return m.objectID(item)
	}
	st, err := m.structure()
	if err != nil {
		return nil, err
	}
	if item == itemPreview {
		return m.preview(st)
	}
	return renderBody(st, item == itemBodyStructure), nil
}

// give lets the store keep what was made.
func (v *keptValues) give(ctx context.Context, mb mailbox.Mailbox, made wantedKinds, uids mailbox.UIDSet, metas []mailbox.Meta) {
	for k, kind := range keptKinds {
		if !made[k] {
			continue
		}
		_ = mailbox.SetDerived(ctx, mb, kind.kind, func(yield func(mailbox.UID, []byte) bool) {
			for i, m := range metas {
				s := v.spans[k][i]
				if s.set && s.to-s.from <= maxKept && uids.Contains(m.UID) && !yield(m.UID, v.arena[s.from:s.to]) {
					return
				}
			}
		})
	}
}

// loadFrom is load for one message that is open already.
func (v *keptValues) loadFrom(ctx context.Context, m *message, items []fetchItem, metas []mailbox.Meta) error {
	v.reset(1)
	want, lazy, _, any := kindsOf(items)
	if !any {
		return nil
	}
	v.take(ctx, m.mb, want.or(lazy), metas)
	made := wantedKinds{}
	if err := v.make(m, want, &made, 0); err != nil {
		return err
	}
	v.give(ctx, m.mb, made, mailbox.UIDs(m.uid), metas)
	return nil
}

// appendKept appends those of the kept lines that belong to fields of a list, in the message's order, and an empty line.
func appendKept(out, kept []byte, names []string) []byte {
	take := false
	for len(kept) > 0 {
		n := bytes.IndexByte(kept, '\n') + 1
		if n == 0 {
			n = len(kept)
		}
		line := kept[:n]
		kept = kept[n:]
		switch {
		case isBlank(line):
			take = false
		case line[0] != ' ' && line[0] != '\t':
			take = nameIn(line, names)
		}
		if take {
			out = append(out, line...)
		}
	}
	return append(out, "\r\n"...)
}

// errUnknownEncoding is the error of BINARY for a transfer encoding that nobody knows (RFC 3516 §4.3).
var errUnknownEncoding = errors.New("unknown transfer encoding")

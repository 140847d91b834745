package imap

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec/mailbox"
)

// headerBox is a mailbox whose messages are their kept header fields: what SEARCH, SORT and THREAD are given when they ask
// for such fields only, so that they open no message. It gives them as mailbox.KeptHeader, where they are all of that, and
// else as the messages' content. It has no other optional interface: a store with an index of its own is asked itself.
type headerBox struct {
	mailbox.Mailbox
	fields []string // those that are asked for
	once   sync.Once
	metas  []mailbox.Meta // of the folder, ascending
	err    error
}

// Derived implements mailbox.Derived.
func (h *headerBox) Derived(ctx context.Context, kind string, uids mailbox.UIDSet) iter.Seq2[mailbox.UID, []byte] {
	return func(yield func(mailbox.UID, []byte) bool) {
		if kind != mailbox.KeptHeader {
			return
		}
		buf := []byte{} // not nil: a header without these fields is known too
		for uid, b := range mailbox.DerivedOf(ctx, h.Mailbox, keptKinds[itemFields-itemEnvelope].kind, uids) {
			if buf = appendKept(buf[:0], b, h.fields); !yield(uid, buf) {
				return
			}
		}
	}
}

// SetDerived implements mailbox.Derived: what Read had to make is kept already.
func (h *headerBox) SetDerived(context.Context, string, iter.Seq2[mailbox.UID, []byte]) error {
	return nil
}

// Read yields messages with the kept fields as their content: first those that are kept, then those that had to be read. It
// may be called by several goroutines.
func (h *headerBox) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		h.once.Do(func() { h.list(ctx) })
		if h.err != nil {
			yield(mailbox.Message{}, h.err)
			return
		}
		missing, ok := h.readKept(ctx, uids, yield)
		for chunk := range slices.Chunk(missing, fetchChunk) {
			if !ok {
				return
			}
			ok = h.readMissing(ctx, chunk, yield)
		}
	}
}

// readKept yields what is kept, through one buffer, and returns the others.
func (h *headerBox) readKept(ctx context.Context, uids mailbox.UIDSet, yield func(mailbox.Message, error) bool) (missing []mailbox.Meta, ok bool) {
	metas := h.metasOf(uids)
	var buf []byte
	var content bytes.Reader
	for uid, b := range mailbox.DerivedOf(ctx, h.Mailbox, keptKinds[itemFields-itemEnvelope].kind, uids) {
		for len(metas) > 0 && metas[0].UID < uid {
			missing, metas = append(missing, metas[0]), metas[1:]
		}
		if len(metas) == 0 || metas[0].UID != uid {
			continue
		}
		buf = appendKept(buf[:0], b, h.fields)
		content.Reset(buf)
		if !yield(mailbox.Message{Meta: metas[0], Content: &content}, nil) {
			return nil, false
		}
		metas = metas[1:]
	}
	return append(missing, metas...), true
}

// readMissing reads messages whose fields are not kept yet.
func (h *headerBox) readMissing(ctx context.Context, chunk []mailbox.Meta, yield func(mailbox.Message, error) bool) bool {
	var kept keptValues
	if err := kept.load(ctx, h.Mailbox, []fetchItem{{kind: itemFields}}, chunk); err != nil {
		yield(mailbox.Message{}, err)
		return false
	}
	for i, m := range chunk {
		content := bytes.NewReader(appendKept(nil, kept.value(itemFields, i), h.fields))
		if !yield(mailbox.Message{Meta: m, Content: content}, kept.failed[i]) {
			return false
		}
	}
	return true
}

func (h *headerBox) list(ctx context.Context) {
	ch, err := h.Mailbox.Changes(ctx, 0)
	if err != nil {
		h.err = err
		return
	}
	h.metas = slices.AppendSeq(make([]mailbox.Meta, 0, ch.State.Messages), ch.Messages)
}

// metasOf returns copies of the Metas of a set.
func (h *headerBox) metasOf(uids mailbox.UIDSet) (out []mailbox.Meta) {
	for _, r := range uids {
		i, _ := slices.BinarySearchFunc(h.metas, r.First, func(m mailbox.Meta, u mailbox.UID) int {
			return int(int64(m.UID) - int64(u))
		})
		for ; i < len(h.metas) && h.metas[i].UID <= r.Last; i++ {
			out = append(out, h.metas[i])
		}
	}
	return out
}

// readableFor returns what a search or sort is to read: the mailbox, or its kept fields where only these are asked for (fields is
// not nil) and the store keeps them.
func readableFor(mb mailbox.Mailbox, fields []string) mailbox.Mailbox {
	if _, keeps := mailbox.As[mailbox.Derived](mb); !keeps || fields == nil || !keptFields(fields) {
		return mb
	}
	if _, indexed := mailbox.As[mailbox.Searcher](mb); indexed {
		return mb
	}
	return &headerBox{Mailbox: mb, fields: fields}
}

// searchFields returns the header fields that criteria ask messages for; nil when they ask for more of a message than
// fields.
func searchFields(c *mailbox.Criterion) []string {
	fields, stack := []string{}, []*mailbox.Criterion{c}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch top.Key {
		case mailbox.KeyHeader:
			fields = append(fields, top.Field)
		case mailbox.KeySentBefore, mailbox.KeySentOn, mailbox.KeySentSince:
			fields = append(fields, "Date")
		case mailbox.KeyBody, mailbox.KeyText, mailbox.KeyLarger, mailbox.KeySmaller:
			return nil // sizes may have to be measured
		}
		for i := range top.Of {
			stack = append(stack, &top.Of[i])
		}
	}
	return fields
}

// sortFields is searchFields of an order.
func sortFields(order []mailbox.SortOrder) []string {
	fields := []string{}
	for _, o := range order {
		switch o.Key {
		case mailbox.SortSize:
			return nil
		case mailbox.SortCc:
			fields = append(fields, "Cc")
		case mailbox.SortFrom, mailbox.SortDisplayFrom:
			fields = append(fields, "From")
		case mailbox.SortTo, mailbox.SortDisplayTo:
			fields = append(fields, "To")
		case mailbox.SortDate:
			fields = append(fields, "Date")
		case mailbox.SortSubject:
			fields = append(fields, "Subject")
		}
	}
	return fields
}

// threadFields are those that THREAD looks at.
func threadFields() []string {
	return []string{"Message-ID", "References", "In-Reply-To", "Subject", "Date"}
}

// keptFields reports whether all names are among those that are kept.
func keptFields(names []string) bool {
	for _, n := range names {
		if strings.ContainsRune(n, ' ') || !strings.Contains(keptFieldNames, " "+strings.ToLower(n)+" ") {
			return false
		}
	}
	return true
}

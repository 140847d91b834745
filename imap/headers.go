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
// for such fields only, so that they open no message. It has no optional interface: a store with an index
// of its own is asked itself.
type headerBox struct {
	mailbox.Mailbox
	once  sync.Once
	metas []mailbox.Meta // of the folder, ascending
	err   error
}

// Read yields messages with the kept fields as their content. It may be called by several goroutines.
func (h *headerBox) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		h.once.Do(func() { h.list(ctx) })
		if h.err != nil {
			yield(mailbox.Message{}, h.err)
			return
		}
		metas := h.metasOf(uids)
		var kept keptValues
		for chunk := range slices.Chunk(metas, fetchChunk) {
			if err := kept.load(ctx, h.Mailbox, []fetchItem{{kind: itemFields}}, chunk); err != nil {
				yield(mailbox.Message{}, err)
				return
			}
			for i, m := range chunk {
				content := bytes.NewReader(kept.value(itemFields, i))
				if !yield(mailbox.Message{Meta: m, Content: content}, kept.failed[i]) {
					return
				}
			}
		}
	}
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

// source returns what a search or sort is to read: the mailbox, or its kept fields where headersOnly and the store keeps
// them.
func (c *conn) source(headersOnly bool) mailbox.Mailbox {
	mb := c.box.mb
	if _, keeps := mailbox.As[mailbox.Derived](mb); !keeps || !headersOnly {
		return mb
	}
	if _, indexed := mailbox.As[mailbox.Searcher](mb); indexed {
		return mb
	}
	return &headerBox{Mailbox: mb}
}

// keptOnly reports whether criteria ask messages for kept header fields only.
func keptOnly(c *mailbox.Criterion) bool {
	stack := []*mailbox.Criterion{c}
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		switch top.Key {
		case mailbox.KeyHeader:
			if !keptFields([]string{top.Field}) {
				return false
			}
		case mailbox.KeyBody, mailbox.KeyText, mailbox.KeyLarger, mailbox.KeySmaller:
			return false // sizes may have to be measured
		}
		for i := range top.Of {
			stack = append(stack, &top.Of[i])
		}
	}
	return true
}

// sortsByHeader reports whether an order asks for no sizes.
func sortsByHeader(order []mailbox.SortOrder) bool {
	return !slices.ContainsFunc(order, func(o mailbox.SortOrder) bool { return o.Key == mailbox.SortSize })
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

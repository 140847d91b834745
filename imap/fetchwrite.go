package imap

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// fetchWriter answers one FETCH, message by message. A response is composed before its first octet
// is written, so that a message that can not be read leaves no half response; literals are
// streamed.
type fetchWriter struct {
	c        *conn
	items    []fetchItem
	keywords []string

	response response
	kept     keptValues
	selected []byte                // of fieldsValue, used again
	metas    [1]mailbox.Meta       // of message, used again
	pieces   []itemPiece           // likewise
	bounded  io.LimitedReader      // of copy, likewise
	seen     mailbox.UIDSetBuilder // read, and without \Seen

	failed error // of one message; the others go on
	gone   bool  // a message was expunged meanwhile
	code   string
}

func newFetchWriter(c *conn, items []fetchItem) *fetchWriter {
	w := &fetchWriter{c: c, items: items}
	w.response.enc.UTF8 = c.enc.UTF8
	w.response.enc.Reset(&w.response.text)
	return w
}

// fetchChunk is how many messages are answered from kept bytes at a time.
const fetchChunk = 256

// response is a FETCH response that is being composed: text with literals at some of its places.
type response struct {
	enc    wire.Encoder
	text   textBuffer
	bodies []literalBody
}

// literalBody is what follows the text's first at octets.
type literalBody struct {
	at   int
	size int64
	r    io.Reader
}

func (r *response) reset() {
	r.text = r.text[:0]
	clear(r.bodies)
	r.bodies = r.bodies[:0]
}

// literal puts size octets of src at the present place.
func (r *response) literal(src io.Reader, size int64, binary bool) {
	if binary {
		r.enc.BinaryHead(size)
	} else {
		r.enc.LiteralHead(size)
	}
	r.bodies = append(r.bodies, literalBody{len(r.text), size, src})
}

// run answers for uids.
func (w *fetchWriter) run(ctx context.Context, uids mailbox.UIDSet) error {
	for i := range w.items {
		if w.items[i].kind.content() {
			return w.fromContent(ctx, uids)
		}
	}
	return w.fromIndex(ctx, uids)
}

// fromIndex answers from the store's index and its kept bytes. Messages are opened only where the
// store knows too little of them.
func (w *fetchWriter) fromIndex(ctx context.Context, uids mailbox.UIDSet) error {
	ch, err := mailbox.List(ctx, w.c.box.mb, uids)
	if err != nil {
		return failed(err)
	}
	w.begin(ch.State)
	var chunk []mailbox.Meta
	found := 0
	for m := range ch.Messages {
		found++
		if chunk = append(chunk, m); len(chunk) == fetchChunk {
			if err := w.chunk(ctx, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	w.gone = found < uids.Len()
	if len(chunk) == 0 {
		return nil
	}
	return w.chunk(ctx, chunk)
}

// begin tells keywords before they are used.
func (w *fetchWriter) begin(s mailbox.State) {
	w.c.newKeywords(s)
	w.keywords = s.Keywords
}

// chunk answers for some messages, ascending.
func (w *fetchWriter) chunk(ctx context.Context, metas []mailbox.Meta) error {
	if err := w.kept.load(ctx, w.c.box.mb, w.items, metas); err != nil {
		return failed(err)
	}
	for i := range metas {
		if err := w.kept.failed[i]; err != nil {
			w.skip(err)
			continue
		}
		w.compose(&metas[i], i, nil)
		if err := w.send(ctx); err != nil {
			return err
		}
	}
	return nil
}

// skip notes a message that could not be read.
func (w *fetchWriter) skip(err error) {
	if errors.Is(err, mailbox.ErrGone) {
		w.gone = true
		return
	}
	w.failed = err
}

// fromContent answers by reading the messages.
func (w *fetchWriter) fromContent(ctx context.Context, uids mailbox.UIDSet) error {
	ch, err := w.c.box.mb.Changes(ctx, mailbox.Latest)
	if err != nil {
		return failed(err)
	}
	w.begin(ch.State)
	found := 0
	for msg, err := range w.c.box.mb.Read(ctx, uids) {
		if err == nil {
			err = w.message(ctx, &msg)
		}
		switch {
		case endsSession(err):
			return err
		case err != nil && msg.UID == 0:
			return failed(err)
		}
		found++
		if err != nil {
			w.skip(err)
		}
	}
	w.gone = w.gone || found < uids.Len()
	return nil
}

// brokenWrite is an error after a response was begun: only the end of the connection tells the client.
type brokenWrite struct{ err error }

func (b *brokenWrite) Error() string { return "response broken off: " + b.err.Error() }
func (b *brokenWrite) Unwrap() error { return b.err }

func endsSession(err error) bool {
	if err == nil {
		return false
	}
	var b *brokenWrite
	return errors.As(err, &b)
}

// message answers for one message.
func (w *fetchWriter) message(ctx context.Context, msg *mailbox.Message) error {
	m := &message{ctx: ctx, mb: w.c.box.mb, uid: msg.UID, content: msg.Content}
	msg.Size = msg.Content.Size()
	w.metas[0] = msg.Meta
	if err := w.kept.loadFrom(ctx, m, w.items, w.metas[:]); err != nil {
		return err
	}
	pieces, err := w.locate(m)
	if err != nil {
		return err
	}
	w.compose(&msg.Meta, 0, &located{m, pieces})
	if err := w.send(ctx); err != nil {
		return err
	}
	w.markSeen(&msg.Meta)
	return nil
}

// markSeen notes that a message was read (RFC 9051 §6.4.5: BODY[…] without PEEK sets \Seen).
func (w *fetchWriter) markSeen(m *mailbox.Meta) {
	if w.c.box.readOnly || m.Flags&mailbox.Seen != 0 {
		return
	}
	for i := range w.items {
		if w.items[i].kind.content() && !w.items[i].peek {
			w.seen.Add(m.UID)
			return
		}
	}
}

// located are the pieces of a message that its items ask for.
type located struct {
	m      *message
	pieces []itemPiece
}

// itemPiece is the piece of one item.
type itemPiece struct {
	piece  piece
	ok     bool
	binary *binaryPiece
}

// locate finds the pieces, so that nothing can fail once the response is being written but reading
// itself.
func (w *fetchWriter) locate(m *message) ([]itemPiece, error) {
	w.pieces = append(w.pieces[:0], make([]itemPiece, len(w.items))...)
	pieces := w.pieces
	for i := range w.items {
		item := &w.items[i]
		var err error
		switch item.kind {
		case itemSection:
			pieces[i].piece, pieces[i].ok, err = item.section.find(m)
		case itemBinary, itemBinarySize:
			pieces[i].binary, err = findBinary(m, &item.section)
			if errors.Is(err, errUnknownEncoding) {
				w.code, err = "UNKNOWN-CTE", fmt.Errorf("message %d: %w", m.uid, err)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return pieces, nil
}

// compose makes the response of one message. index is its place in the kept values.
func (w *fetchWriter) compose(m *mailbox.Meta, index int, l *located) {
	w.response.reset()
	e := &w.response.enc
	w.c.fetchHead(e, w.c.box.view.Number(m.UID), m.UID)
	for i := range w.items {
		e.Raw(opener(i))
		e.Raw(w.items[i].name)
		e.SP()
		switch item := &w.items[i]; {
		case item.kind.content():
			w.contentValue(item, l, &l.pieces[i])
		case item.kind == itemFields:
			w.fieldsValue(item, w.kept.value(item.kind, index))
		case item.kind.kept():
			e.RawBytes(w.kept.value(item.kind, index))
		default:
			w.metaValue(item.kind, m)
		}
	}
	e.Raw(")\r\n")
}

func (w *fetchWriter) metaValue(kind itemKind, m *mailbox.Meta) {
	e := &w.response.enc
	switch kind {
	case itemUID:
		e.Number(uint64(m.UID))
	case itemFlags:
		e.Flags(m.Flags, w.keywords)
	case itemDate:
		e.DateTime(m.Date.Time())
	case itemSize:
		e.Number(uint64(max(m.Size, 0)))
	case itemModSeq:
		e.Raw("(")
		e.Number(uint64(m.ModSeq))
		e.Raw(")")
	case itemSaved:
		if m.Saved == 0 {
			e.Raw("NIL")
			return
		}
		e.DateTime(m.Saved.Time())
	}
}

func (w *fetchWriter) contentValue(item *fetchItem, l *located, p *itemPiece) {
	e := &w.response.enc
	if b := p.binary; b != nil {
		w.binaryValue(item, b)
		return
	}
	if !p.ok {
		e.Raw("NIL")
		return
	}
	offset, count := item.section.cut(p.piece.size())
	w.response.literal(p.piece.reader(l.m.content, offset, count), count, false)
}

// fieldsValue selects from the kept fields those that the item names.
func (w *fetchWriter) fieldsValue(item *fetchItem, kept []byte) {
	w.selected = appendKept(w.selected[:0], kept, item.section.fields)
	selected := w.selected
	w.response.enc.LiteralHead(int64(len(selected)))
	w.response.enc.RawBytes(selected)
}

// send writes the response.
func (w *fetchWriter) send(ctx context.Context) error {
	out, r := &w.c.out, &w.response
	done := 0
	for _, b := range r.bodies {
		_, _ = out.Write(r.text[done:b.at]) // the error is sticky
		done = b.at
		if err := w.copy(b); err != nil {
			return &brokenWrite{err}
		}
	}
	if _, err := out.Write(r.text[done:]); err != nil {
		return &brokenWrite{err}
	}
	if ctx.Err() != nil {
		return &brokenWrite{context.Cause(ctx)}
	}
	return nil
}

// copy streams a literal. Memory does not depend on its size, nor on how fast the client reads.
func (w *fetchWriter) copy(b literalBody) error {
	if c, ok := b.r.(io.Closer); ok {
		defer c.Close()
	}
	w.bounded = io.LimitedReader{R: b.r, N: b.size}
	n, err := w.c.out.ReadFrom(&w.bounded)
	if err == nil && n < b.size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// conclude sets \Seen, and says what was left out.
func (w *fetchWriter) conclude(ctx context.Context) error {
	if uids := w.seen.Set(); !uids.Empty() {
		_, err := w.c.box.mb.SetFlags(ctx, uids, mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
		if err != nil && !errors.Is(err, mailbox.ErrReadOnly) && !errors.Is(err, mailbox.ErrForbidden) {
			return failed(err)
		}
	}
	switch {
	case w.code != "":
		return &reply{status: statusNO, code: w.code, text: "a part has an encoding that is not known", err: w.failed}
	case w.failed != nil:
		return failed(w.failed)
	case w.gone:
		return no("EXPUNGEISSUED", "some of the messages were expunged")
	}
	return nil
}

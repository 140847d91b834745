package smtp

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// Steps of a transaction other than recipients.
const (
	stepReset = -1 - iota
	stepMail
	stepData
	stepBDAT // with the message behind it
)

// stageOf names a step for errors.
func stageOf(step int) Stage {
	switch step {
	case stepReset:
		return StageIdle
	case stepMail:
		return StageMail
	case stepData:
		return StageData
	case stepBDAT:
		return StageText
	}
	return StageRcpt
}

// run sends the envelope and the message. Its error is what all recipients get who have no outcome of their own.
func (t *transaction) run(ctx context.Context) error {
	if err := t.c.quiet(); err != nil {
		return t.c.failed(StageIdle, err)
	}
	if err := t.envelope(ctx); err != nil {
		return err
	}
	if len(t.accepted) == 0 {
		return t.abandon()
	}
	switch {
	case t.decided[t.accepted[0]]: // the message left in the same flight, or DATA was refused in it
		return nil
	case t.byBDAT():
		return t.sendChunk(ctx)
	case !t.asked:
		t.c.line = append(t.c.line[:0], "DATA"...)
		if err := t.add(ctx, stepData); err != nil {
			return err
		}
		if err := t.drain(ctx); err != nil || !t.asked {
			return err
		}
	}
	return t.sendDotted(ctx)
}

// envelope sends MAIL, RCPT and what may go together with them, and reads the replies.
func (t *transaction) envelope(ctx context.Context) error {
	c := t.c
	if c.dirty {
		c.line = append(c.line[:0], "RSET"...)
		if err := t.add(ctx, stepReset); err != nil {
			return err
		}
	}
	c.line = append(append(c.line[:0], "MAIL FROM:"...), t.mail.From.Path()...)
	c.line = appendMailParams(c.line, &t.mail, c.offered, t.now)
	if err := t.add(ctx, stepMail); err != nil {
		return err
	}
	for _, i := range t.rcpts {
		if len(t.pending) == 0 && !t.mailed {
			return nil // MAIL was refused
		}
		to := t.env.To[i]
		to.Address, _ = asciiAddressUnless(t.mail.UTF8, to.Address)
		c.line = append(append(c.line[:0], "RCPT TO:"...), to.Address.Path()...)
		c.line = appendRcptParams(c.line, &to, c.offered)
		if err := t.add(ctx, i); err != nil {
			return err
		}
	}
	if err := t.together(ctx); err != nil {
		return err
	}
	return t.drain(ctx)
}

// together adds what may leave in one flight with the envelope: DATA, or a small message as a whole.
func (t *transaction) together(ctx context.Context) error {
	c := t.c
	switch {
	case !c.offered.has(extPipelining):
		return nil
	case !t.byBDAT():
		c.line = append(c.line[:0], "DATA"...)
		return t.add(ctx, stepData)
	case !t.p.whole || len(t.pending)+1 >= maxFlight || time.Since(c.lastReply) > warmTime:
		return nil
	}
	t.chunkLine()
	if err := c.put(""); err != nil {
		return t.cut(ctx, StageText, err)
	}
	if _, err := c.w.Write(t.p.head); err != nil {
		return t.cut(ctx, StageText, err)
	}
	t.pending = append(t.pending, stepBDAT)
	return nil
}

// byBDAT reports whether the message goes by BDAT (RFC 3030), which needs its exact size.
func (t *transaction) byBDAT() bool {
	exact := t.p.whole || t.p.content != nil && (t.binary || !t.c.d.normalises())
	return exact && t.c.offered.has(extChunking)
}

func (t *transaction) chunkLine() {
	t.c.line = append(t.c.line[:0], "BDAT "...)
	t.c.line = strconv.AppendInt(t.c.line, t.p.size(), 10)
	t.c.line = append(t.c.line, " LAST"...)
}

// add sends the command in c.line with the others that are pending, or alone if the server has no PIPELINING.
func (t *transaction) add(ctx context.Context, step int) error {
	if err := t.c.put(""); err != nil {
		return t.cut(ctx, stageOf(step), err)
	}
	t.pending = append(t.pending, step)
	if len(t.pending) < maxFlight && t.c.offered.has(extPipelining) {
		return nil
	}
	return t.drain(ctx)
}

// drain sends what is buffered and reads all replies that are to come.
func (t *transaction) drain(ctx context.Context) error {
	if len(t.pending) == 0 {
		return nil
	}
	if err := t.c.w.Flush(); err != nil {
		return t.cut(ctx, stageOf(t.pending[0]), err)
	}
	pending := t.pending
	t.pending = t.pending[:0]
	t.sent = pending[len(pending)-1] == stepBDAT
	for _, step := range pending {
		if step == stepBDAT && len(t.accepted) > 0 {
			return t.finals(ctx)
		}
		limit := t.c.limits.Command
		if step == stepData {
			limit = t.c.limits.DataInit
		}
		s, err := t.c.reply(ctx, limit)
		if err != nil {
			return t.lost(ctx, stageOf(step), err)
		}
		if err := t.take(step, s); err != nil {
			return err
		}
	}
	return nil
}

// take judges the reply to a step. Its error ends the transaction.
func (t *transaction) take(step int, s *goniec.Status) error {
	if s.Code == 421 {
		return t.c.stageError(stageOf(step), s)
	}
	ok := s.Code/100 == 2
	switch step {
	case stepReset:
		if !ok {
			return t.c.failed(StageIdle, s)
		}
		t.c.dirty = false
	case stepMail:
		t.mailed = ok
		if !ok {
			t.fail(t.refused(StageMail, s))
		}
	case stepData:
		t.takeData(s)
	case stepBDAT: // nobody to send to: the server has thrown it away
	default:
		t.takeRcpt(step, s, ok)
	}
	return t.broken()
}

// takeRcpt judges the reply to RCPT.
func (t *transaction) takeRcpt(i int, s *goniec.Status, ok bool) {
	switch {
	case t.decided[i]: // MAIL was refused
	case ok:
		t.res.Replies[i] = s
		t.accepted = append(t.accepted, i)
	default:
		t.decide(i, s, t.refused(StageRcpt, s))
	}
}

// takeData judges the reply to DATA. If nobody was accepted it is of no interest, unless it asks for the message.
func (t *transaction) takeData(s *goniec.Status) {
	switch {
	case s.Code == 354:
		t.asked = true
	case len(t.accepted) > 0:
		t.c.dirty = true
		t.fail(t.refused(StageData, s))
	}
}

// broken returns an error if a reply made the connection useless.
func (t *transaction) broken() error {
	if t.c.err == nil {
		return nil
	}
	e := t.c.stageError(StageMail, t.c.err)
	e.Sent = t.sent
	return e
}

// refused is the error for a reply that says no. One that can not be understood leaves open what became of a message that was sent.
func (t *transaction) refused(stage Stage, s *goniec.Status) error {
	e := t.c.refused(stage, s)
	e.Sent = t.sent && s.Code < 400
	return e
}

// abandon ends a transaction without recipients.
func (t *transaction) abandon() error {
	t.c.dirty = t.c.dirty || t.mailed
	if t.asked {
		// The server waits for a message to nobody. RFC 2920 §3.1 would send it an empty one; to hang up can not be taken for
		// a message at all.
		t.c.breakOff(ErrClosed)
	}
	return nil
}

// sendChunk sends the message as one chunk.
func (t *transaction) sendChunk(ctx context.Context) error {
	t.chunkLine()
	if err := t.c.put(""); err != nil {
		return t.cut(ctx, StageText, err)
	}
	src := &textSource{ctx: ctx, r: t.p.reader()}
	var text io.Reader = src
	if !t.p.whole && !t.binary {
		text = crlf.NewTextReader(src, crlf.TextOptions{})
	}
	n, err := io.Copy(&t.c.w, text)
	if err == nil && n != t.p.size() {
		src.err = io.ErrUnexpectedEOF
		err = src.err
	}
	return t.finish(ctx, src, err)
}

// sendDotted sends the message as DATA wants it.
func (t *transaction) sendDotted(ctx context.Context) error {
	bare := crlf.Reject
	if t.c.d.normalises() {
		bare = crlf.Normalise
	}
	src := &textSource{ctx: ctx, r: t.p.reader()}
	w := crlf.NewDotWriter(&t.c.w, bare)
	n, err := w.ReadFrom(src)
	if size := t.p.size(); err == nil && size >= 0 && n != size {
		src.err = io.ErrUnexpectedEOF
		err = src.err
	}
	if err == nil {
		err = w.Close()
	}
	return t.finish(ctx, src, err)
}

// textSource reads the message and remembers its own errors, to tell them from those of the connection.
type textSource struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *textSource) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// finish sends the end of the message and reads the reply. After an error the end has not been sent, and the connection is closed
// so that the server throws away what it has.
func (t *transaction) finish(ctx context.Context, src *textSource, err error) error {
	var fault crlf.Error
	switch {
	case ctx.Err() != nil && err != nil:
		return t.cut(ctx, StageText, err)
	case src.err != nil:
		return t.c.failed(StageText, &sourceError{src.err})
	case errors.As(err, &fault):
		return t.c.failed(StageText, errBareText)
	case err == nil:
		err = t.c.w.Flush()
	}
	if err != nil {
		return t.cut(ctx, StageText, err)
	}
	t.sent = true
	return t.finals(ctx)
}

// finals reads the reply to the message, in LMTP one for each recipient (RFC 2033 §4.2).
func (t *transaction) finals(ctx context.Context) error {
	n := 1
	if t.c.dialect.EachRcpt {
		n = len(t.accepted)
	}
	for k := range n {
		s, err := t.c.reply(ctx, t.c.limits.DataEnd)
		if err != nil {
			return t.lost(ctx, StageText, err)
		}
		to := t.accepted[k:]
		if t.c.dialect.EachRcpt {
			to = to[:1]
		}
		t.takeFinal(to, s)
		if s.Code == 421 {
			return t.c.stageError(StageText, s)
		}
	}
	return nil
}

// takeFinal judges the reply to the message for some recipients.
func (t *transaction) takeFinal(to []int, s *goniec.Status) {
	var err error
	if s.Code/100 != 2 {
		err = t.refused(StageText, s)
		t.c.dirty = true // RFC 3030 §2: after a failed BDAT
	}
	for _, i := range to {
		t.decide(i, s, err)
	}
}

// lost is the error for a connection that broke off. If the message was sent, nobody knows what became of it.
func (t *transaction) lost(ctx context.Context, stage Stage, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	e := t.c.failed(stage, err)
	e.Sent = t.sent
	return e
}

// cut is lost for a connection that broke off while we wrote: the server may have said why.
func (t *transaction) cut(ctx context.Context, stage Stage, err error) error {
	if ctx.Err() == nil {
		if s := t.c.lastWords(len(t.pending)); s != nil {
			err = s
		}
	}
	return t.lost(ctx, stage, err)
}

// lastWordsTime is how long a server may take to say why it hung up.
const lastWordsTime = time.Second

// lastWords returns what a server said before it hung up on us while we wrote, behind the replies to earlier commands: 421, or any
// refusal if no other reply is to come. nil if there is nothing.
func (c *Client) lastWords(pending int) *goniec.Status {
	if c.err != nil || c.conn.SetReadDeadline(time.Now().Add(lastWordsTime)) != nil {
		return nil
	}
	for n := 0; n <= pending; n++ {
		s, err := readReply(&c.r)
		if err != nil {
			return nil
		}
		if s.Code == 421 || pending == 0 && s.Code >= 400 {
			return s
		}
	}
	return nil
}

package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// smallMessage is the size in octets up to which a message is held in memory while it is sent: most are smaller. Then all about
// it is known before anything is written, it can leave together with its envelope, and it can be sent again.
const smallMessage = 64 << 10

// maxTextLine is the longest line of a message that is no binary one, in octets without CRLF (RFC 5321 §4.5.3.1.6).
const maxTextLine = 998

// payload is a message on its way out. It can be sent again as long as nothing beyond its head was read of a stream.
type payload struct {
	head    []byte         // the message if whole, else the beginning of a stream
	whole   bool           // head is all of it
	content goniec.Content // a large message that can be read again
	rest    io.Reader      // a stream behind head
	used    bool           // rest was read
	facts   *facts         // nil: not known
	closers []io.Closer
}

// facts are what a server's abilities are compared with.
type facts struct {
	header8 bool // an octet above 127 in the header
	body8   bool // anywhere
	binary  bool // NUL, bare CR or LF, lines longer than maxTextLine
	bare    bool // bare CR or LF
}

// sourceError is an error of the message's own source, which no other server can mend.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "reading the message: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// load begins to read a message.
func load(msg io.Reader) (*payload, error) {
	p := &payload{}
	if c, ok := goniec.AsContent(msg); ok {
		return p, p.hold(c)
	}
	var head bytes.Buffer
	_, err := io.CopyN(&head, msg, smallMessage+1)
	p.head = head.Bytes()
	switch {
	case err == io.EOF:
		p.whole = true
	case err != nil:
		return nil, &sourceError{err}
	default:
		p.rest = msg
	}
	return p, nil
}

// hold makes c the message.
func (p *payload) hold(c goniec.Content) error {
	p.head, p.whole, p.content, p.rest, p.facts = nil, false, c, nil, nil
	if c.Size() > smallMessage {
		return nil
	}
	p.head = make([]byte, c.Size())
	if n, err := c.ReadAt(p.head, 0); n < len(p.head) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return &sourceError{err}
	}
	p.whole, p.content = true, nil
	return nil
}

// close frees what was made on the way.
func (p *payload) close() {
	for _, c := range p.closers {
		_ = c.Close()
	}
}

// again reports whether the message can be sent once more.
func (p *payload) again() bool { return !p.used }

// size is the size of the message in octets; -1 if it is not known.
func (p *payload) size() int64 {
	switch {
	case p.whole:
		return int64(len(p.head))
	case p.content != nil:
		return p.content.Size()
	}
	return -1
}

// reader reads the message from its start.
func (p *payload) reader() io.Reader {
	switch {
	case p.whole:
		return bytes.NewReader(p.head)
	case p.content != nil:
		return goniec.NewReader(p.content)
	}
	p.used = true
	return io.MultiReader(bytes.NewReader(p.head), p.rest)
}

// keep makes a stream readable again.
func (p *payload) keep(ctx context.Context) (goniec.Content, error) {
	switch {
	case p.whole:
		return bytes.NewReader(p.head), nil
	case p.content != nil:
		return p.content, nil
	case p.used:
		return nil, errors.New("smtp: message was read already")
	}
	s, err := goniec.Spool(ctx, p.reader(), -1)
	if err != nil {
		return nil, &sourceError{err}
	}
	p.closers = append(p.closers, s)
	p.content, p.used, p.rest, p.head = s, false, nil, nil
	return s, nil
}

// learn returns the facts of the message, for which it is read if need be.
func (p *payload) learn(ctx context.Context) (*facts, error) {
	if p.facts != nil {
		return p.facts, nil
	}
	if !p.whole {
		if _, err := p.keep(ctx); err != nil {
			return nil, err
		}
	}
	f, err := survey(ctx, p.reader())
	if err != nil {
		return nil, &sourceError{err}
	}
	p.facts = f
	return f, nil
}

// normalise makes each bare CR and LF of a whole message a CRLF.
func (p *payload) normalise() error {
	out, err := io.ReadAll(crlf.NewTextReader(p.reader(), crlf.TextOptions{Bare: crlf.Normalise}))
	if err != nil {
		return err
	}
	p.head, p.facts = out, nil
	return nil
}

// survey reads a message to learn its facts.
func survey(ctx context.Context, r io.Reader) (*facts, error) {
	h := &headerScan{ctx: ctx, r: r}
	t := crlf.NewTextReader(h, crlf.TextOptions{Bare: crlf.Normalise}) // which has no faults, and counts all the same
	if _, err := io.Copy(io.Discard, t); err != nil {
		return nil, err
	}
	s := t.Stats()
	bare := s.BareCR || s.BareLF
	return &facts{header8: h.eightBit, body8: s.EightBit, bare: bare, binary: bare || s.NUL || s.LongestLine > maxTextLine}, nil
}

// headerScan looks for 8-bit octets before the first empty line of what passes.
type headerScan struct {
	ctx      context.Context
	r        io.Reader
	eightBit bool
	empty    int // octets of "\n\r\n" seen, or "\n\n"
	done     bool
}

func (h *headerScan) Read(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	n, err := h.r.Read(p)
	for _, b := range p[:n] {
		if h.done {
			break
		}
		h.octet(b)
	}
	return n, err
}

func (h *headerScan) octet(b byte) {
	switch {
	case b == '\n' && h.empty > 0:
		h.done = true
	case b == '\n':
		h.empty = 1
	case b == '\r' && h.empty == 1:
		h.empty = 2
	default:
		h.empty = 0
		h.eightBit = h.eightBit || b > 127
	}
}

// convert replaces the message by one that fits to.
func (p *payload) convert(ctx context.Context, d *Dialer, to goniec.BodyType) error {
	if d.Convert == nil {
		return cannot(554, goniec.EnhancedCode{5, 6, 3}, fmt.Sprintf("the next host takes no more than %s, and conversion is not set up", to))
	}
	c, err := p.keep(ctx)
	if err != nil {
		return err
	}
	out, err := d.Convert(ctx, c, to)
	if err != nil {
		return goniec.NewStatus(554, goniec.EnhancedCode{5, 6, 3}, "the message could not be converted for the next host").WithCause(err)
	}
	if closer, ok := out.(io.Closer); ok {
		p.closers = append(p.closers, closer)
	}
	if err := p.hold(out); err != nil {
		return err
	}
	f, err := p.learn(ctx)
	if err == nil && (f.binary || f.body8 && to == goniec.Body7Bit) {
		err = goniec.NewStatus(554, goniec.EnhancedCode{5, 6, 3}, "conversion did not make the message fit for the next host")
	}
	return err
}

// cannot is the error for what a server does not offer. Another host may (errors.ErrUnsupported).
func cannot(code int, enhanced goniec.EnhancedCode, text string) *goniec.Status {
	return &goniec.Status{Code: code, Enhanced: enhanced, Text: text, Err: errors.ErrUnsupported}
}

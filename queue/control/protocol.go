package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// Hands is what can be done to a queue: *queue.Queue does it, *Client has it done.
type Hands interface {
	List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Entry, error]
	Show(ctx context.Context, id queue.ID) (queue.Entry, error)
	Past(ctx context.Context, id queue.ID) iter.Seq2[queue.Event, error]
	Cat(ctx context.Context, id queue.ID, w io.Writer) error
	Hold(ctx context.Context, id queue.ID) error
	Release(ctx context.Context, id queue.ID) error
	Flush(ctx context.Context, id queue.ID) error
	FlushDest(ctx context.Context, dest string) error
	Delete(ctx context.Context, id queue.ID) error
	Expire(ctx context.Context, id queue.ID) error
	Requeue(ctx context.Context, id queue.ID) error
	Enqueue(ctx context.Context, env *goniec.Envelope, msg io.Reader, o queue.Options) (queue.ID, error)
}

var (
	_ Hands = (*queue.Queue)(nil)
	_ Hands = (*Client)(nil)
)

// maxRequest bounds the line of a request: a submission to many recipients is long. maxStranger is that of users who are no admins.
const (
	maxRequest  = 32 << 20
	maxStranger = 4 << 20
)

// request is what a client asks.
type request struct {
	Op       string        `json:"op"`
	ID       queue.ID      `json:"id,omitempty"`
	Dest     string        `json:"dest,omitempty"`
	Filter   *queue.Filter `json:"filter,omitempty"`
	Envelope []byte        `json:"envelope,omitempty"` // goniec.AppendEnvelope
	Options  queue.Options `json:"options"`
}

// response is one line of the answer.
type response struct {
	Entry    *queue.Entry `json:"entry,omitempty"` // without its Envelope
	Envelope []byte       `json:"envelope,omitempty"`
	Event    *queue.Event `json:"event,omitempty"`
	Data     []byte       `json:"data,omitempty"`
	ID       queue.ID     `json:"id,omitempty"`
	Repeated bool         `json:"repeated,omitempty"`
	Done     bool         `json:"done,omitempty"`
	Error    *wireError   `json:"error,omitempty"`
}

// wireError carries an error so that errors.Is and errors.As work on the other side.
type wireError struct {
	Text     string              `json:"text"`
	Kind     string              `json:"kind,omitempty"` // of kinds
	Code     int                 `json:"code,omitempty"` // of a goniec.Status
	Enhanced goniec.EnhancedCode `json:"enhanced"`
}

// ErrForbidden is the answer for a peer that may not do what it asks.
var ErrForbidden = errors.New("not allowed: only root and the queue's own user may do this")

// kinds are the errors that keep their identity.
func kinds() map[string]error {
	return map[string]error{
		"not-found": queue.ErrNotFound, "busy": queue.ErrBusy, "corrupt": queue.ErrCorrupt, "closed": queue.ErrClosed,
		"full": queue.ErrFull, "forbidden": ErrForbidden, "unsupported": errors.ErrUnsupported,
	}
}

func toWire(err error) *wireError {
	w := &wireError{Text: err.Error()}
	for kind, e := range kinds() {
		if errors.Is(err, e) {
			w.Kind = kind
		}
	}
	var s *goniec.Status
	if errors.As(err, &s) {
		w.Code, w.Enhanced, w.Text = s.Code, s.Enhanced, s.Text
	}
	return w
}

// remoteError is an error that the server reported.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func (w *wireError) err() error {
	kind := kinds()[w.Kind]
	if w.Code != 0 {
		return &goniec.Status{Code: w.Code, Enhanced: w.Enhanced, Text: w.Text, Err: kind}
	}
	return &remoteError{w.Text, kind}
}

// toEntry makes an entry of a response.
func (r *response) toEntry() (queue.Entry, error) {
	e := *r.Entry
	if len(r.Envelope) == 0 {
		return e, nil
	}
	env, err := goniec.ParseEnvelope(r.Envelope)
	e.Envelope = env
	return e, err
}

func fromEntry(e queue.Entry) response {
	var r response
	if e.Envelope != nil {
		r.Envelope = goniec.AppendEnvelope(nil, e.Envelope)
		e.Envelope = nil
	}
	r.Entry = &e
	return r
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// Client asks the Server behind a control socket. It is safe for concurrent use; each call makes a
// connection, and the end of its context closes it. Errors that the Server reports wrap those of package queue,
// ErrForbidden, and *goniec.Status.
type Client struct {
	Path string // of the socket
}

// call sends a request and hands each response line to f, until the last.
func (c *Client) call(ctx context.Context, req request, body io.Reader, f func(*response) error) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Path)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	err = c.talk(conn, req, body, f)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *Client) talk(conn net.Conn, req request, body io.Reader, f func(*response) error) error {
	w := bufio.NewWriter(conn)
	sent := writeLine(w, req)
	if body != nil && sent == nil {
		frames := frameWriter{w}
		if _, err := io.Copy(frames, struct{ io.Reader }{body}); err != nil {
			sent = err // without the end the server takes nothing
		} else {
			sent = frames.end()
		}
	}
	if sent == nil {
		sent = w.Flush()
	}
	if sent != nil && body == nil {
		return sent
	}
	if sent != nil {
		// The server may have refused and closed; what it said is better than what we felt.
		_ = w.Flush()
		if u, ok := conn.(*net.UnixConn); ok {
			_ = u.CloseWrite()
		}
	}
	dec := json.NewDecoder(conn)
	for {
		var r response
		if err := dec.Decode(&r); err != nil {
			if sent != nil {
				return sent
			}
			return fmt.Errorf("control: answer: %w", unexpected(err))
		}
		switch {
		case r.Error != nil && sent != nil && r.Error.Code == 0:
			return sent
		case r.Error != nil:
			return r.Error.err()
		case r.Done:
			return nil
		}
		if err := f(&r); err != nil {
			return err
		}
	}
}

func ignore(*response) error { return nil }

// List is queue.Queue's, over the socket.
func (c *Client) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Entry, error] {
	return each(ctx, c, request{Op: "list", Filter: &f}, func(r *response) (e queue.Entry, ok bool, err error) {
		if r.Entry == nil {
			return e, false, nil
		}
		e, err = r.toEntry()
		return e, true, err
	})
}

// Past is queue.Queue's, over the socket. The events have no Err.
func (c *Client) Past(ctx context.Context, id queue.ID) iter.Seq2[queue.Event, error] {
	return each(ctx, c, request{Op: "past", ID: id}, func(r *response) (e queue.Event, ok bool, err error) {
		if r.Event == nil {
			return e, false, nil
		}
		return *r.Event, true, nil
	})
}

// each yields what take makes of the responses to a request, where it says ok.
func each[T any](ctx context.Context, c *Client, req request, take func(*response) (v T, ok bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stop := errors.New("control: enough")
		err := c.call(ctx, req, nil, func(r *response) error {
			v, ok, err := take(r)
			if err == nil && ok && !yield(v, nil) {
				return stop
			}
			return err
		})
		if err != nil && err != stop {
			var none T
			yield(none, err)
		}
	}
}

// Show is queue.Queue's, over the socket.
func (c *Client) Show(ctx context.Context, id queue.ID) (e queue.Entry, err error) {
	err = c.call(ctx, request{Op: "show", ID: id}, nil, func(r *response) (err error) {
		if r.Entry != nil {
			e, err = r.toEntry()
		}
		return err
	})
	return e, err
}

// Cat is queue.Queue's, over the socket.
func (c *Client) Cat(ctx context.Context, id queue.ID, w io.Writer) error {
	return c.call(ctx, request{Op: "cat", ID: id}, nil, func(r *response) error {
		_, err := w.Write(r.Data)
		return err
	})
}

// Hold is queue.Queue's, over the socket.
func (c *Client) Hold(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "hold", ID: id}, nil, ignore)
}

// Release is queue.Queue's, over the socket.
func (c *Client) Release(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "release", ID: id}, nil, ignore)
}

// Flush is queue.Queue's, over the socket.
func (c *Client) Flush(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "flush", ID: id}, nil, ignore)
}

// FlushDest is queue.Queue's, over the socket.
func (c *Client) FlushDest(ctx context.Context, dest string) error {
	return c.call(ctx, request{Op: "flush-dest", Dest: dest}, nil, ignore)
}

// Delete is queue.Queue's, over the socket.
func (c *Client) Delete(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "delete", ID: id}, nil, ignore)
}

// Expire is queue.Queue's, over the socket.
func (c *Client) Expire(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "expire", ID: id}, nil, ignore)
}

// Requeue is queue.Queue's, over the socket.
func (c *Client) Requeue(ctx context.Context, id queue.ID) error {
	return c.call(ctx, request{Op: "requeue", ID: id}, nil, ignore)
}

// Enqueue submits a message; everybody who can open the socket may. The server gives the ID and fills in the Origin.
func (c *Client) Enqueue(ctx context.Context, env *goniec.Envelope, msg io.Reader, o queue.Options) (id queue.ID, err error) {
	req := request{Op: "submit", Envelope: goniec.AppendEnvelope(nil, env), Options: o}
	err = c.call(ctx, req, msg, func(r *response) error {
		id = r.ID
		if o.Repeated != nil {
			*o.Repeated = r.Repeated
		}
		return nil
	})
	return id, err
}

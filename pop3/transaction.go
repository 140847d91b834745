package pop3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mailbox"
)

func (c *conn) stat(context.Context, string) error {
	c.ok("%d %d", len(c.box.messages)-len(c.box.deleted), c.box.octets)
	return nil
}

func (c *conn) list(_ context.Context, arg string) error {
	if arg != "" {
		i, err := c.number(arg)
		if err != nil {
			return err
		}
		c.ok("%d %d", i+1, c.box.messages[i].Size)
		return nil
	}
	c.ok("%d messages (%d octets)", len(c.box.messages)-len(c.box.deleted), c.box.octets)
	var line []byte
	for i, m := range c.box.messages {
		if c.box.deleted[i] {
			continue
		}
		line = strconv.AppendInt(line[:0], int64(i+1), 10)
		line = append(line, ' ')
		line = strconv.AppendInt(line, m.Size, 10)
		line = append(line, '\r', '\n')
		if _, err := c.out.Write(line); err != nil {
			return err
		}
	}
	_, err := c.out.WriteString(".\r\n")
	return err
}

func (c *conn) uidl(ctx context.Context, arg string) error {
	want := mailbox.AllUIDs()
	one := -1
	if arg != "" {
		i, err := c.number(arg)
		if err != nil {
			return err
		}
		one, want = i, mailbox.UIDs(c.box.messages[i].UID)
	}
	ids, err := mailbox.UniqueIDs(ctx, c.box.inbox, want)
	if err != nil {
		return failed("UIDL", err)
	}
	if one >= 0 {
		for _, id := range ids {
			c.ok("%d %s", one+1, id)
			return nil
		}
		return failed("UIDL", mailbox.ErrGone)
	}
	c.ok("unique-ids follow")
	i := 0
	for uid, id := range ids {
		for i < len(c.box.messages) && c.box.messages[i].UID < uid {
			i++
		}
		if i == len(c.box.messages) {
			break // arrived since the snapshot
		}
		if c.box.messages[i].UID == uid && !c.box.deleted[i] {
			if _, err := fmt.Fprintf(&c.out, "%d %s\r\n", i+1, id); err != nil {
				return err
			}
		}
	}
	_, err = c.out.WriteString(".\r\n")
	return err
}

func (c *conn) retr(ctx context.Context, arg string) error {
	i, err := c.number(arg)
	if err != nil {
		return err
	}
	return c.send(ctx, "RETR", i, func(msg goniec.Content) (int64, error) {
		return c.stream(goniec.NewReader(msg))
	})
}

// top sends the header, the empty line and n lines of the body (RFC 1939 §7).
func (c *conn) top(ctx context.Context, arg string) error {
	args := strings.Fields(arg)
	if len(args) != 2 {
		return refuse("TOP needs a message number and a number of lines")
	}
	n, err := strconv.ParseUint(args[1], 10, 31)
	if err != nil {
		return refuse("TOP needs a message number and a number of lines")
	}
	i, err := c.number(args[0])
	if err != nil {
		return err
	}
	return c.send(ctx, "TOP", i, func(msg goniec.Content) (int64, error) {
		return c.stream(&topReader{r: goniec.NewReader(msg), lines: int64(n)})
	})
}

// send writes one message. An error before its first octet is a reply; after it only closing the
// connection tells the client that the message is not whole.
func (c *conn) send(ctx context.Context, verb string, i int, write func(goniec.Content) (int64, error)) error {
	started := false
	err := c.box.read(ctx, i, func(msg goniec.Content) error {
		started = true
		c.ok("%d octets", msg.Size())
		n, err := write(msg)
		c.retrs++
		c.octets += n
		return err
	})
	if err != nil && !started {
		return failed(verb, err)
	}
	return err
}

// stream writes r in dot-stuffed form. Stored mail may hold bare CR or LF; the wire may not.
func (c *conn) stream(r io.Reader) (int64, error) {
	w := crlf.NewDotWriter(&c.out, crlf.Normalise)
	n, err := w.ReadFrom(r)
	if err != nil {
		return n, err
	}
	return n, w.Close()
}

func (c *conn) dele(_ context.Context, arg string) error {
	i, err := c.number(arg)
	if err != nil {
		return err
	}
	c.box.deleted[i] = true
	c.box.octets -= c.box.messages[i].Size
	c.ok("message %d marked", i+1)
	return nil
}

func (c *conn) rset(context.Context, string) error {
	c.box.reset()
	c.ok("%d messages (%d octets)", len(c.box.messages), c.box.octets)
	return nil
}

// number gives the index of a message that is there and not marked.
func (c *conn) number(arg string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(arg), 10, 31)
	switch {
	case err != nil && errors.Is(err, strconv.ErrSyntax):
		return 0, refuse("a message number is needed")
	case err != nil || n == 0 || n > uint64(len(c.box.messages)):
		return 0, refuse("no such message, there are %d", len(c.box.messages))
	case c.box.deleted[int(n)-1]:
		return 0, refuse("message %d is marked as deleted", n)
	}
	return int(n) - 1, nil
}

// topReader passes the header, the empty line and so many lines of the body.
type topReader struct {
	r     io.Reader
	lines int64 // of the body, still to pass
	body  bool
	start bool // at the start of a line; the first octet of all is one
	begun bool
	done  bool
}

// Read implements io.Reader.
func (t *topReader) Read(p []byte) (int, error) {
	if t.done {
		return 0, io.EOF
	}
	n, err := t.r.Read(p)
	if pass := t.pass(p[:n]); pass < n || t.done {
		t.done = true
		return pass, nil
	}
	return n, err
}

// pass returns how much of b belongs to the reply.
func (t *topReader) pass(b []byte) int {
	if !t.begun {
		t.begun, t.start = true, true
	}
	for at := 0; at < len(b); {
		if t.body && t.lines == 0 {
			t.done = true
			return at
		}
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			// A line that goes on is empty so far only if it holds a lone CR.
			rest := b[at:]
			t.start = t.start && len(rest) == 1 && rest[0] == '\r'
			return len(b)
		}
		line := b[at : at+i]
		empty := t.start && (len(line) == 0 || len(line) == 1 && line[0] == '\r')
		switch {
		case t.body:
			t.lines--
		case empty:
			t.body = true
		}
		t.start = true
		at += i + 1
	}
	t.done = t.body && t.lines == 0
	return len(b)
}

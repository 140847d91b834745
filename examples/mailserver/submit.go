package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mime"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

// submission is "queue submit": what sendmail does with its options -f, -i and -t.
type submission struct {
	from     string
	fromTo   bool // -t: recipients stand in the header
	dots     bool // -i: a line with a dot alone is no end
	rcpts    []string
	hostname string
}

// maxSubmitHeader is the largest header read, in octets.
const maxSubmitHeader = 1 << 20

// send reads a message and queues it. Line ends may be LF; Date, Message-ID and From are added where they are missing.
func (s *submission) send(ctx context.Context, hands control.Hands, in io.Reader) (queue.ID, error) {
	if s.hostname == "" {
		s.hostname, _ = os.Hostname()
	}
	if !s.dots {
		in = &untilDot{r: bufio.NewReader(in)}
	}
	body := bufio.NewReader(crlf.NewTextReader(in, crlf.TextOptions{Bare: crlf.Normalise}))
	h, err := splitHeader(body)
	if err != nil {
		return "", fmt.Errorf("queue submit: %w", err)
	}
	env := &goniec.Envelope{Received: time.Now(), Origin: goniec.Origin{User: fmt.Sprintf("uid:%d", os.Getuid()), Protocol: "local"}}
	if err := s.address(env, h); err != nil {
		return "", fmt.Errorf("queue submit: %w", err)
	}
	h.Delete("Bcc")
	if err := s.complete(h, env.From); err != nil {
		return "", fmt.Errorf("queue submit: %w", err)
	}
	id, err := hands.Enqueue(ctx, env, io.MultiReader(bytes.NewReader(h.Bytes()), body), queue.Options{})
	if err != nil {
		return "", fmt.Errorf("queue submit: the message is not queued: %w", err)
	}
	return id, nil
}

// splitHeader reads the header with its empty line. What does not look like a field begins the body.
func splitHeader(in *bufio.Reader) (*mime.Header, error) {
	var block []byte
	for {
		next, err := in.Peek(1)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if len(next) == 0 || len(block) == 0 && next[0] <= ' ' && next[0] != '\r' {
			break
		}
		peeked, _ := in.Peek(1000)
		line, _, _ := bytes.Cut(peeked, []byte("\n"))
		name, _, isField := bytes.Cut(line, []byte(":"))
		blank := line[0] == '\r'
		if !blank && line[0] != ' ' && line[0] != '\t' && (!isField || bytes.ContainsAny(name, " \t")) {
			break
		}
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if blank {
			break
		}
		if block = append(block, text...); len(block) > maxSubmitHeader {
			return nil, fmt.Errorf("the header is larger than %d octets", maxSubmitHeader)
		}
	}
	return mime.ParseHeader(append(block, '\r', '\n')), nil
}

// address fills in sender and recipients.
func (s *submission) address(env *goniec.Envelope, h *mime.Header) (err error) {
	switch s.from {
	case "<>":
	case "":
		me, err := user.Current()
		if err != nil {
			return fmt.Errorf("who sends? %w: say so with -f", err)
		}
		if env.From, err = goniec.NewAddress(me.Username, s.hostname); err != nil {
			return fmt.Errorf("%s@%s is no sender's address: %w: give one with -f", me.Username, s.hostname, err)
		}
	default:
		if env.From, err = goniec.ParseAddress(s.from); err != nil {
			return fmt.Errorf("-f %q: %w", s.from, err)
		}
	}
	rcpts := s.rcpts
	if s.fromTo {
		for _, name := range []string{"To", "Cc", "Bcc"} {
			for _, f := range h.Fields(name) {
				list, err := mime.ParseAddresses(f.Value())
				if err != nil {
					return fmt.Errorf("-t: the field %s: %w", name, err)
				}
				for a := range list.Mailboxes() {
					rcpts = append(rcpts, a.Addr())
				}
			}
		}
	}
	if len(rcpts) == 0 {
		return errors.New("to whom? name recipients, or take those in the header with -t")
	}
	seen := map[goniec.Address]bool{}
	for _, r := range rcpts {
		to, err := goniec.ParseAddress(r)
		if err != nil {
			return fmt.Errorf("recipient %q: %w", r, err)
		}
		if !seen[to.Key()] {
			seen[to.Key()] = true
			env.To = append(env.To, goniec.Recipient{Address: to})
		}
		env.UTF8 = env.UTF8 || !to.IsASCII()
	}
	env.UTF8 = env.UTF8 || !env.From.IsASCII() || bytes.ContainsFunc(h.Bytes(), func(r rune) bool { return r > 127 })
	env.Body = goniec.Body8BitMIME // it is not read through to find out
	return nil
}

// complete adds what RFC 5322 §3.6 asks for.
func (s *submission) complete(h *mime.Header, from goniec.Address) error {
	id, err := mime.NewMessageID(s.hostname, rand.Reader)
	if err != nil {
		return err
	}
	sender := from.String()
	if sender == "" {
		sender = "MAILER-DAEMON@" + s.hostname
	}
	for _, f := range [][2]string{{"From", sender}, {"Date", mime.FormatDate(time.Now())}, {"Message-ID", "<" + id + ">"}} {
		if h.Count(f[0]) > 0 {
			continue
		}
		field, err := mime.NewField(f[0], f[1])
		if err != nil {
			return fmt.Errorf("field %s: %w", f[0], err)
		}
		h.Append(field)
	}
	return nil
}

// untilDot ends at a line with a dot alone, as sendmail does without -i.
type untilDot struct {
	r    *bufio.Reader
	rest []byte
	mid  bool // rest goes on in the middle of a line
	over bool
}

// Read implements io.Reader.
func (u *untilDot) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		if u.over {
			return 0, io.EOF
		}
		line, err := u.r.ReadSlice('\n')
		if len(line) == 0 && err != nil {
			return 0, err
		}
		if text := bytes.TrimRight(line, "\r\n"); !u.mid && string(text) == "." {
			u.over = true
			return 0, io.EOF
		}
		u.rest, u.mid = line, line[len(line)-1] != '\n'
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

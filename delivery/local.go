package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
)

// maxLoopScan is how much of a header is searched for Delivered-To fields. They stand at its top.
const maxLoopScan = 64 << 10

// deliverLocal puts msg into all mailboxes of the plan.
func (r *Router) deliverLocal(ctx context.Context, env *goniec.Envelope, p *plan, msg io.Reader) {
	delivered, msg, err := deliveredTo(msg)
	if err != nil {
		for _, at := range p.boxes {
			p.note(at, err)
		}
		return
	}
	boxes := make([]*place, 0, len(p.boxes))
	for _, at := range p.boxes {
		if delivered[mailboxKey(at.Address).String()] {
			p.note(at, errMailLoop)
			continue
		}
		boxes = append(boxes, at)
	}
	switch {
	case len(boxes) == 0:
	case len(p.boxes) == 1:
		r.store(ctx, env, p, boxes, returnPath(env)+deliveredToField(boxes[0].Address), msg)
	case r.DeliveredTo == DeliveredToAlways:
		c, _ := goniec.AsContent(msg) // Deliver has spooled it
		for _, at := range boxes {
			r.store(ctx, env, p, []*place{at}, returnPath(env)+deliveredToField(at.Address), goniec.NewReader(c))
		}
	default:
		r.store(ctx, env, p, boxes, returnPath(env), msg)
	}
}

// store writes one message, with fields in front of it, into the mailboxes of some places.
func (r *Router) store(ctx context.Context, env *goniec.Envelope, p *plan, boxes []*place, fields string, msg io.Reader) {
	targets := make([]mailbox.Target, len(boxes))
	for i, at := range boxes {
		targets[i] = mailbox.Target{User: at.User, Name: at.Folder}
	}
	start := time.Now()
	errs := mailbox.DeliverAll(ctx, r.Store, targets, goniec.Prepend(fields, msg), mailbox.AppendOptions{Date: env.Received})
	for i, at := range boxes {
		err := errs[i]
		if err != nil {
			err = storeStatus(fmt.Errorf("deliver to %s: %w", at.User, err))
		}
		p.note(at, err)
		r.log(ctx, env, at, err, time.Since(start))
	}
}

func (r *Router) log(ctx context.Context, env *goniec.Envelope, at *place, err error, took time.Duration) {
	if r.Logger == nil {
		return
	}
	folder := at.Folder
	if folder == "" {
		folder = "INBOX"
	}
	attrs := []slog.Attr{
		slog.String("id", env.ID), slog.String("to", at.Address.String()),
		slog.String("user", at.User), slog.String("folder", folder), slog.Duration("took", took),
	}
	if err != nil {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "not delivered", append(attrs, slog.String("error", err.Error()))...)
		return
	}
	r.Logger.LogAttrs(ctx, slog.LevelInfo, "delivered", attrs...)
}

// storeStatus gives a store's error the reply that says it best; what is unknown is temporary.
func storeStatus(err error) error {
	var s *goniec.Status
	switch {
	case errors.As(err, &s):
		return err
	case errors.Is(err, mailbox.ErrOverQuota):
		return goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "mailbox is full, try again later").WithCause(err)
	case errors.Is(err, mailbox.ErrTooLarge):
		return goniec.NewStatus(552, goniec.EnhancedCode{5, 2, 3}, "message is too large for the mailbox").WithCause(err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return goniec.NewStatus(452, goniec.EnhancedCode{4, 3, 1}, "insufficient system storage, try again later").WithCause(err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 5}, "system is not set up to store mail, try again later").WithCause(err)
	}
	return err
}

// deliverRelay hands the plan's foreign addresses to Relay in one envelope.
func (r *Router) deliverRelay(ctx context.Context, env *goniec.Envelope, p *plan, msg io.Reader) {
	out := env.Clone()
	out.To = make([]goniec.Recipient, len(p.relays))
	for i, at := range p.relays {
		// The DSN parameters go with the recipient that led here (RFC 3461 §5.2.7); an alias is the
		// original recipient unless the sender named one.
		rcpt := env.To[at.rcpts[0]]
		if rcpt.Address != at.Address && rcpt.ORcpt == (goniec.ORcpt{}) && rcpt.Address.IsASCII() {
			rcpt.ORcpt = goniec.ORcpt{Type: "rfc822", Address: rcpt.Address.String()}
		}
		rcpt.Address = at.Address
		out.To[i] = rcpt
	}
	errs := goniec.Outcomes(r.Relay.Deliver(ctx, out, msg), len(out.To))
	for i, at := range p.relays {
		p.note(at, errs[i])
	}
}

// returnPath is the field that the final delivery puts on top (RFC 5321 §4.4).
func returnPath(env *goniec.Envelope) string { return "Return-Path: " + env.From.Path() + "\r\n" }

func deliveredToField(a goniec.Address) string { return "Delivered-To: " + a.String() + "\r\n" }

// deliveredTo returns the addresses in Delivered-To fields of msg's header, by mailboxKey, and a
// reader that has the whole message again.
func deliveredTo(msg io.Reader) (map[string]bool, io.Reader, error) {
	if c, ok := goniec.AsContent(msg); ok {
		head := make([]byte, min(c.Size(), maxLoopScan))
		n, err := c.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		return scanDeliveredTo(head[:n]), goniec.NewReader(c), nil
	}
	head, err := readHead(msg)
	if err != nil {
		return nil, nil, err
	}
	return scanDeliveredTo(head), io.MultiReader(bytes.NewReader(head), msg), nil
}

// readHead reads until the empty line behind the header has come, the scan's limit or the end.
func readHead(msg io.Reader) ([]byte, error) {
	head := make([]byte, 0, 4<<10)
	for len(head) < maxLoopScan {
		if len(head) == cap(head) {
			head = append(head, make([]byte, cap(head))...)[:len(head)]
		}
		from := max(len(head)-3, 0)
		n, err := msg.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		if err == io.EOF || bytes.Contains(head[from:], []byte("\r\n\r\n")) {
			return head, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return head, nil
}

// scanDeliveredTo looks at the lines of a header, as far as head reaches.
func scanDeliveredTo(head []byte) map[string]bool {
	const name = "delivered-to:"
	var found map[string]bool
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		if len(line) == 0 {
			break
		}
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			if a, err := goniec.ParseAddress(strings.TrimSpace(string(line[len(name):]))); err == nil {
				if found == nil {
					found = map[string]bool{}
				}
				found[mailboxKey(a).String()] = true
			}
		}
		head = rest
	}
	return found
}

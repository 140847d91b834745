package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/textproto"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
)

type options struct {
	domains, refuse []string
	to              string
	lmtp            bool
	log             *slog.Logger
}

// newGateway puts the parts together: server, filter, relay to one host.
func newGateway(o options) (*smtp.Server, error) {
	if len(o.domains) == 0 {
		return nil, errors.New("-domain is empty: whose mail is to be accepted?")
	}
	pool := &smtp.Pool{Dialer: &smtp.Dialer{Logger: o.log}}
	host, err := smtp.ParseHost(o.to, 25)
	if o.lmtp {
		pool.Dialect = lmtp.Dialect()
		host, err = lmtp.ParseHost(o.to)
	}
	if err != nil {
		return nil, fmt.Errorf("-to: %w", err)
	}
	if len(host.Addrs) == 1 && host.Addrs[0].IsLoopback() {
		host.TLS = goniec.TLSNone
	}
	relay := &smtp.Relay{Router: smtp.Smarthost(host), Pool: pool, Logger: o.log}
	return &smtp.Server{
		Handler: smtp.DeliverTo(filter(o.refuse, relay), o.domains...),
		Logger:  o.log,
		// One reply must speak for all recipients, and the server behind may take a message for some of them only. With one in a
		// transaction its verdict is exact; further ones hear 452 4.5.3 and come in the next transaction (RFC 5321 §4.5.3.1.10).
		MaxRecipients: 1,
	}, nil
}

// maxHeader is how much of a message the filter looks at, in octets.
const maxHeader = 32 << 10

// filter refuses mail whose Subject has one of the words, and passes on the rest as it is.
func filter(words []string, next goniec.Deliverer) goniec.Deliverer {
	return goniec.DelivererFunc(func(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
		r := bufio.NewReaderSize(msg, maxHeader)
		head, err := r.Peek(maxHeader)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		subject := strings.ToLower(subjectOf(string(head)))
		for _, word := range words {
			if strings.Contains(subject, strings.ToLower(word)) {
				return goniec.NewStatus(554, goniec.EnhancedCode{5, 7, 1}, "message refused by content")
			}
		}
		return next.Deliver(ctx, env, r)
	})
}

// subjectOf returns the decoded Subject of the beginning of a message. A header that can not be read has none.
func subjectOf(head string) string {
	h, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(head))).ReadMIMEHeader()
	subject := h.Get("Subject")
	if text, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		return text
	}
	return subject
}

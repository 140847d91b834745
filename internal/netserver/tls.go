package netserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"time"
)

// tlsConfig is cfg with the protocol's ALPN names in every configuration that a handshake may use.
func tlsConfig(cfg *tls.Config, protos []string) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.NextProtos = slices.Clone(protos)
	if choose := cfg.GetConfigForClient; choose != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			chosen = chosen.Clone()
			chosen.NextProtos = slices.Clone(protos)
			return chosen, nil
		}
	}
	return cfg
}

// StartTLS does the server's side of the handshake that follows STARTTLS or STLS, within Config.HandshakeTimeout and ctx, whose
// end closes the connection. buffered is the number of octets that the protocol's reader holds but has not given out: unless
// it is 0, the handshake is refused with ErrPlaintextBuffered. After any error but ErrNoTLS and ErrAlreadyTLS the connection is
// of no more use. After success the protocol must forget all it learned before (RFC 3207 §4.2).
func (c *Conn) StartTLS(ctx context.Context, buffered int) error {
	switch {
	case isTLS(c.rw):
		return ErrAlreadyTLS
	case c.l.tls == nil:
		return ErrNoTLS
	case buffered != 0:
		return ErrPlaintextBuffered
	}
	return c.handshake(ctx)
}

// handshake runs as the server, or completes what a listener of crypto/tls began.
func (c *Conn) handshake(ctx context.Context) error {
	var end time.Time
	if d := c.l.cfg.HandshakeTimeout; d > 0 {
		end = time.Now().Add(d)
	}
	// The whole handshake has one deadline, so a trickle of octets does not extend it.
	_ = c.sock.SetDeadline(end)
	t, ok := c.rw.(*tls.Conn)
	if !ok {
		t = tls.Server(c.rw, c.l.tls)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	_ = c.sock.SetDeadline(time.Time{})
	c.rw = t
	c.setReadDeadline(c.stage.deadline)
	return nil
}

func isTLS(c net.Conn) bool {
	_, ok := c.(*tls.Conn)
	return ok
}

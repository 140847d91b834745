package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
)

// handshakeError marks a failed handshake, after which an opportunistic client may try without TLS.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

func isHandshake(err error) bool {
	var h *handshakeError
	return errors.As(err, &h)
}

// startTLS encrypts the connection as the host's level wants, and greets the server anew.
func (c *Client) startTLS(ctx context.Context) error {
	level := c.host.TLS
	if c.tls != nil || level == goniec.TLSNone {
		return nil
	}
	if !c.offered.has(extStartTLS) {
		if level == goniec.TLSOpportunistic {
			return nil
		}
		return c.failed(StageTLS, ErrNoTLS)
	}
	s, err := c.command(ctx, c.limits.Command, "STARTTLS", "")
	if err != nil {
		return c.failed(StageTLS, err)
	}
	if s.Code != 220 {
		if level == goniec.TLSOpportunistic && s.Code >= 400 && s.Code != 421 { // RFC 3207 §4: 454, go on or not
			return nil
		}
		return c.refused(StageTLS, s)
	}
	// What comes behind the reply came in clear text, whatever it says.
	if c.r.Buffered() > 0 {
		return c.failed(StageTLS, ErrInjected)
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	return c.ehlo(ctx)
}

// handshake goes over to TLS and forgets all that the server said before (RFC 3207 §4.2).
func (c *Client) handshake(ctx context.Context) error {
	conn := tls.Client(c.raw, c.tlsConfig())
	_ = c.raw.SetDeadline(time.Time{}) // the context has the limit
	hctx := ctx
	if c.limits.Handshake > 0 {
		var cancel context.CancelFunc
		hctx, cancel = context.WithTimeout(ctx, c.limits.Handshake)
		defer cancel()
	}
	if err := conn.HandshakeContext(hctx); err != nil {
		if ctx.Err() != nil {
			return c.failed(StageTLS, context.Cause(ctx))
		}
		return c.failed(StageTLS, &handshakeError{err})
	}
	state := conn.ConnectionState()
	c.tls = &state
	c.offered, c.greeting, c.authOld, c.params = 0, "", "", [len(extensionNames)]string{}
	c.use(conn)
	return nil
}

// tlsConfig makes the configuration for this host. Verification is always ours, because a host may have several names and
// a level decides; crypto/tls calls it for resumed sessions too.
func (c *Client) tlsConfig() *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.d.TLSConfig != nil {
		cfg = c.d.TLSConfig.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = c.serverName()
	}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = c.d.sessions
	}
	names := c.host.TLSNames
	if len(names) == 0 {
		names = []string{cfg.ServerName}
	}
	if c.host.ServerName != "" {
		cfg.ServerName = asciiHost(c.host.ServerName)
	}
	base, roots, clock := cfg.VerifyConnection, cfg.RootCAs, cfg.Time
	cfg.InsecureSkipVerify = true
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := verifyLevel(c.host, cs, names, roots, clock); err != nil {
			return err
		}
		if base != nil {
			return base(cs)
		}
		return nil
	}
	return cfg
}

// serverName is the name that is asked for in the handshake.
func (c *Client) serverName() string {
	switch {
	case c.host.Name != "" && !strings.HasPrefix(c.host.Name, unixPrefix):
		return c.host.Name
	case len(c.host.TLSNames) > 0:
		return c.host.TLSNames[0]
	case len(c.host.Addrs) > 0:
		return addrPort(c.raw.RemoteAddr()).Addr().Unmap().String()
	}
	return "localhost"
}

// verifyLevel judges the server's certificate as a level wants.
func verifyLevel(host goniec.RouteHost, cs tls.ConnectionState, names []string, roots *x509.CertPool, clock func() time.Time) error {
	switch host.TLS {
	case goniec.TLSOpportunistic, goniec.TLSRequired, goniec.TLSNone:
		return nil
	case goniec.TLSDANE:
		if host.Verify == nil {
			return errors.New("level dane without RouteHost.Verify")
		}
		return host.Verify(cs)
	}
	return verifyNames(cs, names, roots, clock)
}

// verifyNames accepts a certificate that is valid for one of the names.
func verifyNames(cs tls.ConnectionState, names []string, roots *x509.CertPool, clock func() time.Time) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("server has no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	if clock != nil {
		opts.CurrentTime = clock()
	}
	for _, cert := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	var last error
	for _, name := range names {
		opts.DNSName = asciiHost(name)
		if opts.DNSName == "" { // x509 would check no name at all
			last = errors.New("no name to verify the certificate for")
			continue
		}
		if _, last = cs.PeerCertificates[0].Verify(opts); last == nil {
			return nil
		}
	}
	return fmt.Errorf("certificate is not valid for %s: %w", strings.Join(names, ", "), last)
}

// verified reports whether the server's certificate was found good.
func (c *Client) verified() bool {
	return c.tls != nil && (c.host.TLS == goniec.TLSVerified || c.host.TLS == goniec.TLSDANE)
}

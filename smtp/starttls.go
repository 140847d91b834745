package smtp

import (
	"crypto/tls"
	"errors"

	"github.com/goniec-mail/goniec"
)

// canStartTLS reports whether STARTTLS is possible now.
func (c *conn) canStartTLS() bool { return c.tls == nil && c.set.TLSConfig != nil }

// startTLS is STARTTLS (RFC 3207). The table sees to it that nothing was sent behind it.
func (c *conn) startTLS(string) (reply, error) {
	if c.tls != nil {
		return "", c.fault(503, goniec.EnhancedCode{5, 5, 1}, "TLS is active already")
	}
	if !c.offered.has(extStartTLS) && !(c.canStartTLS() && !c.extended) {
		return "", c.fault(502, goniec.EnhancedCode{5, 5, 1}, "STARTTLS is not offered")
	}
	c.say("220 2.0.0 go ahead\r\n")
	if err := c.w.Flush(); err != nil {
		c.hangUp(err)
		return "", nil
	}
	if err := c.nc.StartTLS(c.ctx, c.r.Buffered()); err != nil {
		c.log.Info("TLS handshake failed", keyErr, err)
		c.closing, c.cause = true, err
		return "", nil
	}
	c.startOver()
	return "", nil
}

// errStartTLS is the cause for a Session that ends because TLS begins.
var errStartTLS = errors.New("TLS was started: a new session begins")

// startOver forgets all that was learned in clear text (RFC 3207 §4.2), the Session too.
func (c *conn) startOver() {
	c.closeSession(errStartTLS)
	c.tls = c.nc.TLS()
	c.helo, c.extended, c.offered, c.state = "", false, 0, fresh
	c.identity, c.authenticated, c.forward, c.log = noIdentity, false, nil, c.ownLog()
	if err := c.newSession(); err != nil {
		c.refuseClient(err)
	}
}

// tlsNames are the names of version and cipher in Received fields and logs.
func tlsNames(s *tls.ConnectionState) (version, cipher string) {
	switch s.Version {
	case tls.VersionTLS13:
		version = "TLS1.3"
	case tls.VersionTLS12:
		version = "TLS1.2"
	default:
		version = tls.VersionName(s.Version)
	}
	return version, tls.CipherSuiteName(s.CipherSuite)
}

package auth

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
)

// Conn is what mechanisms need to know about the connection they run on, on either side. A
// protocol server or client fills one for each connection and makes a new one after STARTTLS.
// It is read only once it was handed over.
type Conn struct {
	Protocol string               // as in Attempt
	Remote   netip.AddrPort       // the other end; the zero value if it has no IP address
	Local    netip.AddrPort       // our end
	TLS      *tls.ConnectionState // nil: not encrypted
	Host     string               // client: the host name that was asked for. Server: its own name (CRAM-MD5, APOP)

	// Certificate is the leaf that the server presented. A server needs it to offer the channel
	// binding tls-server-end-point (nil: not offered); clients find it in TLS.
	Certificate *x509.Certificate

	// AllowInsecureAuth lets passwords pass in clear text. A server still refuses them unless the
	// client is on a loopback address; a client sends them wherever it is connected to.
	AllowInsecureAuth bool

	// Offered are the names of all mechanisms offered on this connection. Begin and Choose set it.
	Offered []string
}

// Encrypted reports whether the connection is protected by TLS whose handshake is complete.
func (c *Conn) Encrypted() bool { return c.TLS != nil && c.TLS.HandshakeComplete }

// AcceptsPasswords reports whether a server may take a password in clear text from this
// connection: it is encrypted, or it is a loopback one and the configuration allows it.
func (c *Conn) AcceptsPasswords() bool {
	return c.Encrypted() || c.AllowInsecureAuth && c.Remote.Addr().Unmap().IsLoopback()
}

// SendsPasswords reports whether a client may send a password in clear text.
func (c *Conn) SendsPasswords() bool { return c.Encrypted() || c.AllowInsecureAuth }

// NewAttempt returns an Attempt with the facts of the connection.
func (c *Conn) NewAttempt(mechanism, user, authzID string, secret Secret) *Attempt {
	return &Attempt{
		Mechanism: mechanism, User: user, AuthzID: authzID, Secret: secret,
		Protocol: c.Protocol, Remote: c.Remote, Local: c.Local, TLS: c.TLS,
	}
}

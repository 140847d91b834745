package scram

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/xdg-go/scram"

	"github.com/goniec-mail/goniec/auth"
)

// bindings are the channel bindings that a connection has, the best first. leaf is the
// certificate that the server presented; nil if unknown.
func bindings(c *auth.Conn, leaf *x509.Certificate) []scram.ChannelBinding {
	if !c.Encrypted() {
		return nil
	}
	var out []scram.ChannelBinding
	if b := exporter(c.TLS); b.IsSupported() {
		out = append(out, b)
	}
	// RFC 9266 §3: TLS 1.3 has no tls-unique; crypto/tls leaves it empty where it would be unsafe.
	if c.TLS.Version <= tls.VersionTLS12 && len(c.TLS.TLSUnique) > 0 {
		out = append(out, scram.NewTLSUniqueBinding(c.TLS.TLSUnique))
	}
	if leaf != nil {
		shown := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		if b, err := scram.NewTLSServerEndpointBinding(&shown); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// exporter returns the binding tls-exporter. RFC 9266 §4.2: on TLS 1.2 only with extended master
// secret; crypto/tls refuses otherwise. A state that was put together by hand, as behind a proxy that
// ends TLS, has nothing to export and makes crypto/tls panic.
func exporter(state *tls.ConnectionState) (b scram.ChannelBinding) {
	defer func() {
		if recover() != nil {
			b = scram.ChannelBinding{}
		}
	}()
	b, _ = scram.NewTLSExporterBinding(state)
	return b
}

// serverBindings are the bindings as the server sees them.
func serverBindings(c *auth.Conn) []scram.ChannelBinding { return bindings(c, c.Certificate) }

// clientBindings are the bindings as the client sees them.
func clientBindings(c *auth.Conn) []scram.ChannelBinding {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return bindings(c, nil)
	}
	return bindings(c, c.TLS.PeerCertificates[0])
}

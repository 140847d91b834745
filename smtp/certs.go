package smtp

import (
	"crypto/x509"
	"time"
)

// Certificates knows peers by their client certificate. Its MayRelay method is for Receiver.MayRelay: a peer with a valid
// certificate may relay; one with a wrong, expired or missing certificate is like anybody else, and gets 550 5.7.1.
//
// tls.Config.ClientAuth must ask for certificates: tls.RequestClientCert is enough, since they are verified here, and a peer whose
// certificate is not good can still deliver mail.
type Certificates struct {
	// Roots are the authorities, normally one of your own. Required: nil trusts nobody.
	Roots *x509.CertPool
	// Names limits the right to certificates that are valid for one of these names. Empty means all that Roots have signed.
	Names []string
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// MayRelay reports whether the client has proven by certificate that it is one of the peers.
func (k *Certificates) MayRelay(c *Conn) bool { return k.verify(c) == nil }

// errNoCertificate says that the client has shown none.
var errNoCertificate = x509.UnknownAuthorityError{}

func (k *Certificates) verify(c *Conn) error {
	state := c.TLS()
	if state == nil || len(state.PeerCertificates) == 0 || k.Roots == nil {
		return errNoCertificate
	}
	opts := x509.VerifyOptions{Roots: k.Roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if k.Now != nil {
		opts.CurrentTime = k.Now()
	}
	for _, cert := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(opts); err != nil {
		return err
	}
	return k.named(leaf)
}

// named reports whether leaf is for one of Names.
func (k *Certificates) named(leaf *x509.Certificate) error {
	if len(k.Names) == 0 {
		return nil
	}
	var err error
	for _, name := range k.Names {
		if err = leaf.VerifyHostname(name); err == nil {
			return nil
		}
	}
	return err
}

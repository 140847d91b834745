package dnsmx

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Values of TLSA fields (RFC 7218).
const (
	usageTA, usageEE       = 2, 3
	selectCert, selectSPKI = 0, 1
	matchFull              = 0
	matchSHA256            = 1
	matchSHA512            = 2
)

// usable reports whether a record counts for SMTP: PKIX usages do not (RFC 7672 §3.1.3).
func (t TLSA) usable() bool {
	if t.Usage != usageTA && t.Usage != usageEE || t.Selector > selectSPKI {
		return false
	}
	switch t.Matching {
	case matchFull:
		return len(t.Data) > 0
	case matchSHA256:
		return len(t.Data) == sha256.Size
	case matchSHA512:
		return len(t.Data) == sha512.Size
	}
	return false
}

// matches reports whether the record stands for a certificate (RFC 6698 §2.1).
func (t TLSA) matches(c *x509.Certificate) bool {
	data := c.Raw
	if t.Selector == selectSPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch t.Matching {
	case matchSHA256:
		sum := sha256.Sum256(data)
		data = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, t.Data)
}

// errDANE says that a server's certificate is not the one its TLSA records announce.
var errDANE = errors.New("certificate does not match the TLSA records")

// verifyDANE judges handshakes by usable records.
func verifyDANE(list []TLSA, names []string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		chain := cs.PeerCertificates
		if len(chain) == 0 {
			return errDANE
		}
		for _, t := range list {
			switch t.Usage {
			case usageEE: // RFC 7672 §3.1.1: neither name nor date matter
				if t.matches(chain[0]) {
					return nil
				}
			case usageTA:
				if t.anchors(chain, names) {
					return nil
				}
			}
		}
		return errDANE
	}
}

// anchors reports whether a chain leads to the trust anchor that the record names, for one of the
// names (RFC 7672 §3.1.2).
func (t TLSA) anchors(chain []*x509.Certificate, names []string) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for i, c := range chain {
		if t.matches(c) {
			roots.AddCert(c)
			found = true
		} else if i > 0 {
			between.AddCert(c)
		}
	}
	if t.Selector == selectCert && t.Matching == matchFull && !found { // the anchor itself, which the server need not send
		c, err := x509.ParseCertificate(t.Data)
		if err != nil {
			return false
		}
		roots.AddCert(c)
		found = true
	}
	if !found {
		return false
	}
	for _, name := range names {
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err == nil {
			return true
		}
	}
	return false
}

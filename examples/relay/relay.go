package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/scram"
	"github.com/goniec-mail/goniec/smtp"
)

type options struct {
	to, user, cert string
	password       auth.Secret
	roots          *x509.CertPool // nil: the system's
	log            *slog.Logger
}

// newRelay puts the parts together: a server for programs on this machine, a relay to one host.
func newRelay(o options) (*smtp.Server, error) {
	if o.to == "" {
		return nil, errors.New("-to is missing: where does the mail go?")
	}
	host, err := smtp.ParseHost(o.to, 587)
	if err != nil {
		return nil, fmt.Errorf("-to: %w", err)
	}
	if o.user != "" && o.password.Empty() {
		return nil, errors.New("-user needs a password: set the environment variable RELAY_PASSWORD")
	}
	dialer := &smtp.Dialer{TLSConfig: &tls.Config{RootCAs: o.roots, MinVersion: tls.VersionTLS12}, Logger: o.log}
	if o.user != "" {
		dialer.Auth = append(scram.Clients(o.user, o.password), auth.PasswordClients(o.user, o.password)...)
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.cert)
		if err != nil {
			return nil, fmt.Errorf("-cert: %w", err)
		}
		dialer.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	relay := &smtp.Relay{Router: smtp.Smarthost(host), Pool: &smtp.Pool{Dialer: dialer}, Logger: o.log}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	return &smtp.Server{
		Handler: &smtp.Receiver{Deliverer: relay, Trusted: loopback},
		Logger:  o.log,
		// The smarthost may take a message for some recipients only, and one reply must speak for all: see examples/gateway.
		MaxRecipients: 1,
	}, nil
}

package smtp

import (
	"strings"

	"github.com/goniec-mail/goniec"
)

// Dialect is how a protocol that shares SMTP's grammar differs from it. Package lmtp serves its own through Server.ServeDialect: it is
// exported because LMTP is a room of its own and can not reach into this one, and a value because the differences are
// few and belong in one place, not into the engine. The zero value is of no use.
type Dialect struct {
	// Name is the protocol in logs, in auth.Attempt.Protocol and, in upper case, in the banner: "smtp".
	Name string

	// Addr and AddrTLS are where ListenAndServe listens when Server.Addr is "".
	Addr, AddrTLS string

	// Extended begins a session in which extensions are offered: "EHLO" or "LHLO".
	Extended string
	// Basic begins a session without them: "HELO"; "" means that there is no such command.
	Basic string

	// With is the protocol name of the Received field after Extended, to which S for TLS and A for AUTH are added (RFC 3848):
	// "ESMTP". WithUTF8 is the same for SMTPUTF8 (RFC 6531 §4.3); WithBasic after Basic.
	With, WithUTF8, WithBasic string

	// ALPN lists the protocol's names in TLS. A client that offers only others is refused, lest a browser be turned onto the
	// server.
	ALPN []string

	// EachRcpt makes the final dot answered once for each recipient, in the order of their RCPT (RFC 2033 §4.2), instead of once for
	// the message.
	EachRcpt bool
}

// smtpDialect returns SMTP itself.
func smtpDialect() *Dialect {
	return &Dialect{
		Name: "smtp", Addr: ":25", AddrTLS: ":465", Extended: "EHLO", Basic: "HELO",
		With: "ESMTP", WithUTF8: "UTF8SMTP", WithBasic: "SMTP",
		// No name is registered for SMTP; these are what Exim and others take.
		ALPN: []string{"smtp", "esmtp"},
	}
}

// translate returns the verb under which the command table knows a greeting, so that the table has one line for each
// greeting, in whatever dialect.
func (d *Dialect) translate(verb string) string {
	switch {
	case strings.EqualFold(verb, d.Extended):
		return "EHLO"
	case d.Basic != "" && strings.EqualFold(verb, d.Basic):
		return "HELO"
	case strings.EqualFold(verb, "EHLO"), strings.EqualFold(verb, "HELO"), strings.EqualFold(verb, "LHLO"):
		return "" // RFC 2033 §4.1: HELO and EHLO are unknown to LMTP, and the other way round
	}
	return verb
}

// spoken is the inverse of translate.
func (d *Dialect) spoken(verb string) string {
	switch verb {
	case "EHLO":
		return d.Extended
	case "HELO":
		return d.Basic
	}
	return verb
}

// with returns the protocol name of the Received field.
func (d *Dialect) with(extended bool, env *goniec.Envelope, tls, authenticated bool) string {
	if !extended {
		return d.WithBasic
	}
	name := d.With
	if env.UTF8 {
		name = d.WithUTF8
	}
	switch {
	case tls && authenticated:
		return name + "SA"
	case tls:
		return name + "S"
	case authenticated:
		return name + "A"
	}
	return name
}

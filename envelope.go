package goniec

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"time"
)

// Envelope is what accompanies a message outside of it: the SMTP transaction of RFC 5321 §3.3 with
// the parameters of its extensions. A server fills it; Deliverers read it and never change it.
type Envelope struct {
	ID   string      // ours, unique and greppable in the log; see NewID
	From Address     // reverse-path; the zero value is <>
	To   []Recipient // accepted recipients, in the order of their RCPT

	Body       BodyType // what the client declared (RFC 6152, RFC 3030)
	UTF8       bool     // SMTPUTF8 was asked for (RFC 6531)
	RequireTLS bool     // REQUIRETLS (RFC 8689): never pass on without verified TLS
	Size       int64    // declared size in octets (RFC 1870); 0 = unknown

	Ret        Ret    // how much a DSN returns (RFC 3461 §4.3)
	EnvID      string // ENVID, decoded from xtext (RFC 3461 §4.4); "" = none
	AuthSender string // AUTH= parameter, decoded from xtext (RFC 4954 §5); "" = none, "<>" = unknown

	HoldUntil time.Time  // FUTURERELEASE (RFC 4865); zero = at once
	DeliverBy *DeliverBy // DELIVERBY (RFC 2852); nil = none
	Priority  int8       // MT-PRIORITY (RFC 6710), -9 to 9; 0 is normal

	Received time.Time // when the transaction began
	Origin   Origin    // where it came from

	unknown []byte // fields of a newer version, kept as they were read
}

// Recipient is one forward-path with its DSN parameters (RFC 3461 §4.1, §4.2).
type Recipient struct {
	Address    Address
	Notify     Notify    // 0 = not given: the default of RFC 3461, failure (and delay)
	ORcpt      ORcpt     // original recipient; zero = not given
	ValidSince time.Time // RRVS (RFC 7293); zero = not given
}

// Origin says how a message reached us. All fields may be empty: a message can come from a program.
type Origin struct {
	Remote, Local netip.AddrPort
	Helo          string // argument of HELO, EHLO or LHLO
	RDNS          string // forward-confirmed name of Remote; "" = none or not asked for
	Protocol      string // "with" of the Received field: SMTP, ESMTP, ESMTPS, ESMTPSA, LMTP, UTF8SMTP… (RFC 3848, RFC 6531)
	TLSVersion    string // "TLS1.3"; "" = not encrypted
	TLSCipher     string // IANA name of the cipher suite
	User          string // authenticated identity; "" = none
}

// BodyType is the declared encoding of a message's body.
type BodyType uint8

// The body types of RFC 6152 and RFC 3030.
const (
	Body7Bit       BodyType = iota // 7BIT, or no BODY parameter
	Body8BitMIME                   // 8BITMIME
	BodyBinaryMIME                 // BINARYMIME
)

// String returns the value of the BODY parameter.
func (b BodyType) String() string {
	switch b {
	case Body8BitMIME:
		return "8BITMIME"
	case BodyBinaryMIME:
		return "BINARYMIME"
	}
	return "7BIT"
}

// Ret is the RET parameter of MAIL (RFC 3461 §4.3).
type Ret uint8

// Values of Ret.
const (
	RetUnset Ret = iota // not given: the reporting server chooses
	RetFull             // FULL
	RetHdrs             // HDRS
)

// String returns the value of the RET parameter, "" for RetUnset.
func (r Ret) String() string {
	switch r {
	case RetFull:
		return "FULL"
	case RetHdrs:
		return "HDRS"
	}
	return ""
}

// Notify is the NOTIFY parameter of RCPT (RFC 3461 §4.1): a set of conditions.
type Notify uint8

// Conditions of Notify. NotifyNever excludes the others.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

// String returns the value of the NOTIFY parameter, "" for zero.
func (n Notify) String() string {
	if n&NotifyNever != 0 {
		return "NEVER"
	}
	s := ""
	for _, c := range [...]struct {
		bit  Notify
		name string
	}{{NotifySuccess, "SUCCESS"}, {NotifyFailure, "FAILURE"}, {NotifyDelay, "DELAY"}} {
		if n&c.bit != 0 {
			if s != "" {
				s += ","
			}
			s += c.name
		}
	}
	return s
}

// ORcpt is the ORCPT parameter of RCPT (RFC 3461 §4.2), decoded.
type ORcpt struct {
	Type    string // "rfc822", "utf-8", …
	Address string // decoded from xtext; free text of the address type
}

// DeliverBy is the BY parameter of MAIL (RFC 2852 §4), with its time made absolute.
type DeliverBy struct {
	Deadline time.Time
	Return   bool // by-mode R: return the message when the deadline passes; else N: notify and go on
	Trace    bool // by-trace T
}

// Clone returns a copy that shares nothing with e that may change.
func (e *Envelope) Clone() *Envelope {
	c := *e
	c.To = slices.Clone(e.To)
	c.unknown = slices.Clone(e.unknown)
	if e.DeliverBy != nil {
		d := *e.DeliverBy
		c.DeliverBy = &d
	}
	return &c
}

// idAlphabet is Crockford's base 32: no letter that is read for a digit.
const idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewID returns a new envelope ID: 12 characters with 60 random bits, so that even among a million
// messages two share one with a probability below one in a million.
func NewID() string {
	var b [12]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = idAlphabet[b[i]%32]
	}
	return string(b[:])
}

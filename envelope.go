package goniec

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Envelope is what accompanies a message outside of it: the SMTP transaction of RFC 5321 §3.3 with
// the parameters of its extensions. A server fills it; Deliverers read it and never change it.
type Envelope struct {
	ID   string      // ours, unique and greppable in the log; see NewID
	From Address     // reverse-path; the zero value is <>
	To   []Recipient // accepted recipients, in the order of their RCPT

	Body       BodyType `json:",omitzero"` // what the client declared (RFC 6152, RFC 3030)
	UTF8       bool     `json:",omitzero"` // SMTPUTF8 was asked for (RFC 6531)
	RequireTLS bool     `json:",omitzero"` // REQUIRETLS (RFC 8689): never pass on without verified TLS
	Size       int64    `json:",omitzero"` // declared size in octets (RFC 1870); 0 = unknown

	Ret        Ret    `json:",omitzero"` // how much a DSN returns (RFC 3461 §4.3)
	EnvID      string `json:",omitzero"` // ENVID, decoded from xtext (RFC 3461 §4.4); "" = none
	AuthSender string `json:",omitzero"` // AUTH= parameter, decoded from xtext (RFC 4954 §5); "" = none, "<>" = unknown

	HoldUntil time.Time  `json:",omitzero"` // FUTURERELEASE (RFC 4865); zero = at once
	DeliverBy *DeliverBy `json:",omitzero"` // DELIVERBY (RFC 2852); nil = none
	Priority  int8       `json:",omitzero"` // MT-PRIORITY (RFC 6710), -9 to 9; 0 is normal

	Received time.Time // when the transaction began
	Origin   Origin    `json:",omitzero"` // where it came from

	unknown []byte // fields of a newer version, kept as they were read
}

// Recipient is one forward-path with its DSN parameters (RFC 3461 §4.1, §4.2).
type Recipient struct {
	Address    Address
	Notify     Notify    `json:",omitzero"` // 0 = not given: the default of RFC 3461, failure (and delay)
	ORcpt      ORcpt     `json:",omitzero"` // original recipient; zero = not given
	ValidSince time.Time `json:",omitzero"` // RRVS (RFC 7293); zero = not given
}

// Recipients makes recipients without parameters of addresses, in their order.
func Recipients(addrs ...Address) []Recipient {
	to := make([]Recipient, len(addrs))
	for i, a := range addrs {
		to[i].Address = a
	}
	return to
}

// Origin says how a message reached us. All fields may be empty: a message can come from a program.
type Origin struct {
	Remote, Local netip.AddrPort `json:",omitzero"`
	Helo          string         `json:",omitzero"` // argument of HELO, EHLO or LHLO
	RDNS          string         `json:",omitzero"` // forward-confirmed name of Remote; "" = none or not asked for
	Protocol      string         `json:",omitzero"` // "with" of the Received field: SMTP, ESMTP, ESMTPS, ESMTPSA, LMTP, UTF8SMTP… (RFC 3848, RFC 6531)
	TLSVersion    string         `json:",omitzero"` // "TLS1.3"; "" = not encrypted
	TLSCipher     string         `json:",omitzero"` // IANA name of the cipher suite
	User          string         `json:",omitzero"` // authenticated identity; "" = none
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

// MarshalText implements encoding.TextMarshaler by String, so that JSON says "8BITMIME".
func (b BodyType) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. "" is 7BIT; any other word that is no body type is an error.
func (b *BodyType) UnmarshalText(text []byte) error {
	for v := Body7Bit; v <= BodyBinaryMIME; v++ {
		if len(text) == 0 || strings.EqualFold(v.String(), string(text)) {
			*b = v
			return nil
		}
	}
	return fmt.Errorf("no body type is called %q", text)
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

// MarshalText implements encoding.TextMarshaler by String, so that JSON says "HDRS", and "" for RetUnset.
func (r Ret) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: "", "FULL" or "HDRS".
func (r *Ret) UnmarshalText(text []byte) error {
	for v := RetUnset; v <= RetHdrs; v++ {
		if strings.EqualFold(v.String(), string(text)) {
			*r = v
			return nil
		}
	}
	return fmt.Errorf("no value of RET is called %q", text)
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
	var set []string
	for i, name := range notifyNames() {
		if n&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}

// notifyNames are the conditions by their bits.
func notifyNames() []string { return []string{"SUCCESS", "FAILURE", "DELAY", "NEVER"} }

// MarshalText implements encoding.TextMarshaler by String, so that JSON says "SUCCESS,DELAY", and "" for zero.
func (n Notify) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: the value of the NOTIFY parameter, or "". NEVER stands alone (RFC 3461 §4.1).
func (n *Notify) UnmarshalText(text []byte) error {
	var set Notify
	for name := range strings.SplitSeq(string(text), ",") {
		i := slices.Index(notifyNames(), strings.ToUpper(name))
		if i < 0 && len(text) > 0 {
			return fmt.Errorf("no condition of NOTIFY is called %q", name)
		}
		if i >= 0 {
			set |= 1 << i
		}
	}
	if set&NotifyNever != 0 && set != NotifyNever {
		return errors.New("NOTIFY=NEVER stands alone")
	}
	*n = set
	return nil
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
	Trace    bool `json:",omitzero"` // by-trace T
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

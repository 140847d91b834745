package goniec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The serialised form of an Envelope: the name "GNE" and a version, then fields, each a type and
// a length (uvarint) with as many octets. Empty fields are left out. A reader keeps fields whose
// type it does not know, so that an older program passes on what a newer one wrote; types are
// never given a new meaning.
const envelopeMagic = "GNE\x01"

// Field types of an Envelope. A type above unknownFrom came from a newer version.
const (
	fieldID = iota + 1
	fieldFrom
	fieldRcpt
	fieldBody
	fieldFlags
	fieldSize
	fieldRet
	fieldEnvID
	fieldAuthSender
	fieldHoldUntil
	fieldDeliverBy
	fieldPriority
	fieldReceived
	fieldOrigin
	fieldLocalPart // inside From and Rcpt
	fieldDomain
	fieldNotify
	fieldORcptType
	fieldORcptAddress
	fieldValidSince
	fieldRemote // inside Origin
	fieldLocal
	fieldHelo
	fieldRDNS
	fieldProtocol
	fieldTLSVersion
	fieldTLSCipher
	fieldUser
	unknownFrom
)

const (
	flagUTF8 = 1 << iota
	flagRequireTLS
)

// ErrEnvelope is in the chain of every error of ParseEnvelope.
var ErrEnvelope = errors.New("invalid serialised envelope")

// AppendEnvelope appends the serialised form of e to dst. It ends where dst ends: a container must
// keep its length.
func AppendEnvelope(dst []byte, e *Envelope) []byte {
	dst = append(dst, envelopeMagic...)
	dst = appendString(dst, fieldID, e.ID)
	dst = appendField(dst, fieldFrom, appendAddress(nil, e.From))
	for i := range e.To {
		dst = appendField(dst, fieldRcpt, appendRecipient(nil, &e.To[i]))
	}
	var flags uint64
	if e.UTF8 {
		flags |= flagUTF8
	}
	if e.RequireTLS {
		flags |= flagRequireTLS
	}
	dst = appendUint(dst, fieldBody, uint64(e.Body))
	dst = appendUint(dst, fieldFlags, flags)
	dst = appendUint(dst, fieldSize, uint64(e.Size))
	dst = appendUint(dst, fieldRet, uint64(e.Ret))
	dst = appendString(dst, fieldEnvID, e.EnvID)
	dst = appendString(dst, fieldAuthSender, e.AuthSender)
	dst = appendTime(dst, fieldHoldUntil, e.HoldUntil)
	if d := e.DeliverBy; d != nil {
		v := []byte{bit(d.Return) | bit(d.Trace)<<1}
		dst = appendField(dst, fieldDeliverBy, append(v, timeBytes(d.Deadline)...))
	}
	dst = appendUint(dst, fieldPriority, uint64(uint8(e.Priority)))
	dst = appendTime(dst, fieldReceived, e.Received)
	dst = appendField(dst, fieldOrigin, appendOrigin(nil, &e.Origin))
	return append(dst, e.unknown...)
}

// ParseEnvelope reads what AppendEnvelope wrote. data is not kept. Unknown fields are kept and
// written again by AppendEnvelope. Damaged data gives an error that wraps ErrEnvelope, never a
// part of an envelope.
func ParseEnvelope(data []byte) (*Envelope, error) {
	if len(data) < len(envelopeMagic) || string(data[:3]) != envelopeMagic[:3] {
		return nil, fmt.Errorf("%w: does not begin with its name", ErrEnvelope)
	}
	if data[3] != envelopeMagic[3] {
		return nil, fmt.Errorf("%w: version %d is not known", ErrEnvelope, data[3])
	}
	e := &Envelope{}
	err := eachField(data[len(envelopeMagic):], func(typ uint64, v, raw []byte) error {
		return e.parseField(typ, v, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	return e, nil
}

func (e *Envelope) parseField(typ uint64, v, raw []byte) (err error) {
	switch typ {
	case fieldID:
		e.ID = string(v)
	case fieldFrom:
		e.From, err = parseAddressField(v)
	case fieldRcpt:
		var r Recipient
		r, err = parseRecipient(v)
		e.To = append(e.To, r)
	case fieldBody:
		e.Body = BodyType(uintOf(v))
	case fieldFlags:
		e.UTF8, e.RequireTLS = uintOf(v)&flagUTF8 != 0, uintOf(v)&flagRequireTLS != 0
	case fieldSize:
		e.Size = int64(uintOf(v))
	case fieldRet:
		e.Ret = Ret(uintOf(v))
	case fieldEnvID:
		e.EnvID = string(v)
	case fieldAuthSender:
		e.AuthSender = string(v)
	case fieldHoldUntil:
		e.HoldUntil, err = parseTime(v)
	case fieldDeliverBy:
		e.DeliverBy, err = parseDeliverBy(v)
	case fieldPriority:
		e.Priority = int8(uintOf(v))
	case fieldReceived:
		e.Received, err = parseTime(v)
	case fieldOrigin:
		e.Origin, err = parseOrigin(v)
	default:
		if typ < unknownFrom {
			return fmt.Errorf("field type %d does not belong here", typ)
		}
		e.unknown = append(e.unknown, raw...)
	}
	return err
}

func appendRecipient(dst []byte, r *Recipient) []byte {
	dst = appendAddress(dst, r.Address)
	dst = appendUint(dst, fieldNotify, uint64(r.Notify))
	dst = appendString(dst, fieldORcptType, r.ORcpt.Type)
	dst = appendString(dst, fieldORcptAddress, r.ORcpt.Address)
	return appendTime(dst, fieldValidSince, r.ValidSince)
}

func parseRecipient(data []byte) (r Recipient, err error) {
	var a Address
	err = eachField(data, func(typ uint64, v, _ []byte) (err error) {
		switch typ {
		case fieldLocalPart:
			a.local = string(v)
		case fieldDomain:
			a.domain = string(v)
		case fieldNotify:
			r.Notify = Notify(uintOf(v))
		case fieldORcptType:
			r.ORcpt.Type = string(v)
		case fieldORcptAddress:
			r.ORcpt.Address = string(v)
		case fieldValidSince:
			r.ValidSince, err = parseTime(v)
		}
		return err
	})
	if err == nil {
		r.Address, err = NewAddress(a.local, a.domain)
	}
	return r, err
}

func appendAddress(dst []byte, a Address) []byte {
	dst = appendString(dst, fieldLocalPart, a.local)
	return appendString(dst, fieldDomain, a.domain)
}

func parseAddressField(data []byte) (Address, error) {
	r, err := parseRecipient(data)
	return r.Address, err
}

func appendOrigin(dst []byte, o *Origin) []byte {
	dst = appendAddrPort(dst, fieldRemote, o.Remote)
	dst = appendAddrPort(dst, fieldLocal, o.Local)
	dst = appendString(dst, fieldHelo, o.Helo)
	dst = appendString(dst, fieldRDNS, o.RDNS)
	dst = appendString(dst, fieldProtocol, o.Protocol)
	dst = appendString(dst, fieldTLSVersion, o.TLSVersion)
	dst = appendString(dst, fieldTLSCipher, o.TLSCipher)
	return appendString(dst, fieldUser, o.User)
}

func parseOrigin(data []byte) (o Origin, err error) {
	err = eachField(data, func(typ uint64, v, _ []byte) (err error) {
		switch typ {
		case fieldRemote:
			err = o.Remote.UnmarshalBinary(v)
		case fieldLocal:
			err = o.Local.UnmarshalBinary(v)
		case fieldHelo:
			o.Helo = string(v)
		case fieldRDNS:
			o.RDNS = string(v)
		case fieldProtocol:
			o.Protocol = string(v)
		case fieldTLSVersion:
			o.TLSVersion = string(v)
		case fieldTLSCipher:
			o.TLSCipher = string(v)
		case fieldUser:
			o.User = string(v)
		}
		return err
	})
	return o, err
}

func parseDeliverBy(v []byte) (*DeliverBy, error) {
	if len(v) == 0 {
		return nil, errors.New("empty deliver-by field")
	}
	t, err := parseTime(v[1:])
	return &DeliverBy{Deadline: t, Return: v[0]&1 != 0, Trace: v[0]&2 != 0}, err
}

// eachField calls f with the type and value of each field, and with the field as it stands in data.
func eachField(data []byte, f func(typ uint64, value, raw []byte) error) error {
	for len(data) > 0 {
		typ, n := binary.Uvarint(data)
		if n <= 0 {
			return errors.New("field type is cut or too large")
		}
		size, m := binary.Uvarint(data[n:])
		if m <= 0 || size > uint64(len(data)-n-m) {
			return fmt.Errorf("field of type %d is cut", typ)
		}
		end := n + m + int(size)
		if err := f(typ, data[n+m:end], data[:end]); err != nil {
			return err
		}
		data = data[end:]
	}
	return nil
}

func appendField(dst []byte, typ uint64, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, typ)
	dst = binary.AppendUvarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendString(dst []byte, typ uint64, s string) []byte {
	if s == "" {
		return dst
	}
	dst = binary.AppendUvarint(dst, typ)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendUint(dst []byte, typ, v uint64) []byte {
	if v == 0 {
		return dst
	}
	var b [binary.MaxVarintLen64]byte
	return appendField(dst, typ, b[:binary.PutUvarint(b[:], v)])
}

func uintOf(v []byte) uint64 {
	n, _ := binary.Uvarint(v)
	return n
}

func appendTime(dst []byte, typ uint64, t time.Time) []byte {
	if t.IsZero() {
		return dst
	}
	return appendField(dst, typ, timeBytes(t))
}

// timeBytes keeps the instant to the nanosecond and the zone's offset, which the Received field shows.
func timeBytes(t time.Time) []byte {
	_, offset := t.Zone()
	b := binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond()))
	return binary.BigEndian.AppendUint32(b, uint32(int32(offset)))
}

func parseTime(v []byte) (time.Time, error) {
	if len(v) != 16 {
		return time.Time{}, fmt.Errorf("time has %d octets", len(v))
	}
	t := time.Unix(int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint32(v[8:])))
	offset := int(int32(binary.BigEndian.Uint32(v[12:])))
	if offset == 0 {
		return t.UTC(), nil
	}
	return t.In(time.FixedZone("", offset)), nil
}

func appendAddrPort(dst []byte, typ uint64, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return dst
	}
	b, err := a.MarshalBinary()
	if err != nil {
		return dst
	}
	return appendField(dst, typ, b)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

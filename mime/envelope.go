package mime

import (
	"strings"
	"time"
)

// fieldID numbers the fields that the parsers interpret; those of an Envelope come first.
type fieldID uint8

const (
	fieldDate fieldID = iota
	fieldSubject
	fieldFrom
	fieldSender
	fieldReplyTo
	fieldTo
	fieldCc
	fieldBcc
	fieldInReplyTo
	fieldMessageID
	fieldReferences
	envelopeFields // how many an Envelope has
)

const (
	fieldType fieldID = iota + envelopeFields
	fieldEncoding
	fieldID_
	fieldDescription
	fieldDisposition
	fieldLanguage
	fieldLocation
	fieldMD5
	interpretedFields // how many there are
	fieldOther        = interpretedFields
)

// interpreted finds the number of a field name. Lower-casing into an array and a switch over
// strings allocate nothing.
func interpreted(name []byte) fieldID {
	var low [len("content-transfer-encoding")]byte
	if len(name) < 2 || len(name) > len(low) {
		return fieldOther
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	switch string(low[:len(name)]) {
	case "date":
		return fieldDate
	case "subject":
		return fieldSubject
	case "from":
		return fieldFrom
	case "sender":
		return fieldSender
	case "reply-to":
		return fieldReplyTo
	case "to":
		return fieldTo
	case "cc":
		return fieldCc
	case "bcc":
		return fieldBcc
	case "in-reply-to":
		return fieldInReplyTo
	case "message-id":
		return fieldMessageID
	case "references":
		return fieldReferences
	}
	return interpretedContent(low[:len(name)])
}

func interpretedContent(low []byte) fieldID {
	switch string(low) {
	case "content-type":
		return fieldType
	case "content-transfer-encoding":
		return fieldEncoding
	case "content-id":
		return fieldID_
	case "content-description":
		return fieldDescription
	case "content-disposition":
		return fieldDisposition
	case "content-language":
		return fieldLanguage
	case "content-location":
		return fieldLocation
	case "content-md5":
		return fieldMD5
	}
	return fieldOther
}

// An Envelope holds the fields of IMAP's ENVELOPE (RFC 9051 §7.5.2) and References as they
// stand in the header: unfolded, not decoded, the first of each name. The methods read them.
type Envelope struct {
	values [envelopeFields]string
	has    uint16 // bit n: field n is there, perhaps empty
}

// Lookup returns the body of one of the fields; the name is without regard to case. ok tells an
// empty field from a missing one.
func (e *Envelope) Lookup(name string) (value string, ok bool) {
	if id := interpreted([]byte(name)); e != nil && id < envelopeFields {
		return e.values[id], e.has&(1<<id) != 0
	}
	return "", false
}

func (e *Envelope) get(id fieldID) string {
	if e == nil {
		return ""
	}
	return e.values[id]
}

func (e *Envelope) set(id fieldID, v string) {
	e.values[id] = v
	e.has |= 1 << id
}

func (e *Envelope) addresses(id fieldID) Addresses {
	as, _ := ParseAddresses(e.get(id)) // what can be read counts; who wants the error takes the Header
	return as
}

// Date reads the Date field; the zero time if it is missing or cannot be read.
func (e *Envelope) Date() time.Time {
	t, err := ParseDate(e.get(fieldDate))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Subject returns the subject, not decoded; see DecodeText.
func (e *Envelope) Subject() string { return e.get(fieldSubject) }

// From returns what can be read of the From field.
func (e *Envelope) From() Addresses { return e.addresses(fieldFrom) }

// Sender returns the Sender field, without one From (RFC 9051 §7.5.2).
func (e *Envelope) Sender() Addresses { return e.orFrom(fieldSender) }

// ReplyTo returns the Reply-To field, without one From (RFC 9051 §7.5.2).
func (e *Envelope) ReplyTo() Addresses { return e.orFrom(fieldReplyTo) }

func (e *Envelope) orFrom(id fieldID) Addresses {
	if strings.Trim(e.get(id), " \t") == "" {
		id = fieldFrom
	}
	return e.addresses(id)
}

// To returns what can be read of the To field.
func (e *Envelope) To() Addresses { return e.addresses(fieldTo) }

// Cc returns what can be read of the Cc field.
func (e *Envelope) Cc() Addresses { return e.addresses(fieldCc) }

// Bcc returns what can be read of the Bcc field.
func (e *Envelope) Bcc() Addresses { return e.addresses(fieldBcc) }

// InReplyTo returns the In-Reply-To field as it is; see ParseMessageIDs.
func (e *Envelope) InReplyTo() string { return e.get(fieldInReplyTo) }

// MessageID returns the Message-ID field as it is, brackets included.
func (e *Envelope) MessageID() string { return e.get(fieldMessageID) }

// References returns the ids of the References field.
func (e *Envelope) References() []string { return ParseMessageIDs(e.get(fieldReferences)) }

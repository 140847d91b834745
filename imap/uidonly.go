package imap

import (
	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// UIDONLY (RFC 9586): a client that has enabled it neither uses message sequence numbers nor is told any. FETCH responses are
// UIDFETCH, EXPUNGE is VANISHED.

// uidRequired refuses a sequence number.
func uidRequired() error {
	return &reply{status: statusBAD, code: "UIDREQUIRED", text: "there are no message sequence numbers under UIDONLY"}
}

// fetchHead begins a FETCH response.
func (c *conn) fetchHead(e *wire.Encoder, number uint32, u mailbox.UID) {
	e.Raw("* ")
	if c.has(uidOnly) {
		e.Number(uint64(u))
		e.Raw(" UIDFETCH ")
		return
	}
	e.Number(uint64(number))
	e.Raw(" FETCH ")
}

package imap

import (
	"crypto/sha256"
	"encoding/base64"
	"io"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mime"
)

// OBJECTID (RFC 8474). Stores give mailboxes their identity. That of a message is made of its octets, that of a
// thread of the first message's Message-ID, so that both are the same in every mailbox and for ever, and nothing has to be
// kept.

// idBytes is how much of a hash makes an identity: two messages share one by chance never.
const idBytes = 20

func makeID(prefix string, hash []byte) []byte {
	return []byte("(" + prefix + base64.RawURLEncoding.EncodeToString(hash[:idBytes]) + ")")
}

// objectID returns the value of EMAILID or THREADID; NIL for a thread that cannot be known.
func (m *message) objectID(item itemKind) ([]byte, error) {
	if item == itemEmailID {
		h := sha256.New()
		if _, err := io.Copy(h, goniec.NewReader(m.content)); err != nil {
			return nil, err
		}
		return makeID("M", h.Sum(nil)), nil
	}
	root, err := m.header()
	if err != nil {
		return nil, err
	}
	first := threadRoot(root.Envelope)
	if first == "" {
		return []byte("NIL"), nil
	}
	h := sha256.Sum256([]byte(first))
	return makeID("T", h[:]), nil
}

// threadRoot is the id of the message that a thread began with, as far as this message tells.
func threadRoot(e *mime.Envelope) string {
	for _, ids := range [...][]string{e.References(), mime.ParseMessageIDs(e.InReplyTo()), mime.ParseMessageIDs(e.MessageID())} {
		if len(ids) > 0 {
			return ids[0]
		}
	}
	return ""
}

// objectID reads the search keys EMAILID and THREADID.
func (p *searchParser) objectID(name string) mailbox.Criterion {
	p.c.dec.SP()
	item := fetchItem{kind: itemEmailID}
	if name == "THREADID" {
		item.kind = itemThreadID
	}
	return p.later(placedKey{item: item, id: p.c.dec.Atom()})
}

// preview returns the beginning of what a person would read (RFC 8970).
func (m *message) preview(st *mime.Structure) ([]byte, error) {
	text, err := st.Preview(m.content, 0)
	if err != nil {
		return nil, err
	}
	var out textBuffer
	var e wire.Encoder
	e.Reset(&out)
	e.String(text)
	return out, nil
}

// previewModifiers reads "(LAZY)" (RFC 8970 §3.1).
func (c *conn) previewModifiers() (lazy bool) {
	if c.dec.PeekPair(" (") {
		c.dec.SP()
		c.dec.List(func() {
			if name := c.dec.Keyword(); name != "LAZY" {
				c.dec.Fail("unknown modifier " + name)
			}
			lazy = true
		})
	}
	return lazy
}

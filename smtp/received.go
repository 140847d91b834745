package smtp

import (
	"bytes"
	"cmp"

	"github.com/goniec-mail/goniec"
)

// appendReceived appends the trace field of RFC 5321 §4.4 for the open transaction:
//
//	Received: from helo (rdns [192.0.2.1])
//		by mx.example.org with ESMTPS (TLS1.3 TLS_AES_128_GCM_SHA256)
//		id K7Q2... for <user@example.org>;
//		Mon, 02 Jan 2006 15:04:05 -0700
//
// All parts are made of what was checked before: the name of HELO is printable ASCII, an Address holds no control character.
func (c *conn) appendReceived(b []byte) []byte {
	o := &c.env.Origin
	b = append(append(b, "Received: from "...), cmp.Or(o.Helo, "unknown")...)
	if ip := o.Remote.Addr(); ip.IsValid() {
		b = append(b, " ("...)
		if o.RDNS != "" {
			b = append(append(b, o.RDNS...), ' ')
		}
		if ip.Is4() {
			b = append(b, '[')
		} else {
			b = append(b, "[IPv6:"...) // RFC 5321 §4.1.3
		}
		b = append(ip.WithZone("").AppendTo(b), "])"...)
	}
	b = append(append(b, "\r\n\tby "...), c.set.name...)
	b = append(append(b, " with "...), o.Protocol...)
	if o.TLSVersion != "" {
		b = append(append(append(append(append(b, " ("...), o.TLSVersion...), ' '), o.TLSCipher...), ')')
	}
	b = append(append(b, "\r\n\tid "...), c.env.ID...)
	// RFC 5321 §4.4 and §7.2: with several recipients "for" would tell each about the others.
	if len(c.env.To) == 1 {
		b = append(append(b, " for "...), c.env.To[0].Address.Path()...)
	}
	b = append(b, ";\r\n\t"...)
	b = c.env.Received.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

// headerWatch looks at a message's header as it passes, in pieces of any size, and counts its Received fields: mail that has
// that many goes in circles (RFC 5321 §6.3). It keeps the first octets of the line it is in and nothing else.
type headerWatch struct {
	max   int
	count int
	line  [9]byte // the beginning of the line
	n     int     // octets of the line so far, at most len(line)+1
	done  bool    // the header is over
}

var receivedName = []byte("received:")

func (h *headerWatch) watch(p []byte) error {
	for !h.done && len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end+1]
		}
		h.n = min(h.n+copy(h.line[min(h.n, len(h.line)):], part), len(h.line))
		p = p[len(part):]
		if end < 0 {
			return nil
		}
		if err := h.endLine(); err != nil {
			return err
		}
	}
	return nil
}

// endLine judges a whole line.
func (h *headerWatch) endLine() error {
	start := h.line[:h.n]
	h.n = 0
	switch {
	case start[0] == '\r' || start[0] == '\n':
		h.done = true
	case len(start) == len(receivedName) && bytes.EqualFold(start, receivedName):
		if h.count++; over(h.count, h.max) {
			return goniec.NewStatus(554, goniec.EnhancedCode{5, 4, 6}, "mail loop: too many Received fields")
		}
	}
	return nil
}

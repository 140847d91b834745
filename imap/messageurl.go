package imap

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/mailbox"
)

// messageURL is an IMAP URL of a message, or of a part of one, in the account of the session (RFC 5092).
type messageURL struct {
	mailbox  string
	validity uint32 // 0 = any
	uid      mailbox.UID
	section  section
}

// maxURL limits an URL, in octets.
const maxURL = 4096

// parseMessageURL reads a relative URL: "/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.2/;PARTIAL=0.1024". base is the selected
// mailbox, "" where none is: then a mailbox must be named. URLs of other servers and users, searches, and
// what needs URLAUTH are none of these.
func parseMessageURL(text, base string) (u messageURL, ok bool) {
	path, rest, found := strings.Cut(text, ";")
	if !found || strings.HasPrefix(path, "//") || len(text) > maxURL {
		return u, false
	}
	params := strings.Split(rest, "/;")
	if validity, ok := urlParam(params[0], "UIDVALIDITY"); ok {
		if u.validity = urlNumber(validity); u.validity == 0 || path == "" {
			return u, false
		}
		params = params[1:]
	} else if path != "" {
		if path, ok = strings.CutSuffix(path, "/"); !ok || path == "" {
			return u, false // the mailbox and its message are separated
		}
	}
	if u.mailbox, ok = urlMailbox(path, base); !ok || len(params) == 0 {
		return u, false
	}
	uid, ok := urlParam(params[0], "UID")
	u.uid = mailbox.UID(urlNumber(uid))
	return u, ok && u.uid > 0 && u.piece(params[1:])
}

// urlParam cuts NAME= off, in any case.
func urlParam(param, name string) (value string, ok bool) {
	have, value, ok := strings.Cut(param, "=")
	return value, ok && strings.EqualFold(have, name)
}

// urlNumber reads an nz-number; 0 for what is none.
func urlNumber(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || text[0] == '0' {
		return 0
	}
	return uint32(n)
}

// urlMailbox returns the mailbox of a path. RFC 3986 §5.2.3: what does not begin with a slash stands beside the base.
func urlMailbox(path, base string) (name string, ok bool) {
	if path == "" {
		return base, base != ""
	}
	name, absolute := strings.CutPrefix(path, "/")
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ":") {
		return "", false // RFC 3986 §4.2: that is a scheme
	}
	if name, ok = urlDecode(name); !ok || name == "" {
		return "", false
	}
	if !absolute {
		name = base[:strings.LastIndex(base, delimiter)+1] + name
	}
	return mailbox.CanonicalName(name), true
}

// urlDecode decodes bchars of RFC 5092 §11, which stand for UTF-8.
func urlDecode(text string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			n, err := strconv.ParseUint(text[i+1:min(i+3, len(text))], 16, 8)
			if err != nil || i+3 > len(text) || n == 0 {
				return "", false
			}
			c = byte(n)
			i += 2
		} else if !strings.ContainsRune(urlChars, rune(c)) {
			return "", false
		}
		b.WriteByte(c)
	}
	return b.String(), utf8.ValidString(b.String())
}

// urlChars is bchar of RFC 5092 §11.
const urlChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*+,&=:@/"

// piece reads [;SECTION=…] [;PARTIAL=…].
func (u *messageURL) piece(params []string) bool {
	if len(params) > 0 {
		if text, ok := urlParam(params[0], "SECTION"); ok {
			if u.section, ok = parseSection(text); !ok {
				return false
			}
			params = params[1:]
		}
	}
	if len(params) > 0 {
		text, ok := urlParam(params[0], "PARTIAL")
		if !ok || !u.section.setPartial(text) {
			return false
		}
		params = params[1:]
	}
	return len(params) == 0
}

// parseSection reads an enc-section, as FETCH has it between brackets.
func parseSection(text string) (s section, ok bool) {
	text, ok = urlDecode(text)
	if !ok || text == "" || strings.ContainsAny(text, "\r\n\x00") {
		return s, false
	}
	in := crlf.NewReader(strings.NewReader(text + "]\r\n"))
	defer in.Release()
	var d wire.Decoder
	d.Reset(in)
	if d.Begin() != nil {
		return s, false
	}
	s = readSection(&d)
	d.Expect(']')
	return s, d.End() == nil
}

// setPartial reads a partial-range: the offset, and perhaps how many octets.
func (s *section) setPartial(text string) bool {
	offset, count, limited := strings.Cut(text, ".")
	n, err := strconv.ParseUint(offset, 10, 63)
	if err != nil {
		return false
	}
	s.partial, s.offset, s.count = true, int64(n), math.MaxInt64
	if limited {
		s.count = int64(urlNumber(count))
	}
	return s.count > 0
}

// urlText makes an URL fit to stand in a response code (RFC 4469 §5).
func urlText(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c > ' ' && c < 0x7F && c != ']' && c != '\\' && c != '"' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:]))
		}
	}
	return b.String()
}

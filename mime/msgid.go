package mime

import "strings"

// MaxMessageIDs is how many message ids of one field are read. Long threads have hundreds of
// References.
const MaxMessageIDs = 10_000

// ParseMessageIDs reads the ids of a Message-ID, In-Reply-To or References field (RFC 5322
// §3.6.4), without their angle brackets, comments, white space and needless quoting, so that
// equal ids are equal strings (RFC 5256 §3, "normalized"). Text between the ids, which old
// In-Reply-To fields hold, is skipped. A field with a single bare word has that word as its id.
func ParseMessageIDs(v string) []string {
	var ids []string
	x := lexer{s: v}
	for len(ids) < MaxMessageIDs {
		if x.skipCFWS(); x.done() {
			break
		}
		switch x.peek() {
		case '<':
			x.i++
			if id := x.messageID(); id != "" {
				ids = append(ids, id)
			}
		case '"':
			x.quoted()
		default:
			x.i++
		}
	}
	if v = strings.Trim(v, " \t\r\n<>"); ids == nil && v != "" && !strings.ContainsAny(v, " \t()\"<>,;") {
		ids = []string{v}
	}
	return ids
}

// messageID reads up to the closing bracket. An opening bracket begins anew: the one before was
// never closed.
func (x *lexer) messageID() string {
	start, simple := x.i, true
	var b strings.Builder
	for !x.done() {
		switch c := x.peek(); {
		case c == '>' || c == '<':
			id := x.s[start:x.i]
			if !simple {
				id = b.String()
			}
			if x.i++; c == '>' {
				return id
			}
			start, simple = x.i, true
			b.Reset()
		case c == '"' || c == '(' || isWSP(c) || c == '\r' || c == '\n':
			if simple {
				b.WriteString(x.s[start:x.i])
				simple = false
			}
			if c == '"' {
				b.WriteString(x.quoted())
			} else {
				x.skipCFWS()
			}
		default:
			if !simple {
				b.WriteByte(c)
			}
			x.i++
		}
	}
	return ""
}

// FormatMessageIDs writes ids for a References or In-Reply-To field. An id with control
// characters, white space or brackets is a *ValueError.
func FormatMessageIDs(ids ...string) (string, error) {
	out := make([]string, len(ids))
	for i, id := range ids {
		if id == "" || strings.ContainsAny(id, " \t<>") {
			return "", &ValueError{What: "message id", Reason: "empty, or with white space or brackets"}
		}
		if err := checkValue("message id", id); err != nil {
			return "", err
		}
		out[i] = "<" + id + ">"
	}
	return strings.Join(out, " "), nil
}

package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// Limits of a reply.
const (
	maxReplyText  = 500      // octets of text on one line of ours, so that it stays within the 512 of RFC 5321 §4.5.3.1.5
	maxOwnLines   = 20       // lines of one reply of ours
	maxReplyLine  = 4096     // octets of one line of a peer's, generous on purpose
	maxReplyLines = 512      // lines of one reply of a peer's
	maxReplyBytes = 64 << 10 // octets of one reply of a peer's
)

// appendReply appends s as it goes to the wire (RFC 5321 §4.2.1): every line has the code and, in front of its text, the
// enhanced code (RFC 2034 §4). The private cause stays here; the text is cut and cleaned, so that nothing that came from
// elsewhere can end the line or begin another reply.
func appendReply(b []byte, s *goniec.Status) []byte {
	enhanced := s.Enhanced.String()
	text, more := s.Text, true
	for n := 1; more; n++ {
		var line string
		line, text, more = strings.Cut(text, "\n")
		more = more && n < maxOwnLines
		b = strconv.AppendInt(b, int64(s.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if enhanced != "" {
			b = append(append(b, enhanced...), ' ')
		}
		b = appendText(b, line)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendText appends one line of text, with everything but printable ASCII replaced: a reply outside of SMTPUTF8 is ASCII
// (RFC 5321 §4.2), and terminals obey control characters.
func appendText(b []byte, line string) []byte {
	if len(line) > maxReplyText {
		line = line[:maxReplyText]
	}
	for i := range len(line) {
		c := line[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// Errors of a peer's reply. After either the connection is of no more use.
var (
	errReplySyntax = errors.New("reply is not SMTP")
	errReplyLimit  = fmt.Errorf("reply is longer than %d lines or %d octets", maxReplyLines, maxReplyBytes)
)

// readReply reads one reply, of several lines if need be. The lines of the text are joined by "\n"; the enhanced code is taken
// off each line that begins with one of the reply's class. It returns the reply whatever its code is; an error means that there
// is none, and that the connection must be closed.
func readReply(r *crlf.Reader) (*goniec.Status, error) {
	s := new(goniec.Status)
	var text strings.Builder
	for total, n := 0, 1; ; n++ {
		line, err := r.ReadLine(maxReplyLine)
		if errors.Is(err, crlf.ErrLineTooLong) || errors.Is(err, crlf.ErrSkipLimit) {
			return nil, errReplyLimit
		}
		if err != nil {
			return nil, err
		}
		if total += len(line) + 2; n > maxReplyLines || total > maxReplyBytes {
			return nil, errReplyLimit
		}
		more, err := addReplyLine(s, &text, string(line), n == 1)
		if err != nil {
			return nil, err
		}
		if !more {
			s.Text = text.String()
			return s, nil
		}
	}
}

// addReplyLine adds one line of a reply to s and text, and reports whether another must follow.
func addReplyLine(s *goniec.Status, text *strings.Builder, line string, first bool) (more bool, err error) {
	code, rest, more, err := cutReplyCode(line)
	if err != nil {
		return false, err
	}
	// RFC 5321 §4.2.1: all lines have the same code. One that differs could be another reply, put in between.
	if !first && code != s.Code {
		return false, fmt.Errorf("%w: %q within a %d reply", errReplySyntax, clip(line, 80), s.Code)
	}
	s.Code = code
	if enhanced, after, ok := cutEnhanced(rest, code); ok {
		s.Enhanced, rest = enhanced, after
	}
	if !first {
		text.WriteByte('\n')
	}
	text.WriteString(rest)
	return more, nil
}

// cutReplyCode parses "250-text", "250 text" and "250".
func cutReplyCode(line string) (code int, text string, more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, "", false, fmt.Errorf("%w: %q", errReplySyntax, clip(line, 80))
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, "", false, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, fmt.Errorf("%w: %q", errReplySyntax, clip(line, 80))
	}
	return code, line[4:], line[3] == '-', nil
}

// cutEnhanced parses the enhanced code at the start of a reply's text (RFC 3463 §2). It must be of the reply's class.
func cutEnhanced(text string, code int) (e goniec.EnhancedCode, rest string, ok bool) {
	word, rest, _ := strings.Cut(text, " ")
	if word == "" || !isDigit(word[0]) { // most lines of an EHLO reply
		return e, text, false
	}
	for i := range e {
		part, more, found := strings.Cut(word, ".")
		n, err := strconv.ParseUint(part, 10, 16)
		if found != (i < len(e)-1) || err != nil || len(part) > 3 {
			return goniec.EnhancedCode{}, text, false
		}
		e[i], word = uint16(n), more
	}
	if int(e[0]) != code/100 {
		return goniec.EnhancedCode{}, text, false
	}
	return e, rest, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// clip keeps hostile input out of error texts and logs beyond max octets.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	return s[:max] + "…"
}

package mailbox

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

// scanner looks for several folded texts in one pass over a message. Memory is one window, whatever
// the size of the message.
type scanner struct {
	needles []needle
	longest int
	left    int // needles not yet found in the message at hand

	fold   caseFolder
	window []byte // folded text: the end of what was looked through, then what is new
	input  []byte // raw text: octets of a character that was cut off, then what is read
}

type needle struct {
	text   []byte
	header bool // look into headers too
	found  bool
}

// scanBlock is how much text is looked through at a time.
const scanBlock = 32 << 10

func (s *scanner) add(text string, header bool) int {
	s.needles = append(s.needles, needle{text: []byte(text), header: header})
	s.longest = max(s.longest, len(text))
	return len(s.needles) - 1
}

func (s *scanner) found(i int) bool { return s.needles[i].found }

func (s *scanner) reset() {
	for i := range s.needles {
		s.needles[i].found = false
	}
	s.left = len(s.needles)
}

// inHeaders reports whether a needle that was not found yet may be in a header.
func (s *scanner) inHeaders() bool {
	return slices.ContainsFunc(s.needles, func(n needle) bool { return n.header && !n.found })
}

// look looks for the needles in the window and keeps its end, where a needle may begin. It reports
// whether a new one was found.
func (s *scanner) look(header bool) (news bool) {
	for i := range s.needles {
		n := &s.needles[i]
		if !n.found && (n.header || !header) && bytes.Contains(s.window, n.text) {
			n.found, news = true, true
			s.left--
		}
	}
	if keep := s.longest - 1; len(s.window) > keep {
		s.window = s.window[:copy(s.window, s.window[len(s.window)-keep:])]
	}
	return news
}

// message reports whether a message matches, reading no more of it than needed.
func (q *query) message(msg Message) (bool, error) {
	q.start(msg.Meta)
	if q.size = msg.Content.Size(); q.holds() != holdsUnknown {
		return q.holds() == holdsYes, nil
	}
	if q.headers {
		if err := q.readHeader(msg.Content); err != nil {
			return false, err
		}
		if h := q.holds(); h != holdsUnknown {
			return h == holdsYes, nil
		}
	}
	if err := q.scan(msg.Content); err != nil {
		return false, err
	}
	return q.holds() == holdsYes, nil
}

func (q *query) readHeader(c goniec.Content) (err error) {
	q.header, err = readHeader(c)
	return err
}

// readHeader reads a message's header, as far as mime's limits go.
func readHeader(c goniec.Content) (*mime.Header, error) {
	h, err := mime.ReadHeader(goniec.NewReader(c), mime.Options{})
	var w *mime.Warning
	if !errors.As(err, &w) {
		return h, err
	}
	// Beyond the limits: a Reader gives the fields that are within them.
	r := mime.NewReader(goniec.NewReader(c), mime.Options{})
	defer r.Close()
	if _, err = r.Next(); err != nil {
		return nil, err
	}
	return r.Header(), nil
}

// scan goes through the parts of a message until the criteria are decided.
func (q *query) scan(c goniec.Content) error {
	r := mime.NewReader(goniec.NewReader(c), mime.Options{})
	defer r.Close()
	for {
		part, err := r.Next()
		if err == io.EOF {
			q.whole = true
			return nil
		}
		if err != nil {
			return err
		}
		if q.texts.inHeaders() && q.scanFields(r.Header()) && q.holds() != holdsUnknown {
			return nil
		}
		if part.Kind == mime.Leaf && (part.Type.Is("text") || part.Type.Is("message")) {
			if done, err := q.scanText(textOf(r, part)); done || err != nil {
				return err
			}
		}
	}
}

// scanFields looks through a header, of the message or of a part: KeyBody matches none (RFC 9051
// §6.4.4). Fields are looked at decoded and unfolded.
func (q *query) scanFields(h *mime.Header) (news bool) {
	s := &q.texts
	s.window = s.window[:0]
	for _, f := range h.All() {
		s.window = s.fold.field(s.window, f)
		if len(s.window) > scanBlock {
			news = s.look(true) || news
		}
	}
	news = s.look(true) || news
	s.window = s.window[:0]
	return news
}

// field appends a field folded, as it reads decoded on one line, and a line end.
func (f *caseFolder) field(dst []byte, field mime.Field) []byte {
	raw := field.Raw()
	name, body, ok := strings.Cut(raw, ":")
	switch {
	case !ok || field.Name() == "":
		dst, _ = f.fold(dst, []byte(field.Text()), true)
	case !isPlainASCII(raw):
		dst, _ = f.fold(dst, []byte(name+colon(body)+field.Text()), true)
	default:
		dst, _ = appendUpper(dst, name)
		dst = append(dst, colon(body)...)
		dst = appendPlain(dst, body)
	}
	return append(dst, '\n')
}

// colon returns what stands between the name of a field and a text of its body.
func colon(body string) string {
	if strings.HasPrefix(body, " ") || strings.HasPrefix(body, "\t") {
		return ": "
	}
	return ":"
}

// isPlainASCII reports whether a text is ASCII without encoded words: to decode it changes nothing.
func isPlainASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
	}
	return true
}

// appendPlain appends the body of an ASCII field in upper case as mime.Field.Text shows it: unfolded, with spaces for
// control characters, and none around it.
func appendPlain[T string | []byte](dst []byte, body T) []byte {
	from := len(dst)
	dst, _ = appendUpper(dst, body)
	text, n := dst[from:], 0
	for i, c := range text {
		switch {
		case c == '\n', c == '\r' && i+1 < len(text) && text[i+1] == '\n':
			continue
		case c < ' ' || c == 0x7f:
			c = ' '
		}
		text[n] = c
		n++
	}
	return dst[:from+copy(text, bytes.Trim(text[:n], " "))]
}

// textOf returns the text of a part. What is, or is taken for, UTF-8 needs no conversion: fold sees to
// octets that are none.
func textOf(r *mime.Reader, part *mime.Part) io.Reader {
	switch strings.ToLower(part.Type.Charset()) {
	case "", "us-ascii", "ascii", "utf-8", "utf8":
		return r.Decoded()
	}
	return r.Text()
}

// scanText looks through a text in pieces. done: the criteria are decided.
func (q *query) scanText(r io.Reader) (done bool, err error) {
	s := &q.texts
	if s.input == nil {
		s.input = make([]byte, 0, scanBlock)
	}
	s.window, s.input = s.window[:0], s.input[:0]
	for {
		n, err := r.Read(s.input[len(s.input):scanBlock])
		s.input = s.input[:len(s.input)+n]
		if err != nil && err != io.EOF {
			return false, err
		}
		var rest int
		s.window, rest = s.fold.fold(s.window, s.input, err == io.EOF)
		s.input = s.input[:copy(s.input, s.input[len(s.input)-rest:])]
		if s.look(false) && q.holds() != holdsUnknown {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
	}
}

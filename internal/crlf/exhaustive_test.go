package crlf

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

// longForm tells whether the bigger enumerations run.
var longForm = os.Getenv("GONIEC_LONG") == "1"

// depth is the length of the strings of an enumeration: long, in the long form; short; or one less under the race detector.
func depth(short, long int) int {
	switch {
	case longForm:
		return long
	case raceDetector:
		return short - 1
	}
	return short
}

// cutReader returns s in two reads, cut at an octet.
type cutReader struct {
	s   string
	cut int
	pos int
}

func (c *cutReader) Read(p []byte) (int, error) {
	end := len(c.s)
	if c.pos < c.cut {
		end = c.cut
	}
	if c.pos == end {
		return 0, io.EOF
	}
	n := copy(p, c.s[c.pos:end])
	c.pos += n
	return n, nil
}

// message is what an oracle says about a raw stream.
type message struct {
	content string // un-stuffed; normalised where the policy says so
	rest    string // of the stream, behind the message
	err     error  // nil for a whole message
}

// oracle finds the end of a message in the plainest way and un-stuffs it.
func oracle(raw string, bare Bare) message {
	s := "\r\n" + raw
	end := strings.Index(s, "\r\n.\r\n")
	if end < 0 {
		return message{err: io.ErrUnexpectedEOF}
	}
	body, rest := s[:end+2], s[end+5:]
	body = strings.ReplaceAll(body, "\r\n.", "\r\n")[2:]
	if bare == Normalise {
		return message{content: normalise(body), rest: rest}
	}
	switch plain := strings.ReplaceAll(body, "\r\n", "  "); strings.IndexAny(plain, "\r\n") {
	case -1:
		return message{content: body, rest: rest}
	case strings.IndexByte(plain, '\n'):
		return message{rest: rest, err: ErrBareLF}
	default:
		return message{rest: rest, err: ErrBareCR}
	}
}

// normalise replaces each bare CR and bare LF, octet by octet.
func normalise(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n':
			i++
			b.WriteString("\r\n")
		case s[i] == '\r', s[i] == '\n':
			b.WriteString("\r\n")
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// each calls f with every string over alphabet of up to max octets.
func each(alphabet string, max int, f func(s string)) {
	buf := make([]byte, 0, max)
	var at func()
	at = func() {
		f(string(buf))
		if len(buf) == max {
			return
		}
		for i := range len(alphabet) {
			buf = append(buf, alphabet[i])
			at()
			buf = buf[:len(buf)-1]
		}
	}
	at()
}

const smuggling = "\r\n.\x00a" // the alphabet of S01

// tail follows every stream, so that what is left behind the message can be told from what was lost.
const tail = "Q\r\n"

func checkMessage(t *testing.T, raw string, cut int, bare Bare, r *Reader, d *DotReader, got *bytes.Buffer) {
	r.Reset(&cutReader{s: raw, cut: cut})
	d.Reset(r, TextOptions{Bare: bare})
	got.Reset()
	_, err := got.ReadFrom(struct{ io.Reader }{d})
	want := oracle(raw, bare)
	ok := err == want.err
	if ok && err == nil {
		ok = got.String() == want.content && d.Stats().Octets == int64(len(want.content)) && d.Stats().LongestLine == longestLine(got.Bytes())
	}
	if ok && err != io.ErrUnexpectedEOF {
		rest, rerr := io.ReadAll(r)
		ok = rerr == nil && string(rest) == want.rest && d.Ended()
	}
	if !ok {
		t.Fatalf("%q cut at %d, policy %d: got %q, %v; want %q, %v, rest %q", raw, cut, bare, got, err, want.content, want.err, want.rest)
	}
}

// TestS01_EveryString: a message ends iff the raw stream has CRLF.CRLF, at every split, under both policies.
func TestS01_EveryString(t *testing.T) {
	max, maxSplit := depth(7, 8), depth(6, 8)
	var r Reader
	var d DotReader
	var got bytes.Buffer
	n := 0
	each(smuggling, max, func(s string) {
		n++
		for _, raw := range []string{s, s + tail, s + "\r\n.\r\n" + tail} {
			for _, bare := range []Bare{Reject, Normalise} {
				checkMessage(t, raw, 0, bare, &r, &d, &got)
				if len(s) > maxSplit {
					continue
				}
				for cut := 1; cut < len(raw); cut++ {
					checkMessage(t, raw, cut, bare, &r, &d, &got)
				}
			}
		}
	})
	t.Logf("%d strings", n)
}

// oracleStuff is what a DotWriter has to send.
func oracleStuff(s string, bare Bare) (string, bool) {
	n := normalise(s)
	if bare == Reject && n != s {
		return "", false
	}
	if n != "" && !strings.HasSuffix(n, "\r\n") {
		n += "\r\n"
	}
	return strings.ReplaceAll("\r\n"+n, "\r\n.", "\r\n..")[2:] + ".\r\n", true
}

// TestS03_EveryString: whatever is written, and however it is cut, no bare CR or LF goes out and every leading dot is doubled.
func TestS03_EveryString(t *testing.T) {
	max := depth(7, 8)
	var d DotWriter
	var wire bytes.Buffer
	each(smuggling, max, func(s string) {
		for _, bare := range []Bare{Reject, Normalise} {
			want, ok := oracleStuff(s, bare)
			for cut := 0; cut <= len(s); cut++ {
				wire.Reset()
				d.Reset(&wire, bare)
				_, _ = d.Write([]byte(s[:cut]))
				_, _ = d.Write([]byte(s[cut:]))
				err := d.Close()
				if (err == nil) != ok || ok && wire.String() != want {
					t.Fatalf("%q cut at %d, policy %d: %q, %v; want %q, %v", s, cut, bare, wire.String(), err, want, ok)
				}
				if left := strings.ReplaceAll(wire.String(), "\r\n", ""); strings.ContainsAny(left, "\r\n") {
					t.Fatalf("%q cut at %d, policy %d: %q on the wire", s, cut, bare, wire.String())
				}
			}
		}
	})
}

// TestS04_EveryString: text in chunks is judged as text in dots is.
func TestS04_EveryString(t *testing.T) {
	max := depth(7, 8)
	var tr TextReader
	var got bytes.Buffer
	each(smuggling, max, func(s string) {
		want := normalise(s)
		for cut := 0; cut <= len(s); cut++ {
			got.Reset()
			tr.Reset(&cutReader{s: s, cut: cut}, TextOptions{})
			_, err := got.ReadFrom(&tr)
			if (err == nil) != (want == s) || err == nil && got.String() != s {
				t.Fatalf("%q cut at %d: %q, %v", s, cut, got.String(), err)
			}
			got.Reset()
			tr.Reset(&cutReader{s: s, cut: cut}, TextOptions{Bare: Normalise})
			_, err = got.ReadFrom(&tr)
			if err != nil || got.String() != want {
				t.Fatalf("%q cut at %d: %q, %v; want %q", s, cut, got.String(), err, want)
			}
		}
	})
}

// TestS01_EveryPlaceInAWord repeats the strings at every place of the 8 octets that are looked at together, between text that is
// passed quickly.
func TestS01_EveryPlaceInAWord(t *testing.T) {
	max := depth(5, 7)
	const before, after = "12345\r\n890", "abc\r\ndefghijkl"
	var (
		r    Reader
		d    DotReader
		w    DotWriter
		tr   TextReader
		got  bytes.Buffer
		text = func(s string, pad int) string { return before[:pad] + s + after }
	)
	each(smuggling, max, func(s string) {
		for pad := range len(before) {
			raw := text(s, pad)
			for _, bare := range []Bare{Reject, Normalise} {
				checkMessage(t, raw+"\r\n.\r\n"+tail, 0, bare, &r, &d, &got)

				want, ok := oracleStuff(raw, bare)
				got.Reset()
				w.Reset(&got, bare)
				_, _ = w.Write([]byte(raw))
				if err := w.Close(); (err == nil) != ok || ok && got.String() != want {
					t.Fatalf("%q, policy %d: wrote %q, %v; want %q, %v", raw, bare, got.String(), err, want, ok)
				}

				got.Reset()
				tr.Reset(strings.NewReader(raw), TextOptions{Bare: bare})
				_, err := got.ReadFrom(&tr)
				want = normalise(raw)
				ok = bare == Normalise || want == raw
				if (err == nil) != ok || ok && (got.String() != want || tr.Stats().LongestLine != longestLine(got.Bytes())) {
					t.Fatalf("%q, policy %d: read %q, %v; want %q, %v", raw, bare, got.String(), err, want, ok)
				}
			}
		}
	})
}

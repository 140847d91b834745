package mime

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// strings over an alphabet, the shorter ones first.
func allStrings(alphabet string, length int, yield func(string)) {
	buf := make([]byte, length)
	for n := 0; n <= length; n++ {
		total := 1
		for range n {
			total *= len(alphabet)
		}
		for code := range total {
			for i, rest := 0, code; i < n; i++ {
				buf[i] = alphabet[rest%len(alphabet)]
				rest /= len(alphabet)
			}
			yield(string(buf[:n]))
		}
	}
}

// A leaf found by the simple reading below.
type span64 struct{ headerStart, bodyStart, bodyEnd int }

// simpleSplit reads the body of a multipart with boundary "b" line by line, as RFC 2046 §5.1.1 puts it: no window, no state machine.
// Its parts have no fields, so that a part's header is an empty line or nothing.
func simpleSplit(msg string, start int) []span64 {
	var parts []span64
	textEnd := start // where the text before this line ends, without its line end
	open := false
	for pos := start; pos < len(msg); {
		end := len(msg)
		if i := strings.IndexByte(msg[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		line := strings.TrimRight(msg[pos:end], " \t\r\n")
		if line == "--b" || line == "--b--" {
			if open {
				last := &parts[len(parts)-1]
				last.bodyEnd = max(textEnd, last.bodyStart)
			}
			open = line == "--b"
			if !open {
				return parts
			}
			next := end
			switch {
			case strings.HasPrefix(msg[end:], "\r\n"):
				next = end + 2
			case strings.HasPrefix(msg[end:], "\n"):
				next = end + 1
			}
			parts = append(parts, span64{end, next, len(msg)})
			pos, textEnd = next, next
			continue
		}
		textEnd = end - len(lineEnd(msg[pos:end]))
		pos = end
	}
	return parts
}

func lineEnd(line string) string {
	switch {
	case strings.HasSuffix(line, "\r\n"):
		return "\r\n"
	case strings.HasSuffix(line, "\n"):
		return "\n"
	}
	return ""
}

// TestM05_ExhaustiveDelimiters compares the tokenizer with the simple reading on all short strings, whole and octet by octet.
func TestM05_ExhaustiveDelimiters(t *testing.T) {
	length := 6
	if peertest.LongForm() {
		length = 9
	}
	if raceEnabled {
		length = 5
	}
	const head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for _, prefix := range []string{"", "--b\r\n\r\n", "--b\r\n\r\nx\r\n--b"} {
		allStrings("\r\n-bx", length, func(tail string) {
			msg := head + prefix + tail
			want := simpleSplit(msg, len(head))
			for i, r := range []io.Reader{strings.NewReader(msg), iotest.OneByteReader(strings.NewReader(msg))} {
				if i == 1 && len(tail) == length && !peertest.LongForm() {
					continue
				}
				s, err := ParseStream(r, Options{})
				if err != nil {
					t.Fatal(err)
				}
				var got []span64
				for k := range s.Parts[1:] {
					p := &s.Parts[k+1]
					got = append(got, span64{int(p.HeaderStart), int(p.BodyStart), int(p.BodyEnd)})
				}
				// Parts that begin with a line of text have no header: the simple reading says so too, as they have no colon.
				if len(got) != len(want) || !equalSpans(got, want) {
					t.Fatalf("%q: %v, want %v", msg[len(head):], got, want)
				}
			}
		})
	}
}

func equalSpans(a, b []span64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestP04_ExhaustiveAddresses: whatever is accepted writes back to a form that reads as the same.
func TestP04_ExhaustiveAddresses(t *testing.T) {
	length := 6
	if peertest.LongForm() {
		length = 7
	}
	if raceEnabled {
		length = 4
	}
	allStrings(`a@"\<>(),;: `, length, func(s string) {
		as, err := ParseAddresses(s)
		if err != nil {
			return
		}
		out, err := FormatAddresses(as)
		if err != nil {
			return
		}
		again, err := ParseAddresses(out)
		for i := range as {
			as[i].Route = ""
		}
		if err != nil || len(again) != len(as) {
			t.Fatalf("%q: wrote %q: %v", s, out, err)
		}
		for i := range as {
			if as[i].Kind != again[i].Kind || as[i].Local != again[i].Local || as[i].Domain != again[i].Domain {
				t.Fatalf("%q: wrote %q: %+v, %+v", s, out, as[i], again[i])
			}
		}
	})
}

// TestM06_ExhaustiveQuotedPrintable: every short string decodes the same whole and octet by octet, and never to more than it was.
func TestM06_ExhaustiveQuotedPrintable(t *testing.T) {
	length := 5
	if raceEnabled {
		length = 4
	}
	allStrings("=\r\n A4", length, func(s string) {
		for _, encoding := range []string{"quoted-printable", "base64"} {
			whole, _ := io.ReadAll(NewDecoder(strings.NewReader(s), encoding))
			chopped, _ := io.ReadAll(NewDecoder(iotest.OneByteReader(strings.NewReader(s)), encoding))
			if string(whole) != string(chopped) || len(whole) > len(s) {
				t.Fatalf("%q: %q, %q", s, whole, chopped)
			}
		}
	})
}

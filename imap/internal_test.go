package imap

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/internal/crlf"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mime"
)

// words yields all strings over an alphabet up to a length.
func words(alphabet string, length int) (out []string) {
	out = []string{""}
	for from := 0; length > 0; length-- {
		to := len(out)
		for _, w := range out[from:to] {
			for _, c := range alphabet {
				out = append(out, w+string(c))
			}
		}
		from = to
	}
	return out
}

// I09: every pattern of up to five signs matches every name of up to five as a regular expression does.
func TestI09_PatternOracle(t *testing.T) {
	names := words("a/b", 5)
	for _, p := range words("a/*%", 5) {
		oracle := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "%", "[^/]*").Replace(p) + "$")
		pattern := newPattern("", p)
		for _, name := range names {
			if pattern.matches(name) != oracle.MatchString(name) {
				t.Fatalf("pattern %q, name %q: %v", p, name, pattern.matches(name))
			}
		}
	}
	require.True(t, newPattern("in", "b%").matches("INBOX"))
	require.True(t, newPattern("", "a"+strings.Repeat("%b", 200)).matches("a"+strings.Repeat("b", 200)))
}

// A pattern takes a time in proportion to the name.
func TestI09_PatternDoubles(t *testing.T) {
	measure := func(n int) time.Duration {
		p, name := newPattern("", strings.Repeat("*a", 50)+"b"), strings.Repeat("a", n)
		return peertest.Fastest(5, func() {
			for range 20 {
				p.matches(name)
			}
		})
	}
	small, large := measure(2000), measure(8000)
	require.Less(t, large, 12*small, "four times the name")
}

// A window cuts as slicing a list does.
func TestWindowOracle(t *testing.T) {
	for bits := range 1 << 7 {
		var list []mailbox.UID
		for i := range 7 {
			if bits&(1<<i) != 0 {
				list = append(list, mailbox.UID(10+i))
			}
		}
		for first := int64(-9); first <= 9; first++ {
			for last := int64(-9); last <= 9; last++ {
				if first == 0 || last == 0 || (first < 0) != (last < 0) {
					continue
				}
				var want []mailbox.UID
				for i, u := range list {
					at := int64(i + 1)
					if first < 0 {
						at = int64(i - len(list))
					}
					if at >= min(first, last) && at <= max(first, last) {
						want = append(want, u)
					}
				}
				got := window{first, last}.of(mailbox.UIDs(list...))
				require.True(t, mailbox.UIDs(want...).Equal(got), "%v %d:%d: %s", list, first, last, got)
			}
		}
	}
}

// Lines come out whole, however they come in; a line longer than the buffer in pieces.
func TestLineScanner(t *testing.T) {
	for _, text := range []string{"", "\n", "a", "a\r\n", "a\n\nb", "a\r\n b\r\n\r\nx", strings.Repeat("x", copyBuffer) + "\ny", strings.Repeat("x", 3*copyBuffer+5) + "\r\nz\r\n"} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			s := newLineScanner(r)
			var lines []string
			for {
				line, begins, err := s.next()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				if begins {
					lines = append(lines, "")
				}
				lines[len(lines)-1] += string(line)
			}
			s.close()
			require.Equal(t, text, strings.Join(lines, ""))
			require.Len(t, lines, strings.Count(text, "\n")+min(1, len(text)-1-strings.LastIndexByte(text, '\n')))
		}
	}
	_, err := selectFields(iotest.ErrReader(io.ErrClosedPipe), []string{"a"}, false)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// Fields selected from kept lines are those selected from the header.
func TestKeptFieldsAreTheHeaders(t *testing.T) {
	header := "From: a\r\n b\r\nX-Odd: 1\r\n\t2\r\nSUBJECT : s\r\nfrom: again\r\nnonsense\r\n more\r\nDate:\r\n\r\n"
	kept, err := selectFields(strings.NewReader(header), strings.Fields(keptFieldNames), false)
	require.NoError(t, err)
	for _, names := range [][]string{{"From"}, {"subject"}, {"Date", "FROM"}, {"To"}, strings.Fields(keptFieldNames)} {
		want, err := selectFields(strings.NewReader(header), names, false)
		require.NoError(t, err)
		require.Equal(t, string(want), string(appendKept(nil, kept, names)), "%v", names)
	}
	not, err := selectFields(strings.NewReader(header), []string{"from", "subject", "date"}, true)
	require.NoError(t, err)
	require.Equal(t, "X-Odd: 1\r\n\t2\r\nnonsense\r\n more\r\n\r\n", string(not))
	long := "A: " + strings.Repeat("x", maxFields) + "\r\n"
	cut, err := selectFields(strings.NewReader(long+long+"A: y\r\n"), []string{"a"}, false)
	require.NoError(t, err)
	require.LessOrEqual(t, len(cut), maxFields+2)
}

// readValue reads any value of the grammar of responses, so that what is rendered is known to be readable.
func readValue(d *wire.Decoder) {
	switch c := d.Peek(); {
	case c == '(':
		d.Expect('(')
		for !d.Try(')') {
			if d.Err() != nil || d.AtEnd() {
				d.Fail("list has no end")
				return
			}
			readValue(d)
			if d.Peek() == ' ' {
				d.SP()
			}
		}
	case c >= '0' && c <= '9':
		d.Number64()
	default:
		d.NString()
	}
}

// ENVELOPE and BODYSTRUCTURE of any message can be read, also with octets that no quoted string holds.
func TestRenderedIsReadable(t *testing.T) {
	for _, msg := range []string{
		"", "\r\n", "x", "Subject: \"\\\x00\x80\r\n\r\n", "From: \"a\\\"b\" <x@y>, g: c@d, e;, broken <\r\nTo: @\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\nno parts", "Content-Type: multipart/mixed\r\n\r\n--x\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n",
		"Content-Type: message/rfc822\r\n\r\n", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; boundary=q\r\n\r\n--q\r\n\r\na\r\n--q\r\n\r\nb",
		"Content-Type: text/plain; a=\"\xff\"; b*0=x; b*1=y\r\nContent-Disposition: inline; filename=\"\x01\"\r\nContent-Language: en, de\r\nContent-MD5: \x80\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n", 300),
	} {
		st, err := mime.Parse(strings.NewReader(msg), mime.Options{})
		require.NoError(t, err)
		rendered := [][]byte{renderEnvelope(st.Parts[0].Envelope), renderBody(st, false), renderBody(st, true)}
		for _, b := range rendered {
			d := &wire.Decoder{Limits: wire.Limits{Depth: 500}}
			d.Reset(crlf.NewReader(bytes.NewReader(append(b, "\r\n"...))))
			require.NoError(t, d.Begin())
			readValue(d)
			require.NoError(t, d.End(), "%q of %.100q", b, msg)
		}
	}
}

// Threads are written as the grammar has them, from any depth.
func TestThreadForm(t *testing.T) {
	n := func(uid mailbox.UID, depth int) mailbox.ThreadNode { return mailbox.ThreadNode{UID: uid, Depth: depth} }
	for want, nodes := range map[string][]mailbox.ThreadNode{
		"(2)(3 6 (4 23)(44 7 96))": {n(2, 0), n(3, 0), n(6, 1), n(4, 2), n(23, 3), n(44, 2), n(7, 3), n(96, 4)},
		"((3)(5))":                 {n(0, 0), n(3, 1), n(5, 1)},
		"(1 2 3)":                  {n(1, 0), n(2, 1), n(3, 2)},
		"((1 2)(3 (4)(5)))(6)":     {n(0, 0), n(1, 1), n(2, 2), n(3, 1), n(4, 2), n(5, 2), n(6, 0)},
		"":                         nil,
	} {
		var out textBuffer
		c := &conn{}
		c.enc.Reset(&out)
		w := threadWriter{c: c, by: byUID, nodes: nodes, siblings: countSiblings(nodes)}
		for i := range nodes {
			w.node(i)
		}
		w.closeTo(0)
		require.Equal(t, want, string(out))
	}
	deep := make([]mailbox.ThreadNode, 100000)
	for i := range deep {
		deep[i] = n(mailbox.UID(i+1), i)
	}
	require.Len(t, countSiblings(deep), len(deep)) // no recursion
}

// The idler runs once more for whatever happened meanwhile, never twice at a time, and not after stop. What happened
// while it was stopped is told by the next start.
func TestIdler(t *testing.T) {
	var i idler
	release, running := make(chan bool), make(chan bool, 10)
	tell := func() { running <- true; <-release }
	i.start(tell)
	i.stop()
	require.Empty(t, running, "nothing happened")
	i.wake()
	i.wake()
	require.Empty(t, running, "before start")
	i.start(tell)
	<-running
	for range 100 {
		i.wake()
	}
	require.Empty(t, running)
	release <- true
	<-running
	go func() { release <- true }()
	i.stop()
	require.Empty(t, running)
	i.wake()
	require.Empty(t, running, "after stop")
	i.start(tell)
	<-running
	i.wake()
	stopped := make(chan bool)
	go func() { i.stop(); close(stopped) }()
	for on := true; on; {
		i.mu.Lock()
		on = i.on
		i.mu.Unlock()
	}
	release <- true
	<-stopped
	require.Empty(t, running, "stopped before it was told")
}

// Texts of a store reach a client as one line of ASCII.
func TestOneLine(t *testing.T) {
	require.Equal(t, "a  b  ]", oneLine("a\r\nb\u00e9]"))
	require.Len(t, oneLine(strings.Repeat("x", 1000)), 500)
	require.Equal(t, fmt.Sprint(failed(mailbox.ErrNotFound)), fmt.Sprint(failed(fmt.Errorf("open x: %w", mailbox.ErrNotFound))))
}

package mime

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// FuzzParse checks what must hold for any input: the parts form a tree that with its gaps is the input (M05), pieces of one octet give the
// same tree, headers write back byte-identically (M08), and the serialised form reads back.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		crlf(nested), nested, smallMessage(), nestedMultiparts(3), "", "\n", "a", "From x\nA: b\n\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b--\r\n--b--", "Content-Type: message/rfc822\n\n\n--",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, msg string) {
		s := parse(t, msg, Options{MaxDepth: 5, MaxParts: 20, MaxHeaderFields: 50})
		chopped, err := ParseStream(iotest.OneByteReader(strings.NewReader(msg)), Options{MaxDepth: 5, MaxParts: 20, MaxHeaderFields: 50})
		require.NoError(t, err)
		require.Equal(t, s, chopped)
		require.Equal(t, msg, allEvents(msg, Options{MaxDepth: 5, MaxParts: 20, MaxHeaderFields: 50}))
		c := strings.NewReader(msg)
		for i := range s.Parts {
			h, err := s.Header(c, i)
			require.NoError(t, err)
			p := &s.Parts[i]
			if got := string(h.Bytes()); p.HeaderStart < p.BodyStart && strings.HasPrefix(msg[p.HeaderStart:], got) {
				require.Equal(t, msg[p.HeaderStart:p.BodyStart], got)
			} else {
				require.Equal(t, p.HeaderStart, p.BodyStart)
			}
			if p.Kind == Leaf {
				_, err = io.Copy(io.Discard, s.Text(c, i))
				require.NoError(t, err)
			}
			at, ok := s.Find(s.Path(i)...)
			require.True(t, ok)
			if at > 0 { // part 1 of a message that is no multipart is the message
				require.Equal(t, s.Path(i), s.Path(at))
			}
		}
		b, err := s.MarshalBinary()
		require.NoError(t, err)
		var again Structure
		require.NoError(t, again.UnmarshalBinary(b))
		require.Equal(t, s, &again)
	})
}

// allEvents puts together the octets of fields, bodies and gaps in the order in which the parser finds them: the message.
func allEvents(msg string, o Options) string {
	var p parser
	p.start(&pieces{strings.NewReader(msg), 5}, o, &Structure{})
	defer p.stop()
	var b strings.Builder
	for {
		ev, data := p.next()
		if ev == evEnd {
			return b.String()
		}
		b.Write(data)
	}
}

// TestM05_PartsAndGapsAreTheMessage runs it over what is at hand.
func TestM05_PartsAndGapsAreTheMessage(t *testing.T) {
	for _, msg := range []string{crlf(nested), nested, smallMessage(), nestedMultiparts(200)} {
		require.Equal(t, msg, allEvents(msg, Options{}))
	}
	for _, h := range hostile {
		msg := h.build(10_000)
		require.Equal(t, msg, allEvents(msg, Options{}), h.name)
	}
}

// FuzzReader checks that a Reader finds what Parse finds, in pieces of any size, whether bodies are read or passed over.
func FuzzReader(f *testing.F) {
	f.Add(crlf(nested), byte(7))
	f.Add("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--", byte(0x81))
	f.Fuzz(func(t *testing.T, msg string, how byte) {
		o := Options{MaxDepth: 5, MaxParts: 20}
		want := parse(t, msg, o)
		r := NewReader(&pieces{strings.NewReader(msg), int(how&0x3f) + 1}, o)
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if p.Kind == Leaf && how&0x80 != 0 {
				body, err := io.ReadAll(r)
				require.NoError(t, err)
				q := &want.Parts[r.Index()]
				require.Equal(t, msg[q.BodyStart:q.BodyEnd], string(body))
			}
		}
		require.Equal(t, want, r.Structure())
	})
}

// pieces reads at most n octets at a time.
type pieces struct {
	r io.Reader
	n int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

// FuzzHeader checks that a header block writes back as it was, and that edits touch only the fields they name (M08).
func FuzzHeader(f *testing.F) {
	f.Add("A: b\r\n c\r\nX : y\n\r\nrest")
	f.Fuzz(func(t *testing.T, block string) {
		h := ParseHeader([]byte(block))
		before := string(h.Bytes())
		require.True(t, strings.HasPrefix(block, before))
		x, err := NewField("X-Fuzz", "v")
		require.NoError(t, err)
		h.Prepend(x)
		require.Equal(t, "X-Fuzz: v\r\n"+before, string(h.Bytes()))
		if h.Delete("x-fuzz") == 1 {
			require.Equal(t, before, string(h.Bytes()))
		}
		again, err := ReadHeader(strings.NewReader(block), Options{})
		require.NoError(t, err)
		// A line that is no field ends a message's header; in a block it is a field without name.
		require.True(t, strings.HasPrefix(before, string(again.Bytes())))
		if rest := ParseHeader([]byte(before)[len(again.Bytes()):]); rest.Len() > 0 {
			require.Empty(t, rest.Field(0).Name())
		}
	})
}

// FuzzUnmarshal gives arbitrary octets to UnmarshalBinary: an error, or a structure whose methods work.
func FuzzUnmarshal(f *testing.F) {
	for _, m := range []string{crlf(nested), ""} {
		s, _ := ParseStream(strings.NewReader(m), Options{})
		b, _ := s.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Structure
		if err := s.UnmarshalBinary(b); err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		for i := range s.Parts {
			_, _ = s.Find(s.Path(i)...)
		}
	})
}

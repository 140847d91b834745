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

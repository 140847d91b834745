package mailbox

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mime"
)

// What is kept of a header gives the same fields as the message itself.
func FuzzKeptHeader(f *testing.F) {
	for _, seed := range []string{
		"", "\r\nbody", "Subject: a\r\n b\r\nX-Y: z\r\nsubject : c\r\nDate: now", "From mbox\nTo:x\n\tFrom: y\nCc\r\n\r\n",
		"\u017fubject: long s\nFrom: a\rSubject: b\n\xff\xfe: 1\nBcc:\n", " Subject: first line is folded\nReferences: <a>\r\n <b>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := mime.ParseHeader([]byte(text))
		block := keptHeader(h)
		if block == nil {
			require.Greater(t, len(text), keptHeaderLimit)
			return
		}
		kept := mime.ParseHeader(block)
		for _, name := range append(keptFields[:], "\u017fubject") {
			var want, got []string
			for _, f := range h.Fields(name) {
				want = append(want, f.Raw())
			}
			for _, f := range kept.Fields(name) {
				got = append(got, f.Raw())
			}
			require.Equal(t, want, got, name)
		}
	})
}

// A header at the limit is kept, one octet more is not.
func TestKeptHeaderLimit(t *testing.T) {
	field := func(octets int) *mime.Header {
		return mime.ParseHeader([]byte("Subject: " + strings.Repeat("x", octets-len("Subject: \r\n")) + "\r\nX-Other: " +
			strings.Repeat("y", keptHeaderLimit) + "\r\n\r\n"))
	}
	require.Len(t, keptHeader(field(keptHeaderLimit)), keptHeaderLimit)
	require.Nil(t, keptHeader(field(keptHeaderLimit+1)))
	require.NotNil(t, keptHeader(mime.ParseHeader(nil)), "no fields are a result too")
}

package mailbox

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mime"
)

// FuzzFieldOfASCII: a field of ASCII is looked through as if it was decoded, without decoding it.
func FuzzFieldOfASCII(f *testing.F) {
	for _, s := range []string{
		"Subject: hello\r\n", "Subject:hello\n", "X: a\r\n\tb\r\n  c \r\n", "X:\r\n a\x01b\x7f\r\n", "X : y\r\n", "X:", "X:\t\r\n \x02 a \x02\r\n",
		"no field\r\n", ": none\r\n", "X: =?utf-8?q?a?=\r\n", "X: a\rb\r\n", "Caf\xc3\xa9: \xc3\xa9\xff\r\n", "X: ß\r\n ü\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		var folder caseFolder
		for _, field := range mime.ParseHeader(block).All() {
			got := string(folder.field(nil, field))
			want := foldString(field.Text()) + "\n"
			require.Equal(t, want, got[len(got)-len(want):], "%q", field.Raw())
			name := foldString(field.Name())
			require.Equal(t, name, got[:len(name)])
		}
	})
}

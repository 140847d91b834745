package mailbox

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSourceKept: whatever a SourceState gives back is refused, or is what was kept.
func FuzzSourceKept(f *testing.F) {
	k := sourceKept{validity: 7, next: 12, modseq: 9, entries: []sourceEntry{
		{Meta{UID: 3}, "a"}, {Meta{UID: 11}, "line\nend \"quoted\" \xff"},
	}}
	f.Add(k.bytes())
	f.Add([]byte(sourceKeptMagic + "1 2 3\nend 00000000\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		kept, err := parseSourceKept(data)
		if err != nil || len(data) == 0 {
			require.Empty(t, kept)
			return
		}
		again, err := parseSourceKept(kept.bytes())
		require.NoError(t, err)
		require.Equal(t, kept, again)
	})
}

// FuzzFold: text folded in pieces is text folded at once, and folding twice changes nothing.
func FuzzFold(f *testing.F) {
	f.Add("Zażółć GĘŚLĄ", 3)
	f.Add("\xff\xc5", 1)
	f.Add("ǆ ﬁ ß K e\u0301", 2)
	f.Fuzz(func(t *testing.T, text string, at int) {
		at = max(0, min(at, len(text)))
		whole := foldString(text)
		var c caseFolder
		out, rest := c.fold(nil, []byte(text[:at]), false)
		out, _ = c.fold(out, []byte(text[at-rest:]), true)
		require.Equal(t, whole, string(out))
		require.Equal(t, whole, foldString(whole))
	})
}

package maildir_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// Buffers are used again, but not while a sequence is under way: also one in another, and one that was left early.
func TestDerivedBuffers(t *testing.T) {
	s := &maildir.Store{Root: fastDir(t)}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	value := func(kind string, u mailbox.UID) []byte {
		return []byte(strings.Repeat(kind+string(rune('a'+u)), 10*int(u)))
	}
	const n = 9
	for u := mailbox.UID(1); u <= n; u++ {
		_, err := m.Append(t.Context(), strings.NewReader(hello), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	for _, kind := range []string{"x", "y"} {
		values := make(map[mailbox.UID][]byte)
		for u := mailbox.UID(1); u <= n; u++ {
			values[u] = value(kind, u)
		}
		require.NoError(t, mailbox.SetDerived(t.Context(), m, kind, maps.All(values)))
	}
	_, err := m.Expunge(t.Context(), mailbox.UIDs(3))
	require.NoError(t, err)
	uids := mailbox.UIDSet{{First: 1, Last: 4}, {First: 8, Last: mailbox.MaxUID}}
	for range 3 {
		var got []mailbox.UID
		for u, x := range mailbox.DerivedOf(t.Context(), m, "x", uids) {
			for v, y := range mailbox.DerivedOf(t.Context(), m, "y", mailbox.AllUIDs()) {
				require.Equal(t, value("y", v), y)
				if v > u {
					break
				}
			}
			require.Equal(t, value("x", u), x)
			got = append(got, u)
		}
		require.Equal(t, []mailbox.UID{1, 2, 4, 8, 9}, got)
	}
}

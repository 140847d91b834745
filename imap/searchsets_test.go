package imap_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// I03: each set of a search costs memory for the gaps between the messages that it means; a line of few octets can not multiply
// them without end.
func TestI03_SearchOfManySets(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	m, err := f.account(t, "alice").Open(t.Context(), "INBOX")
	require.NoError(t, err)
	const messages = 40000
	_, err = mailbox.AppendAll(t.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for range messages {
			if !yield(mailbox.NewMessage{Msg: strings.NewReader("x")}, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
	var gaps mailbox.UIDSetBuilder
	for u := mailbox.UID(2); u < messages; u += 2 {
		gaps.Add(u)
	}
	_, err = m.Expunge(context.Background(), gaps.Set())
	require.NoError(t, err)
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	for _, key := range []string{" 1:*", " UID 1:*", " NOT 1:*", " OR 1:* UID 2:*"} {
		grown := heapGrowth(func() {
			for range 10 { // each is kept
				_, tagged := c.do("SEARCH RETURN (COUNT UPDATE)" + strings.Repeat(key, 300))
				require.Equal(t, "NO [LIMIT] search is too complex", tagged)
			}
		})
		require.Less(t, grown, int64(2<<20), key)
	}
	for _, command := range []string{"SEARCH 1:* UID 1:* NOT UID 1:2", "SEARCH $ 1:*" + strings.Repeat(" 1:30", 300), "SORT (ARRIVAL) UTF-8 1:* UID 1:*"} {
		c.ok(command)
	}
}

// RFC 5182 §2.1: "$" is empty after a search with SAVE that ends with NO, and what it was after BAD and where nothing was to be saved.
func TestSavedResultOfFailures(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.deliver(t, "alice", "INBOX", plainMail)
	}
	c := login(t, f.start(t))
	c.ok("SELECT INBOX")
	for command, left := range map[string]int{
		"SEARCH RETURN (SAVE) 99":                 1,
		"SEARCH RETURN (SAVE) NONSENSE":           1,
		"SORT RETURN (SAVE) (DATE) UTF-8 99":      1,
		"ESEARCH IN (personal) RETURN (SAVE) ALL": 1,
		"SEARCH RETURN (SAVE) CHARSET X ALL":      0,
		"SORT RETURN (SAVE) (DATE) X ALL":         0,
		"ESEARCH RETURN (SAVE) CHARSET X ALL":     0,
	} {
		c.ok("SEARCH RETURN (SAVE) 2")
		_, tagged := c.do(command)
		require.Regexp(t, map[int]string{0: "^NO", 1: "^BAD"}[left], tagged, command)
		require.Len(t, c.ok("FETCH $ UID"), left, "%.100s", command)
	}
}

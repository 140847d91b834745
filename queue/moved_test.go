package queue

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// churn stores and settles messages until the segment is gone in which the put record of id stood.
func churn(t *testing.T, s *FileStore, id ID) {
	t.Helper()
	num, _ := parseID(id)
	place := func() uint32 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.x.job(s.x.first(num)).baseSeg
	}
	from := place()
	for i := 0; s.segment(from) != nil; i++ {
		require.Less(t, i, 10_000, "the segment is never cleaned")
		_, err := s.Put(t.Context(), testMessage(t, strings.Repeat("someone else's mail ", 40), "churn@churn.example"))
		require.NoError(t, err)
		leases, err := s.Claim(t.Context(), ClaimRequest{Dest: "churn.example", Now: s.Time(), Max: 4})
		require.NoError(t, err)
		for _, l := range leases {
			require.NoError(t, s.Settle(t.Context(), l, Settlement{}))
		}
	}
	require.NotEqual(t, from, place(), "the message was moved")
}

// A message is moved to another segment while its jobs are leased, and the segment where it was is written anew: who opens it,
// the worker with the lease or another, gets its own body and no one else's. So for one job and for two, claimed from memory and
// from disk, and moved again and again.
func TestOpenAfterMove(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		rcpts  []string
		recent bool
	}{
		{"one job, from memory", []string{"a@x.example"}, true},
		{"one job, from disk", []string{"a@x.example"}, false},
		{"two jobs", []string{"a@x.example", "b@y.example"}, false},
		{"mailing", crowdOf(bulkJobs + 2), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := OpenFiles(t.TempDir(), FileOptions{SegmentSize: 16 << 10})
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			const body = "Subject: mine\r\n\r\nmine alone\r\n"
			id, err := s.Put(t.Context(), testMessage(t, body, c.rcpts...))
			require.NoError(t, err)
			if !c.recent {
				s.recent = recentList{}
			}
			dest := goniec.MustAddress(c.rcpts[0]).Domain()
			leases, err := s.Claim(t.Context(), ClaimRequest{Dest: dest, Now: s.Time()})
			require.NoError(t, err)
			require.Len(t, leases, 1)
			for round := range 3 {
				churn(t, s, id)
				for range 20 { // what was released is written anew
					_, err := s.Put(t.Context(), testMessage(t, strings.Repeat("someone else's mail ", 40), "held@other.example"))
					require.NoError(t, err)
				}
				b, err := s.Open(t.Context(), id)
				require.NoError(t, err, round)
				got, err := io.ReadAll(goniec.NewReader(b))
				require.NoError(t, err, round)
				require.Equal(t, body, string(got), round)
				require.NoError(t, b.Close())
			}
			require.NoError(t, s.Settle(t.Context(), leases[0], Settlement{}))
		})
	}
}

// crowdOf names recipients with a domain each.
func crowdOf(n int) (to []string) {
	for i := range n {
		to = append(to, fmt.Sprintf("u@d%d.example", i))
	}
	return to
}

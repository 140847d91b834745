package imap

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where the search of one mailbox has taken the last of the time, and has found what there is, the command must not say that the
// others were searched.
func TestMultiSearchTimeIsUpBetween(t *testing.T) {
	c := &conn{settings: &settings{SearchTimeout: time.Minute}}
	s := &searching{time: searchTime{c: c}} // nothing is left
	require.ErrorContains(t, c.searchAll(t.Context(), s, []string{"next"}), "search takes longer than 1m0s")
	require.NoError(t, c.searchAll(t.Context(), s, nil), "all were searched")
}

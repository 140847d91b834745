package mailbox

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemoryUIDRange: a folder that has used up its UIDs takes no more; none is given twice (I11).
func TestMemoryUIDRange(t *testing.T) {
	a := NewMemory().account("alice")
	f := a.folders["INBOX"]
	f.next = MaxUID - 1
	m := &memoryMailbox{f, f.name}
	meta, err := m.Append(t.Context(), strings.NewReader("x"), AppendOptions{})
	require.NoError(t, err)
	require.Equal(t, MaxUID-1, meta.UID)
	_, err = m.Append(t.Context(), strings.NewReader("x"), AppendOptions{})
	require.ErrorIs(t, err, ErrUIDRange)
	require.Len(t, f.msgs, 1)
}

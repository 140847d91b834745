package control

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every request but a submission is refused to others than root, the own user and Admins.
func TestAuthorize(t *testing.T) {
	stranger, admin := uint32(os.Getuid())+4711, uint32(os.Getuid())+4712
	s := &Server{Admins: []uint32{admin}}
	for _, op := range []string{"list", "show", "cat", "hold", "release", "flush", "flush-dest", "delete", "expire", "requeue", "", "nonsense"} {
		require.ErrorIs(t, s.authorize(stranger, op), ErrForbidden, op)
		for _, uid := range []uint32{0, uint32(os.Getuid()), admin} {
			require.NoError(t, s.authorize(uid, op))
		}
	}
	require.NoError(t, s.authorize(stranger, "submit"))
}

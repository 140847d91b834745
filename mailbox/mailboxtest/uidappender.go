package mailboxtest

import (
	"errors"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

func testUIDAppender(f *fixture) {
	b, other := f.inbox(), f.inbox()
	a := need[mailbox.UIDAppender](f, b.Mailbox)
	validity := b.state().UIDValidity ^ 1<<20
	add := func(validity uint32, uid mailbox.UID) error {
		meta, err := a.AppendUID(f.ctx, validity, uid, strings.NewReader(numbered(int(uid))), mailbox.AppendOptions{})
		if err == nil {
			require.Equal(f, uid, meta.UID)
			require.EqualValues(f, len(numbered(int(uid))), meta.Size)
		}
		return err
	}
	require.NoError(f, add(validity, 5), "a folder that never gave a UID takes over UIDVALIDITY")
	require.NoError(f, add(validity, 900))
	for _, bad := range []struct {
		validity uint32
		uid      mailbox.UID
		why      string
	}{
		{validity, 900, "the UID is taken"},
		{validity, 6, "below UIDNEXT"},
		{validity, 0, "no UID"},
		{validity + 1, 901, "another UIDVALIDITY"},
		{0, 901, "no UIDVALIDITY"},
	} {
		require.ErrorIs(f, add(bad.validity, bad.uid), mailbox.ErrCannot, bad.why)
	}
	require.Equal(f, []mailbox.UID{5, 900}, b.uids(), "nothing is stored of what is refused")
	require.Equal(f, numbered(5), b.read(5))
	require.EqualValues(f, 901, b.add("next", mailbox.AppendOptions{}).UID)
	require.Equal(f, validity, other.state().UIDValidity)
	require.Equal(f, []mailbox.UID{5, 900, 901}, other.uids())
	if f.lacks(LacksFolders) {
		return
	}
	// One UIDVALIDITY is one folder's: neither is it taken over twice, nor given to a new one.
	second := f.folder("second")
	_, err := need[mailbox.UIDAppender](f, second.Mailbox).AppendUID(f.ctx, validity, 1, strings.NewReader("x"), mailbox.AppendOptions{})
	require.ErrorIs(f, err, mailbox.ErrCannot, "another folder has this UIDVALIDITY")
	own := second.state().UIDValidity
	require.NotEqual(f, validity, own)
	require.Empty(f, second.uids())
	third := need[mailbox.UIDAppender](f, f.folder("third").Mailbox)
	_, err = third.AppendUID(f.ctx, own+1, 1, strings.NewReader("x"), mailbox.AppendOptions{})
	require.True(f, err == nil || errors.Is(err, mailbox.ErrCannot), "%v", err)
	seen := map[uint32]bool{validity: true, own: true, f.open("third").state().UIDValidity: true}
	seen[f.folder("fourth").state().UIDValidity] = true
	require.Len(f, seen, 4, "no two folders share a UIDVALIDITY")
}

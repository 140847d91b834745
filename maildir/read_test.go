package maildir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// mixedFolder is a folder with messages of all kinds, more than a block, and what they read as.
func mixedFolder(t *testing.T) (m mailbox.Mailbox, cur string, want []string) {
	root := fastDir(t)
	cur = filepath.Join(root, "u", "cur")
	require.NoError(t, os.MkdirAll(cur, 0o700))
	add := func(fields, file, net string) {
		name := fmt.Sprintf("%d.M1P%d.h%s:2,", 1_600_000_000+len(want), len(want), fields)
		require.NoError(t, os.WriteFile(filepath.Join(cur, name), []byte(file), 0o600))
		want = append(want, net)
	}
	lf := func(n int) (file, net string) {
		file = strings.Repeat("a line\n", n)
		return file, strings.ReplaceAll(file, "\n", "\r\n")
	}
	for i := range 40 {
		file, net := lf(i * 7)
		add(fmt.Sprintf(",S=%d,W=%d", len(file), len(net)), file, net)
		add("", file, net)                                                 // sizes must be found out
		add(fmt.Sprintf(",S=%d,W=%d", len(net), len(net)), net, net)       // kept as it came
		add(fmt.Sprintf(",S=%d,W=%d", len(file)+1, len(net)+1), file, net) // of another file
		add(fmt.Sprintf(",S=%d", len(file)), file+"\rx", net+"\rx")        // a CR alone
	}
	for _, n := range []int{8191, 8192, 8193, 9362, 9363, 20000, 200000} { // around 64 KiB in network form and in the file
		file, net := lf(n)
		add(fmt.Sprintf(",S=%d,W=%d", len(file), len(net)), file, net)
		add("", file, net)
	}
	add(",S=0,W=0", "", "")
	s := &maildir.Store{Root: root}
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, m = open(t, s, "u", "INBOX")
	return m, cur, want
}

// What is read ahead, in blocks or alone is the same; sizes and dates that were not known are known then.
func TestReadInBlocks(t *testing.T) {
	m, cur, want := mixedFolder(t)
	read := func(uids mailbox.UIDSet) (got []string) {
		for msg, err := range m.Read(t.Context(), uids) {
			require.NoError(t, err)
			text, err := io.ReadAll(goniec.NewReader(msg.Content))
			require.NoError(t, err)
			require.EqualValues(t, len(text), msg.Content.Size())
			require.Equal(t, msg.Content.Size(), msg.Size)
			require.NotZero(t, msg.Date)
			got = append(got, string(text))
			_, err = msg.Content.ReadAt(make([]byte, 1), msg.Content.Size())
			require.Equal(t, io.EOF, err)
		}
		return got
	}
	require.Equal(t, want, read(mailbox.AllUIDs()))
	var alone []string
	for i := range want {
		alone = append(alone, read(mailbox.UIDs(mailbox.UID(i+1)))...)
	}
	require.Equal(t, want, alone)
	require.Equal(t, want[10:40], read(mailbox.UIDSet{{First: 11, Last: 40}}))
	metas, state := list(t, m)
	for i, meta := range metas {
		require.EqualValues(t, len(want[i]), meta.Size)
	}
	require.Positive(t, state.Size)

	// One that is gone is an error of its own, one that can not be read too.
	names, err := os.ReadDir(cur)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(cur, names[3].Name())))
	require.NoError(t, os.Remove(filepath.Join(cur, names[9].Name())))
	require.NoError(t, os.Mkdir(filepath.Join(cur, names[9].Name()), 0o700))
	bad := make(map[mailbox.UID]error)
	n := 0
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		if n++; err != nil {
			require.NotZero(t, msg.UID)
			bad[msg.UID] = err
		}
	}
	require.LessOrEqual(t, len(bad), 2)
	require.Error(t, bad[10])
	require.GreaterOrEqual(t, n, len(want)-1)
}

// A reader who stops, or whose context ends, leaves no goroutine and no file behind (TestMain looks).
func TestReadStops(t *testing.T) {
	m, _, want := mixedFolder(t)
	for _, stop := range []int{1, 63, 64, 65, 130, len(want)} {
		n := 0
		for range m.Read(t.Context(), mailbox.AllUIDs()) {
			if n++; n == stop {
				break
			}
		}
		require.Equal(t, stop, n)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		var last error
		n = 0
		for msg, err := range m.Read(ctx, mailbox.AllUIDs()) {
			if last = err; err != nil {
				require.Zero(t, msg.UID)
			}
			if n++; n == stop {
				cancel(cause)
			}
		}
		if stop < len(want) {
			require.ErrorIs(t, last, cause)
			require.Equal(t, stop+1, n)
		}
		cancel(nil)
	}
}

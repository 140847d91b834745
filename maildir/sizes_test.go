package maildir_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// lyingNames are fields of file names whose sizes are not those of a file of n octets, which is net in network form.
func lyingNames(n, net int) (fields []string) {
	for _, w := range []string{
		fmt.Sprint(net - 1), fmt.Sprint(net + 1), fmt.Sprint(n + 1), fmt.Sprint(2*net + 70_000), "0", "-5", "",
		fmt.Sprint(1<<40 - 2), fmt.Sprint(1 << 40), "9223372036854775807", "99999999999999999999", "0x10",
	} {
		fields = append(fields, fmt.Sprintf(",S=%d,W=%s", n, w), fmt.Sprintf(",W=%s,S=%d", w, n), ",W="+w)
	}
	for _, s := range []string{fmt.Sprint(n - 1), fmt.Sprint(n + 1), "0", "-1", "", "9223372036854775807", "99999999999999999999"} {
		fields = append(fields, fmt.Sprintf(",S=%s,W=%d", s, net), ",S="+s)
	}
	return fields
}

// A name whose sizes are wrong never makes a content of another length than its Size: it is read whole, or there is an error,
// and none at the next time.
func TestWrongSizes(t *testing.T) {
	for _, lines := range []int{3, 8000, 30_000} { // in memory; around 64 KiB; a file that is read in pieces
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			t.Parallel()
			file := strings.Repeat("a line\n", lines)
			net := strings.ReplaceAll(file, "\n", "\r\n")
			root := fastDir(t)
			cur := filepath.Join(root, "u", "cur")
			require.NoError(t, os.MkdirAll(cur, 0o700))
			for i, fields := range lyingNames(len(file), len(net)) {
				name := fmt.Sprintf("%d.M1P%d.h%s:2,", 1_600_000_000+i, i, fields)
				require.NoError(t, os.WriteFile(filepath.Join(cur, name), []byte(file), 0o600))
			}
			s := &maildir.Store{Root: root}
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			_, m := open(t, s, "u", "INBOX")
			metas, _ := list(t, m)
			require.Greater(t, len(metas), 40)

			bad := readSizes(t, m, net)
			require.Less(t, bad, len(metas)/2)
			require.Zero(t, readSizes(t, m, net), "the second time all are right")
			if lines == 3 {
				require.Zero(t, bad, "small ones are right the first time")
			}
			metas, state := list(t, m)
			for _, meta := range metas {
				require.EqualValues(t, len(net), meta.Size)
			}
			require.EqualValues(t, len(net)*len(metas), state.Size)
			_, again := open(t, &maildir.Store{Root: root}, "u", "INBOX")
			require.LessOrEqual(t, readSizes(t, again, net), bad)
		})
	}
}

// readSizes reads all messages, which are net, and returns how many could not be read.
func readSizes(t *testing.T, m mailbox.Mailbox, net string) (bad int) {
	t.Helper()
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		c := msg.Content
		text, err := io.ReadAll(goniec.NewReader(c))
		require.LessOrEqual(t, int64(len(text)), c.Size())
		require.True(t, strings.HasPrefix(net, string(text)), "UID %d", msg.UID)
		if err != nil {
			require.ErrorIs(t, err, fs.ErrInvalid)
			require.True(t, goniec.Temporary(err))
			bad++
		} else {
			require.EqualValues(t, len(net), c.Size())
			require.Equal(t, len(net), len(text))
		}
		n, err := c.ReadAt(make([]byte, 100), max(c.Size()-50, 0))
		require.LessOrEqual(t, int64(n), min(c.Size(), 50), "never more than Size")
		require.Error(t, err)
	}
	return bad
}

// What somebody does to a file while it is open gives an error, or what the file was: never more octets than Size, and
// never fewer without an error.
func TestFileChangesWhileRead(t *testing.T) {
	const lines = 20_000
	for _, stored := range []string{strings.Repeat("a line\r\n", lines), strings.Repeat("a line\n\r\n", lines)} { // LF form, as it came
		for what, change := range map[string]func(path string) error{
			"grows":    func(path string) error { return appendTo(path, strings.Repeat("more\n", 30_000)) },
			"cut":      func(path string) error { return os.Truncate(path, 70_000) },
			"emptied":  func(path string) error { return os.Truncate(path, 0) },
			"removed":  os.Remove,
			"replaced": func(path string) error { return replace(path, "Subject: another\n\nof somebody else\n") },
		} {
			root := fastDir(t)
			s := &maildir.Store{Root: root}
			_, m := open(t, s, "u", "INBOX")
			meta, err := m.Append(t.Context(), strings.NewReader(stored), mailbox.AppendOptions{})
			require.NoError(t, err)
			files, err := filepath.Glob(filepath.Join(root, "u", "cur", "*"))
			require.NoError(t, err)
			require.Len(t, files, 1)
			for msg, err := range m.Read(t.Context(), mailbox.UIDs(meta.UID)) {
				require.NoError(t, err)
				r := goniec.NewReader(msg.Content)
				head := make([]byte, 1000)
				_, err = io.ReadFull(r, head)
				require.NoError(t, err)
				require.NoError(t, change(files[0]))
				rest, err := io.ReadAll(r)
				text := string(head) + string(rest)
				require.True(t, strings.HasPrefix(stored, text), what)
				if len(text) < len(stored) {
					require.ErrorIs(t, err, fs.ErrInvalid, what)
				}
				require.Equal(t, what == "cut" || what == "emptied", err != nil, what)
			}
		}
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func replace(path, text string) error {
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

package maildir

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// readerFile is a file that can only be read.
type readerFile struct {
	faultfs.File
	r io.ReaderAt
}

func (f readerFile) ReadAt(p []byte, off int64) (int, error) { return f.r.ReadAt(p, off) }

// FuzzNetForm: a small message that is converted at once reads as a large one that is converted piece by piece.
func FuzzNetForm(f *testing.F) {
	for _, s := range []string{"", "\n", "a\nb", "a\r\nb\n", "\r\n\n\r", "\n\n\r\r\n", "a\r"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		net := appendNetForm(nil, file)
		require.Len(t, net, len(file)+loneLFs(file))
		c := newContent(nil, int64(len(net)), formLF)
		c.file = readerFile{r: bytes.NewReader(file)}
		got, err := io.ReadAll(goniec.NewReader(c))
		require.NoError(t, err)
		require.Equal(t, string(net), string(got))
	})
}

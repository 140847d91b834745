package mailbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/mbox"
)

// corpusFile is a message of the corpora.
type corpusFile struct {
	name string
	text []byte
}

// corpusFiles returns every file of every corpus, whatever its name, for any octets must come back: as it is, and in network
// form, which stores keep in a form of their own.
func corpusFiles(t *testing.T) (all []corpusFile) {
	add := func(name string, text []byte) {
		all = append(all, corpusFile{name, text})
		lf := bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		if network := bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")); !bytes.Equal(network, text) {
			all = append(all, corpusFile{name + " (CRLF)", network})
		}
	}
	root := peertest.Corpora(t)
	perFolder := make(map[string]int)
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		add(name, text)
		perFolder[filepath.Dir(name)]++
		return err
	}))
	require.NotEmpty(t, all)
	t.Logf("%d messages from %d folders", len(all), len(perFolder))
	return all
}

// keptStores are those that messages are appended to, over a file system in memory.
func keptStores() map[string]func() mailbox.Store {
	stores := map[string]func() mailbox.Store{
		"memory":       func() mailbox.Store { return mailbox.NewMemory() },
		"maildir":      func() mailbox.Store { return &maildir.Store{Root: "/mail", FS: faultfs.NewCrash(1)} },
		"maildir CRLF": func() mailbox.Store { return &maildir.Store{Root: "/mail", FS: faultfs.NewCrash(1), CRLF: true} },
	}
	for d := mbox.MboxRD; d < mbox.Auto; d++ {
		stores[d.String()] = func() mailbox.Store {
			return &mbox.Store{Root: "/mail/{user}", FS: faultfs.NewCrash(1), Dialect: d}
		}
	}
	return stores
}

// TestF07_Corpora: every message of the corpora comes back octet by octet from every store and in every dialect, read as
// a whole and at places, and its size is right.
func TestF07_Corpora(t *testing.T) {
	t.Parallel()
	files := corpusFiles(t)
	for name, open := range keptStores() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := convertAccount(t, open())
			m, err := a.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			for chunk := range slices.Chunk(files, 100) {
				_, err := mailbox.AppendAll(t.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
					for _, f := range chunk {
						if !yield(mailbox.NewMessage{Msg: bytes.NewReader(f.text)}, nil) {
							return
						}
					}
				})
				require.NoError(t, err)
			}
			requireCorpus(t, m, files)
		})
	}
	t.Run("source", func(t *testing.T) {
		a := convertAccount(t, &mailbox.SourceStore{Source: corpusSource(files)})
		m, err := a.Open(t.Context(), "INBOX")
		require.NoError(t, err)
		requireCorpus(t, m, files)
	})
	t.Run("mbox read-only", func(t *testing.T) { // as files of other programs are read
		for d := mbox.MboxRD; d < mbox.Auto; d++ {
			disk := faultfs.NewCrash(1)
			var file bytes.Buffer
			w := mbox.NewWriter(&file, d)
			for _, f := range files {
				_, err := w.Write(t.Context(), mbox.FromLine{}, bytes.NewReader(f.text))
				require.NoError(t, err)
			}
			dir, err := disk.OpenDir("/")
			require.NoError(t, err)
			require.NoError(t, faultfs.WriteFile(dir, "ann", file.Bytes(), 0o600))
			require.NoError(t, dir.Close())
			a := convertAccount(t, &mbox.Store{Inbox: "/{user}", FS: disk, Dialect: d, ReadOnly: true})
			m, err := a.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			requireCorpusHeaders(t, m, files)
		}
	})
}

func requireCorpus(t *testing.T, m mailbox.Mailbox, files []corpusFile) {
	t.Helper()
	i := 0
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		want := files[i]
		require.EqualValues(t, len(want.text), msg.Content.Size(), want.name)
		got, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err, want.name)
		require.True(t, bytes.Equal(want.text, got), want.name)
		for _, at := range []int{0, 1, len(got) / 3, len(got) / 2, len(got) - 1} {
			if at = max(at, 0); at >= len(got) {
				continue
			}
			b := make([]byte, min(40, len(got)-at))
			n, err := msg.Content.ReadAt(b, int64(at))
			require.True(t, err == nil || err == io.EOF && n == len(b), "%s: %v", want.name, err)
			require.True(t, bytes.Equal(b, want.text[at:at+len(b)]), "%s at %d", want.name, at)
		}
		i++
	}
	require.Equal(t, len(files), i)
}

// requireCorpusHeaders is requireCorpus for a file that is taken for another program's: fields that belong to the file are not
// shown there.
func requireCorpusHeaders(t *testing.T, m mailbox.Mailbox, files []corpusFile) {
	t.Helper()
	i := 0
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		got, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		if want := files[i]; !hasStatusField(want.text) {
			require.True(t, bytes.Equal(want.text, got), want.name)
		}
		i++
	}
	require.Equal(t, len(files), i)
}

func hasStatusField(text []byte) bool {
	lower := bytes.ToLower(text[:min(len(text), 64<<10)])
	for _, name := range []string{"status:", "x-keywords:", "x-uid:", "x-imap", "content-length:"} {
		if bytes.Contains(lower, []byte(name)) {
			return true
		}
	}
	return false
}

// corpusSource is a Source of the files.
type corpusSource []corpusFile

func (s corpusSource) Folders(context.Context, string) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) { yield(mailbox.Info{Name: "INBOX"}, nil) }
}

func (s corpusSource) List(context.Context, string, string) iter.Seq2[mailbox.Item, error] {
	return func(yield func(mailbox.Item, error) bool) {
		for i := range s {
			if !yield(mailbox.Item{Key: fmt.Sprint(i), Size: -1}, nil) {
				return
			}
		}
	}
}

func (s corpusSource) Read(_ context.Context, _, _, key string) (goniec.Content, error) {
	var i int
	_, err := fmt.Sscan(key, &i)
	return bytes.NewReader(s[i].text), err
}

func (corpusSource) SetFlags(context.Context, string, string, string, mailbox.FlagList) error {
	return mailbox.ErrReadOnly
}
func (corpusSource) Notify(context.Context, string) <-chan struct{} { return nil }

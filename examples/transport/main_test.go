package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/queue"
)

// awayOnce is a folder that fails at first, as one on a server that is away.
type awayOnce struct {
	faultfs.Dir
	failed bool
}

func (d *awayOnce) Create(name string, perm fs.FileMode) (faultfs.File, error) {
	if !d.failed {
		d.failed = true
		return nil, errors.New("stale file handle")
	}
	return d.Dir.Create(name, perm)
}

func (d *awayOnce) Rename(name string, _ faultfs.Dir, newName string) error {
	return d.Dir.Rename(name, d.Dir, newName)
}

func TestFolder(t *testing.T) {
	path := t.TempDir()
	real, err := faultfs.OS{}.OpenDir(path)
	require.NoError(t, err)
	defer real.Close()
	dir := &awayOnce{Dir: real}
	store, err := queue.OpenFiles(t.TempDir(), queue.FileOptions{})
	require.NoError(t, err)
	defer store.Close()
	delivered, deferred := make(chan queue.Event, 1), make(chan queue.Event, 10)
	q := &queue.Queue{Store: store, Deliverer: folder{dir}, Hostname: "fax.test", MinBackoff: 1, MaxBackoff: 1, Event: func(e queue.Event) {
		switch e.Kind {
		case queue.Delivered:
			delivered <- e
		case queue.Deferred:
			select {
			case deferred <- e:
			default:
			}
		}
	}}
	go q.Run(t.Context())
	defer q.Close()
	env := &goniec.Envelope{ID: goniec.NewID(), To: []goniec.Recipient{{Address: goniec.MustAddress(`"../48123"@fax.test`)}}}
	require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader("Subject: x\r\n\r\nx\r\n")))
	<-deferred // the folder is away: the message waits
	e := <-delivered
	text, err := os.ReadFile(filepath.Join(path, string(e.ID)+"-48123"))
	require.NoError(t, err)
	require.Equal(t, "Subject: x\r\n\r\nx\r\n", string(text))
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "fax")
	store, err := queue.OpenFiles(t.TempDir(), queue.FileOptions{})
	require.NoError(t, err)
	defer store.Close()
	delivered, deferred := make(chan queue.Event, 1), make(chan queue.Event, 10)
	q := &queue.Queue{Store: store, Deliverer: folder(dir), Hostname: "fax.test", MinBackoff: 1, MaxBackoff: 1, Event: func(e queue.Event) {
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
	<-deferred // the folder is not there: the message waits
	require.NoError(t, os.Mkdir(dir, 0o700))
	e := <-delivered
	text, err := os.ReadFile(filepath.Join(dir, string(e.ID)+"-48123"))
	require.NoError(t, err)
	require.Equal(t, "Subject: x\r\n\r\nx\r\n", string(text))
}

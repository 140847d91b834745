package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// What the command line says when it can not do what somebody asks: what failed, on what, why, and what to do.
func TestQueueCommandTexts(t *testing.T) {
	data := t.TempDir()
	var ids []string
	with := func(f func(q *queue.Queue)) {
		store, err := queue.OpenFiles(filepath.Join(data, "queue"), queue.FileOptions{})
		require.NoError(t, err)
		defer store.Close()
		f(&queue.Queue{Store: store})
	}
	with(func(q *queue.Queue) {
		for range 3 {
			env := &goniec.Envelope{To: goniec.Recipients(goniec.MustAddress("b@x.example"))}
			id, err := q.Enqueue(t.Context(), env, strings.NewReader("Subject: x\r\n\r\n"), queue.Options{})
			require.NoError(t, err)
			ids = append(ids, string(id))
		}
	})
	run := func(args ...string) error {
		return queueCommand(context.Background(), append(args, "-data", data), io.Discard, io.Discard) // flags behind the IDs work too
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"show", "ALL"}, []string{"queue show tells of one message", "queue list"}},
		{[]string{"cat", "ALL"}, []string{"queue cat prints one message"}},
		{[]string{"delete", "ALL"}, []string{"queue delete ALL can not be undone", "queue delete ALL -yes"}},
		{[]string{"expire", "ALL"}, []string{"queue expire ALL -yes"}},
		{[]string{"hold", "ALL", ids[0]}, []string{"queue hold: name messages or ALL, not both"}},
		{[]string{"hold"}, []string{"queue hold: which message?", "queue list"}},
		{[]string{"hold", "000000000001"}, []string{"queue hold: message 000000000001: no such message", "queue list"}},
		{[]string{"show", "nonsense"}, []string{"queue show: message nonsense: no such message"}},
		{[]string{"list", ids[0]}, []string{"queue list takes no ID", "queue show " + ids[0]}},
		{[]string{"flush", ids[0], "-dest", "x.example"}, []string{"not both"}},
		{[]string{"submit"}, []string{"queue submit: ", "name recipients", "-t"}},
		{[]string{"lst"}, []string{`there is no verb "lst"`}},
		{[]string{"list", "-control", filepath.Join(data, "none.sock")}, []string{"queue list: control socket", "none.sock", "is the server running"}},
	} {
		err := run(c.args...)
		require.Error(t, err, c.args)
		for _, want := range c.want {
			require.ErrorContains(t, err, want)
		}
		require.NotContains(t, err.Error(), "\n")
	}
	require.NoError(t, run("hold", ids[0]))
	err := run("delete", ids[0], "000000000001", ids[1])
	require.ErrorIs(t, err, queue.ErrNotFound, "and the others are deleted")
	with(func(*queue.Queue) {
		err := run("list")
		var owned *queue.OwnedError
		require.ErrorAs(t, err, &owned)
		require.ErrorContains(t, err, "wait for its end, or stop it")
	})
	require.NoError(t, run("delete", "ALL", "-yes"))
	with(func(q *queue.Queue) {
		for e := range q.List(t.Context(), queue.Filter{}) {
			t.Errorf("%s is left", e.ID)
		}
	})
	if os.Getuid() == 0 {
		return // who may do everything
	}
	require.NoError(t, os.Chmod(filepath.Join(data, "queue"), 0))
	defer os.Chmod(filepath.Join(data, "queue"), 0o700)
	require.ErrorContains(t, run("list"), "run it as the user of the server, or as root")
}

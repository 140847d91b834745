package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/queue"
)

// The command line looks after the queue of a running server, and of one that is stopped.
func TestQueueVerbs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, "-hold")
	data := filepath.Join(dir, "goniec-demo")
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: one\r\n\r\nx"))
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "bob@demo.test", "Subject: two\r\n\r\nx"))
	do := func(args ...string) string {
		var out bytes.Buffer
		verb := append([]string{args[0], "-data", data}, args[1:]...)
		require.NoError(t, queueCommand(t.Context(), verb, &out, io.Discard))
		return out.String()
	}
	for range 2 { // with the server, then without
		list := do("list")
		require.Contains(t, list, "alice@demo.test")
		require.Regexp(t, `(?m)^-- \d+ Kbytes in 2 Requests\.$`, list)
		lines := strings.Split(strings.TrimSpace(do("list", "-json")), "\n")
		require.Len(t, lines, 2)
		var entry struct {
			ID string `json:"queue_id"`
		}
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &entry))
		require.Contains(t, do("cat", entry.ID), "Subject: one")
		require.Contains(t, do("show", entry.ID), "alice@demo.test")
		require.Contains(t, do("show", entry.ID), `"kind": "queued"`)
		do("hold", entry.ID)
		require.Contains(t, do("list"), entry.ID+"!")
		do("release", "ALL")
		require.NotContains(t, do("list"), "!")
		do("flush")
		if p.cmd.ProcessState == nil {
			p.interrupt(t)
		}
	}
	require.ErrorContains(t, queueCommand(t.Context(), []string{"delete", "-data", data, "ALL"}, io.Discard, io.Discard), "-yes")
	var entry struct {
		ID string `json:"queue_id"`
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(do("list", "-json"))).Decode(&entry))
	do("delete", "-yes", "ALL")
	require.Contains(t, do("list"), "empty")
	var gone shown
	require.NoError(t, json.Unmarshal([]byte(do("show", entry.ID)), &gone))
	require.Nil(t, gone.Entry)
	require.Equal(t, queue.Queued, gone.Past[0].Kind)
	require.Equal(t, queue.Removed, gone.Past[len(gone.Past)-1].Kind)
	require.ErrorIs(t, queueCommand(t.Context(), []string{"show", "-data", data, "000000000000"}, io.Discard, io.Discard), queue.ErrNotFound)
	require.ErrorContains(t, queueCommand(t.Context(), []string{"list", "-data", dir + "/none"}, io.Discard, io.Discard), "no queue here")
	require.Error(t, queueCommand(t.Context(), []string{"dance", "-data", data}, io.Discard, io.Discard))
	require.Error(t, queueCommand(t.Context(), nil, io.Discard, io.Discard))
}

// Mail is submitted by command, tried by domain, sent another way, and given up; through a socket elsewhere, which the command finds.
func TestQueueSubmit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket := filepath.Join(dir, "c.sock")
	p := start(t, dir, "-hold", "-control", socket)
	data := filepath.Join(dir, "goniec-demo")
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o666), info.Mode().Perm())
	for range 2 { // with the server, then without
		var out bytes.Buffer
		require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", data}, &out, io.Discard))
		hands, closer, err := handsOn(data, "")
		require.NoError(t, err)
		for _, c := range []struct {
			s         submission
			in        string
			to        []string
			from, msg string // a pattern
			err       string
		}{
			{
				s:  submission{from: "bob@demo.test", rcpts: []string{"a@later.test", "a@later.test"}},
				in: "Subject: x\nDate: today\n\nbody\n.\nnot this\n", to: []string{"a@later.test"}, from: "bob@demo.test",
				msg: `^Subject: x\r\nDate: today\r\nFrom: bob@demo.test\r\nMessage-ID: <\S+>\r\n\r\nbody\r\n$`,
			},
			{
				s:  submission{from: "<>", fromTo: true, dots: true, rcpts: []string{"d@gone.test"}},
				in: "To: A <a@gone.test>,\r\n b@gone.test\r\nBcc: c@gone.test\r\nFrom: x@y.example\r\n\r\n.\r\nlast", to: []string{"d@gone.test", "a@gone.test", "b@gone.test", "c@gone.test"},
				msg: `^To: A <a@gone.test>,\r\n b@gone.test\r\nFrom: x@y.example\r\nDate: .*\r\nMessage-ID: .*\r\n\r\n\.\r\nlast$`,
			},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "no header at all: really\n", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `(?s)\r\n\r\nno header at all: really\r\n$`},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `\r\n\r\n$`},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: ".\nx\n", to: []string{"a@gone.test"}, from: "bob@demo.test", msg: `(?s)\r\n\r\n$`},
			{s: submission{from: "bob@demo.test"}, err: "to whom"},
			{s: submission{from: "bob@demo.test", rcpts: []string{"bad"}}, err: `recipient "bad"`},
			{s: submission{from: "bad"}, err: `-f "bad"`},
			{s: submission{from: "bob@demo.test", fromTo: true}, in: "To: <a\n\n", err: "field To"},
			{s: submission{from: "bob@demo.test", rcpts: []string{"a@gone.test"}}, in: "X: " + strings.Repeat("x", maxSubmitHeader), err: "larger"},
		} {
			id, err := c.s.send(t.Context(), hands, strings.NewReader(c.in))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				continue
			}
			require.NoError(t, err, c.in)
			e, err := hands.Show(t.Context(), id)
			require.NoError(t, err)
			var to []string
			for _, r := range e.Envelope.To {
				to = append(to, r.Address.String())
			}
			require.Equal(t, c.to, to)
			require.Equal(t, c.from, e.Envelope.From.String())
			require.Regexp(t, `^uid:\d+$`, e.Envelope.Origin.User)
			var msg bytes.Buffer
			require.NoError(t, hands.Cat(t.Context(), id, &msg))
			require.Regexp(t, c.msg, msg.String())
		}
		require.NoError(t, closer.Close())
		do := func(args ...string) error {
			return queueCommand(t.Context(), append([]string{args[0], "-data", data}, args[1:]...), io.Discard, io.Discard)
		}
		require.NoError(t, do("requeue", "ALL"))
		require.NoError(t, do("flush", "-dest", "later.test"))
		require.Error(t, do("flush", "-dest", "later.test", "ALL"))
		require.ErrorContains(t, do("expire", "ALL"), "-yes")
		require.NoError(t, do("expire", "-yes", "ALL"))
		out.Reset()
		require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", data, "-json"}, &out, io.Discard))
		require.NotContains(t, out.String(), "gone.test", "given up")
		require.Contains(t, out.String(), `"sender":""`, "with a report")
		require.NoError(t, do("delete", "-yes", "ALL"))
		require.ErrorContains(t, queueCommand(t.Context(), []string{"list", "-control", filepath.Join(dir, "none")}, io.Discard, io.Discard), "is the server running")
		require.ErrorIs(t, queueCommand(t.Context(), []string{"help"}, io.Discard, io.Discard), flag.ErrHelp)
		if p.cmd.ProcessState == nil {
			p.interrupt(t)
		}
	}
}

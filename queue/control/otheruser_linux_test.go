package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

// asStranger is set in the process that plays another user; its value is the socket.
const asStranger = "GONIEC_TEST_CONTROL"

// TestStranger is what the other user does. It runs in a process of its own.
func TestStranger(t *testing.T) {
	path := os.Getenv(asStranger)
	if path == "" {
		t.Skip("played by TestOtherUser only")
	}
	c, ctx := &control.Client{Path: path}, t.Context()
	id, err := c.Enqueue(ctx, envelope(t, "me@example.org", "a@x.example"), strings.NewReader(body), queue.Options{Hold: true})
	require.NoError(t, err)
	fmt.Printf("submitted %s as %d\n", id, os.Getuid())
	refused := map[string]error{
		"cat": c.Cat(ctx, id, io.Discard), "hold": c.Hold(ctx, id), "release": c.Release(ctx, id), "flush": c.Flush(ctx, id),
		"flush-dest": c.FlushDest(ctx, ""), "delete": c.Delete(ctx, id), "expire": c.Expire(ctx, id), "requeue": c.Requeue(ctx, id),
	}
	_, refused["show"] = c.Show(ctx, id)
	for _, err := range c.List(ctx, queue.Filter{}) {
		refused["list"] = err
	}
	require.Len(t, refused, 10)
	for op, err := range refused {
		require.ErrorIs(t, err, control.ErrForbidden, op)
	}
	_, err = c.Enqueue(ctx, envelope(t, "me@example.org", "a@x.example"), strings.NewReader(strings.Repeat("x", 2000)), queue.Options{})
	var s *goniec.Status
	require.True(t, errors.As(err, &s))
	require.Equal(t, 552, s.Code)
}

// The kernel tells who is at the other end: another user may submit, under his own name, and nothing else.
func TestOtherUser(t *testing.T) {
	peertest.Root(t, "another user")
	const nobody = 65534
	dir, err := os.MkdirTemp("", "control") // he must be able to enter it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "test"), program, 0o755))
	path := filepath.Join(dir, "socket")
	l, err := control.Listen(path)
	require.NoError(t, err)
	q := &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard()}
	s := &control.Server{Queue: q, MaxMessageBytes: 1000}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Shutdown(context.Background()))
		require.ErrorIs(t, <-done, control.ErrServerClosed)
	})

	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run", "^TestStranger$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), asStranger+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), fmt.Sprintf(" as %d\n", nobody))
	n := 0
	for e, err := range q.List(t.Context(), queue.Filter{}) {
		require.NoError(t, err)
		require.Contains(t, string(out), "submitted "+string(e.ID))
		require.Equal(t, fmt.Sprintf("uid:%d", nobody), e.Envelope.Origin.User)
		n++
	}
	require.Equal(t, 1, n)
}

package imap_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// client is a raw session for tests that dialogues do not fit.
type client struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
	n int
}

func dial(t testing.TB, addr string) *client {
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(3*time.Minute))) // so that a hang is told, on a slow machine too
	c := newClient(t, nc)
	c.line()
	return c
}

func newClient(t testing.TB, nc net.Conn) *client {
	return &client{Conn: nc, r: bufio.NewReader(nc), t: t}
}

// login dials and logs in.
func login(t testing.TB, addr string) *client {
	c := dial(t, addr)
	c.ok("LOGIN alice secret")
	return c
}

// line reads a line with the literals in it.
func (c *client) line() string {
	l, err := c.read()
	require.NoError(c.t, err, "after %q", l)
	return l
}

// read is line for a connection that may end.
func (c *client) read() (string, error) {
	var out strings.Builder
	for {
		s, err := c.r.ReadString('\n')
		out.WriteString(s)
		if err != nil {
			return out.String(), err
		}
		var n int64
		if i := strings.LastIndexByte(s, '{'); i < 0 || !strings.HasSuffix(s, "}\r\n") {
			return out.String(), nil
		} else if _, err := fmt.Sscanf(s[i:], "{%d}", &n); err != nil {
			return out.String(), nil
		}
		if _, err = io.CopyN(&out, c.r, n); err != nil {
			return out.String(), err
		}
	}
}

// do runs a command and returns its untagged responses and the tagged one without its tag.
func (c *client) do(command string) (untagged []string, tagged string) {
	c.n++
	tag := fmt.Sprintf("t%d ", c.n)
	_, err := io.WriteString(c, tag+command+"\r\n")
	require.NoError(c.t, err)
	for {
		l := c.line()
		if rest, ok := strings.CutPrefix(l, tag); ok {
			return untagged, strings.TrimSpace(rest)
		}
		untagged = append(untagged, l)
	}
}

func (c *client) ok(command string) []string {
	untagged, tagged := c.do(command)
	require.True(c.t, strings.HasPrefix(tagged, "OK"), "%.60s: %s", command, tagged)
	return untagged
}

// heapGrowth measures how much the heap has grown by f at its end, after a collection.
func heapGrowth(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

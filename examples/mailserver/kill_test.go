package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// SIGKILL during concurrent deliveries loses nothing that was acknowledged, and leaves nothing half written in new/.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cycles := 2
	if peertest.LongForm() {
		cycles = 20
	}
	ledger := &ledger{}
	for range cycles {
		killCycle(t, dir, ledger)
	}
	require.NotEmpty(t, ledger.acked)
	start(t, dir) // what the queue holds is delivered at the next start
	var found map[string]bool
	require.Eventually(t, func() bool {
		found = stored(t, filepath.Join(dir, "goniec-demo/mail/demo.test"))
		for _, id := range ledger.acked {
			if !found[id] {
				return false
			}
		}
		return true
	}, time.Minute, 100*time.Millisecond, "a message was acknowledged and is lost")
	t.Logf("%d acknowledged, %d found, 0 lost", len(ledger.acked), len(found))
}

// postmasterNotice begins the Subject of what the server itself tells the postmaster.
const postmasterNotice = "\nSubject: Postmaster notice: "

// stored returns the ids of the messages in the Maildirs below dir, all of which must be whole.
func stored(t *testing.T, dir string) map[string]bool {
	found := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(dir, "*", "[nc][eu][wr]", "*"))
	require.NoError(t, err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		if bytes.Contains(b, []byte(postmasterNotice)) {
			continue
		}
		require.True(t, bytes.HasSuffix(b, []byte("the end\n")), "%s is not whole", f)
		if m := regexp.MustCompile(`(?m)^X-Id: (\S+)$`).FindSubmatch(b); m != nil {
			found[string(m[1])] = true
		}
	}
	return found
}

// ledger remembers what was acknowledged.
type ledger struct {
	mu    sync.Mutex
	n     int
	acked []string
}

func (l *ledger) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return fmt.Sprintf("m%d", l.n)
}

func (l *ledger) ack(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, id)
	return len(l.acked)
}

// killCycle sends from 16 connections, and kills the server in the middle of 1,000 deliveries.
func killCycle(t *testing.T, dir string, ledger *ledger) {
	p := start(t, dir)
	before := len(ledger.acked)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 1000 / 16 {
				id := ledger.next()
				if !deliverOnce(p.addrs["receive smtp"], []string{"alice", "bob"}[i%2], id) {
					return
				}
				if ledger.ack(id)-before == 500 {
					_ = p.cmd.Process.Signal(syscall.SIGKILL)
				}
			}
		})
	}
	wg.Wait()
	_ = p.cmd.Process.Kill() // if it still runs, most of the senders gave up
	p.done <- <-p.done
	require.GreaterOrEqual(t, len(ledger.acked)-before, 500)
}

// deliverOnce reports whether the message was acknowledged.
func deliverOnce(addr, user, id string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Minute)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	reply := func() string {
		for {
			line, err := r.ReadString('\n')
			if err != nil || len(line) < 4 {
				return ""
			}
			if line[3] == ' ' {
				return line
			}
		}
	}
	reply()
	for _, step := range []string{
		"EHLO test\r\n", "MAIL FROM:<you@example.org>\r\n", "RCPT TO:<" + user + "@demo.test>\r\n", "DATA\r\n",
		"X-Id: " + id + "\r\n\r\n" + strings.Repeat("line\r\n", 300) + "the end\r\n.\r\n",
	} {
		if _, err := io.WriteString(c, step); err != nil {
			return false
		}
		if got := reply(); got == "" || got[0] > '3' {
			return false
		}
	}
	return true
}

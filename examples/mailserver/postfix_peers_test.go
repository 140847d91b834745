package main

import (
	"fmt"
	"net"
	netsmtp "net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// Postfix as the sender: it takes mail for demo.test and relays it to our server through its own queue, believes the reply about each
// recipient, waits while we are down, and returns what we refused to a user of ours.
func TestPeerPostfixSends(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "postfix")
	addr := peertest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	postfix := peertest.NewPostfix(t, fmt.Sprintf(`myhostname = out.example.org
local_recipient_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:%s
smtp_tls_security_level = may
smtpd_relay_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1s
queue_run_delay = 1s
smtp_connection_cache_on_demand = no
`, port))
	dir := t.TempDir()
	inject := func(n int, to ...string) {
		text := fmt.Sprintf("From: alice@demo.test\r\nTo: list@demo.test\r\nSubject: number %d\r\n\r\n.dot\r\nFrom here on\r\n", n)
		require.NoError(t, netsmtp.SendMail(postfix.Addr, nil, "alice@demo.test", to, []byte(text)))
	}

	inject(0, "bob@demo.test") // we are not there yet
	require.Eventually(t, func() bool { return strings.Contains(postfix.Queue(), "refused") }, time.Minute, 50*time.Millisecond)
	p := start(t, dir, "-smtp", addr)
	postfix.Flush()
	arrived(t, p, "bob", 1)

	const messages = 30
	for i := range messages {
		inject(1+i, "alice@demo.test", "bob@demo.test", "nobody@demo.test")
	}
	arrived(t, p, "bob", 1+messages)
	arrived(t, p, "alice", 2*messages)  // and the bounces for nobody
	require.Eventually(t, func() bool { // what was delivered is not in our queue any more: it would come twice
		return strings.Count(p.out.String(), `text="delivered `) >= 1+3*messages
	}, time.Minute, 10*time.Millisecond)
	p.interrupt(t)
	inject(100, "bob@demo.test")
	require.Eventually(t, func() bool { return strings.Contains(postfix.Queue(), "bob@demo.test") }, time.Minute, 50*time.Millisecond)
	p = start(t, dir, "-smtp", addr)
	arrived(t, p, "bob", 2+messages)
	require.Eventually(t, func() bool { return postfix.Queue() == "" }, time.Minute, 50*time.Millisecond)

	subjects := func(user string) map[string]int {
		count := map[string]int{}
		files, err := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail/demo.test", user, "[nc][eu][wr]", "*"))
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			header, body, _ := strings.Cut(string(text), "\n\n")
			for line := range strings.Lines(header) {
				if s, ok := strings.CutPrefix(line, "Subject: "); ok {
					count[strings.TrimSpace(s)]++
				}
			}
			if strings.Contains(header, "number ") {
				require.Equal(t, ".dot\nFrom here on\n", body)
				require.Contains(t, header, "SMTPS (TLS1.3 ", "by STARTTLS")
			} else {
				require.Contains(t, body, "550 5.1.1", "our refusal, in Postfix's report")
				require.Contains(t, header, "Return-Path: <>")
			}
		}
		return count
	}
	bob, alice := subjects("bob"), subjects("alice")
	require.Len(t, bob, messages+2)
	require.Equal(t, messages, alice["Undelivered Mail Returned to Sender"])
	require.Len(t, alice, messages+1)
	for s, n := range bob {
		require.Equal(t, 1, n, "%s came twice", s)
	}
}

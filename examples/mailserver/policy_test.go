package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Who submits sends as himself, an address extension included (553 5.7.1); on the port for other servers nobody is asked.
func TestSubmissionSender(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	login := "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ=="
	for from, want := range map[string]string{
		"alice@demo.test": "250", "Alice@Demo.TEST": "250", "alice+shop@demo.test": "250", "": "250",
		"bob@demo.test": "553 5.7.1", "nobody@demo.test": "553 5.7.1", "you@example.org": "553 5.7.1", "alice@later.test": "553 5.7.1", "alice@demo.test.example": "553 5.7.1",
	} {
		r := dialogue(t, p.addrs["submit smtp"], "EHLO test", login, "MAIL FROM:<"+from+">")
		require.True(t, strings.HasPrefix(r[2], want), "%s: %s", from, r[2])
		r = dialogue(t, p.addrs["receive smtp"], "EHLO test", "MAIL FROM:<"+from+">")
		require.True(t, strings.HasPrefix(r[1], "250"), "%s: %s", from, r[1])
	}
}

// RFC 5321 §4.5.1: mail to postmaster, with our domains and without one, arrives in a mailbox.
func TestPostmasterIsReachable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("zoe@own.test:{PLAIN}secret\n"), 0o600))
	for _, c := range []struct {
		args   []string
		domain string
		box    string
	}{
		{nil, "demo.test", "demo.test/alice"},
		{[]string{"-postmaster", "bob@demo.test"}, "demo.test", "demo.test/bob"},
		{[]string{"-users", users, "-domains", "own.test,other.test"}, "other.test", "o*.test/postmaster"},
		{[]string{"-users", users, "-domains", "own.test,other.test", "-postmaster", "zoe@own.test"}, "other.test", "own.test/zoe"},
	} {
		p := start(t, t.TempDir(), c.args...)
		for _, service := range []string{"receive smtp", "deliver lmtp"} {
			hello := map[string]string{"receive smtp": "EHLO test", "deliver lmtp": "LHLO test"}[service]
			for _, to := range []string{"Postmaster", "postmaster@" + c.domain} {
				r := dialogue(t, p.addrs[service], hello, "MAIL FROM:<>", "RCPT TO:<"+to+">", "DATA", "Subject: x\r\n\r\nx\r\n.")
				require.Regexp(t, "^250 ", r[4], "%s by %s", to, service)
			}
		}
		require.Eventually(t, func() bool {
			files, _ := filepath.Glob(filepath.Join(p.dir, "goniec-demo/mail", c.box, "new", "*"))
			return len(files) == 4
		}, time.Minute, 10*time.Millisecond, "%v", c.args)
		p.interrupt(t)
	}
}

// S16: forms in which relays were tricked; none may reach an outside recipient.
func TestS16_NoOpenRelay(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	us, far := "demo.test", "far.example"
	for _, from := range []string{"", "you@" + us, "postmaster@localhost", "x@[127.0.0.1]", "you@" + far} {
		lines := []string{"EHLO test", "MAIL FROM:<" + from + ">"}
		forms := []string{
			"u@" + far, "u%" + far + "@" + us, far + "!u@" + us, `"u@` + far + `"`, `"u@` + far + `"@` + us, "@" + us + ":u@" + far, "@" + us + ",@b.example:u@" + far,
			"u@" + far + "@" + us, "u@[127.0.0.1]", "u%" + far + "@[127.0.0.1]", "u@[" + far + "]", far + "!u", "u%" + far, `"u%` + far + `"@` + us, "u@" + us + "@" + far,
			"alice@" + us + "." + far, "alice@" + us + "%" + far, "u@localhost", "u%" + far + "@localhost", "\"alice@" + us + "\"@" + far, "u@" + us + ":" + far,
		}
		for _, f := range forms {
			lines = append(lines, "RCPT TO:<"+f+">")
		}
		for i, reply := range dialogue(t, p.addrs["receive smtp"], lines...)[2:] {
			require.Regexp(t, `^5\d\d 5\.`, reply, "RCPT TO:<%s> from <%s>", forms[i], from)
		}
	}
}

// S17: a message that went round too often is refused, and so is one that was here before.
func TestS17_Loops(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	hops := strings.Repeat("Received: by x; Thu, 1 Jan 2026 00:00:00 +0000\r\n", 100)
	require.Regexp(t, "^554 5.4.6", send(t, p.addrs["receive smtp"], "alice@demo.test", hops+"Received: once more\r\n\r\nx"))
	r := dialogue(t, p.addrs["deliver lmtp"], "LHLO test", "MAIL FROM:<you@example.org>", "RCPT TO:<alice@demo.test>", "DATA", "Delivered-To: alice@demo.test\r\n\r\nx\r\n.")
	require.Regexp(t, "^554 5.4.6", r[4])
	require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", hops[:len(hops)/2]+"\r\nx"))
}

// S19: a thousand unknown recipients are refused at RCPT, and the session survives them.
func TestS19_UnknownRecipients(t *testing.T) {
	t.Parallel()
	p := start(t, t.TempDir())
	lines := []string{"EHLO test", "MAIL FROM:<you@example.org>"}
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("RCPT TO:<nobody%d@demo.test>", i))
	}
	for _, reply := range dialogue(t, p.addrs["receive smtp"], lines...)[2:] {
		require.Regexp(t, "^550 5.1.1", reply)
	}
}

// Promises about time and priority are offered to users, not to strangers, and kept: a held message waits.
func TestSubmissionPromises(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	dial := func(service string) (*textproto.Conn, string) {
		c, err := textproto.Dial("tcp", p.addrs[service])
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		_, _, err = c.ReadResponse(220)
		require.NoError(t, err)
		_, err = c.Cmd("EHLO client.example.com")
		require.NoError(t, err)
		_, text, err := c.ReadResponse(250)
		require.NoError(t, err)
		return c, text
	}
	_, strangers := dial("receive smtp")
	require.NotRegexp(t, "FUTURERELEASE|MT-PRIORITY|DELIVERBY", strangers)
	c, users := dial("submit smtp")
	for _, e := range []string{`FUTURERELEASE 2592000 20\S+Z`, "MT-PRIORITY", "DELIVERBY 60"} {
		require.Regexp(t, "(?m)^"+e+"$", users)
	}
	for _, step := range []struct {
		line string
		code int
	}{
		{"AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABhbGljZQ==", 235}, // alice
		{"MAIL FROM:<alice@demo.test> HOLDFOR=3600 MT-PRIORITY=3", 250},
		{"RCPT TO:<bob@demo.test>", 250},
		{"DATA", 354},
		{"Subject: later\r\n\r\nx\r\n.", 250},
	} {
		_, err := c.Cmd("%s", step.line)
		require.NoError(t, err)
		_, _, err = c.ReadResponse(step.code)
		require.NoError(t, err, step.line)
	}
	var out bytes.Buffer
	require.NoError(t, queueCommand(t.Context(), []string{"list", "-data", filepath.Join(dir, "goniec-demo"), "-json"}, &out, io.Discard))
	var entry struct {
		Recipients []struct {
			Next int64 `json:"next_attempt"`
		}
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &entry))
	require.Greater(t, time.Until(time.Unix(entry.Recipients[0].Next, 0)), 50*time.Minute)
}

package imap_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestPlay prints the answers to PLAY's lines.
func TestPlay(t *testing.T) {
	text := os.Getenv("PLAY")
	if text == "" {
		t.Skip()
	}
	b, _ := os.ReadFile(text)
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", "From: Bob <bob@x>\r\nTo: a@b, g: c@d;\r\nSubject: one\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n")
	f.deliver(t, "alice", "INBOX", "From: x\r\nSubject: =?utf-8?q?zwei?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner body\r\n--b--\r\n")
	f.deliver(t, "alice", "Work/A", "Subject: w\r\n\r\nx\r\n")
	c, err := net.Dial("tcp", f.start(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		time.Sleep(20 * time.Millisecond)
		for _, l := range strings.SplitAfter(strings.ReplaceAll(string(b), "\n", "\r\n"), "\r\n") {
			io.WriteString(c, l)
			time.Sleep(3 * time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
		c.(*net.TCPConn).CloseWrite()
	}()
	out, _ := io.ReadAll(c)
	fmt.Println(string(out))
	fmt.Println(f.log.String())
}

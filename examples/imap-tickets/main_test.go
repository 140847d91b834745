package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A ticket that comes in over HTTP appears in a mail program that idles; answering it moves it to the other queue.
func TestTickets(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	addrs := make(chan [2]string, 1)
	go func() {
		ended <- serve(ctx, "127.0.0.1:0", "127.0.0.1:0", func(i, w string) { addrs <- [2]string{i, w} })
	}()
	var at [2]string
	select {
	case at = <-addrs:
	case err := <-ended:
		require.NoError(t, err)
	}
	c, err := net.Dial("tcp", at[0])
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	r := bufio.NewReader(c)
	read := func(until string) string {
		var all strings.Builder
		for {
			l, err := r.ReadString('\n')
			require.NoError(t, err, all.String())
			all.WriteString(l)
			if strings.HasPrefix(l, until) {
				return all.String()
			}
		}
	}
	say := func(line, until string) string {
		_, err := io.WriteString(c, line+"\r\n")
		require.NoError(t, err)
		return read(until)
	}
	read("* OK")
	say("a LOGIN agent agent", "a OK")
	require.Contains(t, say("b SELECT Open", "b OK"), "* 1 EXISTS")
	require.Contains(t, say("c FETCH 1 (ENVELOPE BODY[TEXT])", "c OK"), "Printer on fire")
	say("d IDLE", "+ ")
	resp, err := http.PostForm("http://"+at[1], url.Values{"from": {"carol@example.org"}, "subject": {"It is broken"}, "text": {"Please help."}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	read("* 2 EXISTS")
	say("DONE", "d OK")
	require.Contains(t, say("e FETCH 2 BODY.PEEK[]", "e OK"), "From: carol@example.org")
	say(`f STORE 2 +FLAGS (\Answered)`, "f OK")
	require.Contains(t, say("g STATUS Done (MESSAGES)", "g OK"), "MESSAGES 1")
	resp, err = http.PostForm("http://"+at[1], url.Values{"from": {"no address"}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	stop()
	require.NoError(t, <-ended)
}

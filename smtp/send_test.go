package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

// wireTap is a server that takes everything and keeps the octets that it was sent.
type wireTap struct {
	ehlo     string       // extensions, as lines of the reply
	sessions atomic.Int64 // now
	mu       sync.Mutex
	got      bytes.Buffer
}

// serve starts the server and returns its host.
func (w *wireTap) serve(t testing.TB) goniec.RouteHost {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.sessions.Add(1)
			wg.Go(func() {
				defer w.sessions.Add(-1)
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				w.talk(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return hostAt(l.Addr(), goniec.TLSNone)
}

// wait returns when all sessions are over; their deadline ends them.
func (w *wireTap) wait() {
	for w.sessions.Load() > 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

// talk is a session: it looks at each octet, so that nothing is understood wrongly by cleverness.
func (w *wireTap) talk(c net.Conn) {
	r := bufio.NewReader(c)
	say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
	say("220 tap")
	text := false
	for {
		line, err := w.line(r)
		verb, arg, _ := strings.Cut(line, " ")
		switch {
		case err != nil:
			return
		case text:
			if line == ".\r\n" {
				text = false
				say("250 ok")
			}
		case verb == "EHLO":
			say(w.ehlo + "250 tap")
		case line == "DATA\r\n":
			text = true
			say("354 go")
		case verb == "BDAT":
			var n int64
			_, _ = fmt.Sscanf(arg, "%d LAST", &n)
			w.mu.Lock()
			_, _ = io.CopyN(&w.got, r, n)
			w.mu.Unlock()
			say("250 ok")
		default:
			say("250 ok")
		}
	}
}

// line reads up to CRLF.
func (w *wireTap) line(r *bufio.Reader) (string, error) {
	var b []byte
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.got.Write(b)
	}()
	for !bytes.HasSuffix(b, []byte("\r\n")) {
		part, err := r.ReadBytes('\n')
		if b = append(b, part...); err != nil {
			return "", err
		}
	}
	return string(b), nil
}

// take returns what was sent since the last time.
func (w *wireTap) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.got.Reset()
	return w.got.String()
}

// smuggled are the sequences of S02, which some server takes for the end of a message.
var smuggled = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\n", "\n.\x00\n",
}

// S03: what of that set is submitted reaches the wire without a bare CR or LF, and with every dot at the beginning of a line doubled,
// or not at all: as a small message, a large one, a stream, in pieces, refused or normalised. S04: the same over BDAT.
func TestS03S04Smuggling(t *testing.T) {
	pad := strings.Repeat("padding padding padding padding\r\n", 2200)
	for _, ehlo := range []string{"", "250-PIPELINING\r\n", "250-PIPELINING\r\n250-CHUNKING\r\n"} {
		tap := &wireTap{ehlo: "250-8BITMIME\r\n" + ehlo}
		host := tap.serve(t)
		for _, policy := range []smtp.BarePolicy{smtp.RejectBare, smtp.NormaliseBare} {
			normalise := policy == smtp.NormaliseBare
			for _, seq := range smuggled {
				for _, before := range []string{"", pad} {
					text := "Subject: x\r\n\r\n" + before + "a" + seq + "MAIL FROM:<evil@example.net>\r\n"
					for name, msg := range map[string]io.Reader{
						"content": strings.NewReader(text), "stream": io.MultiReader(strings.NewReader(text)),
						"halves": iotest.HalfReader(io.MultiReader(strings.NewReader(text))),
					} {
						pool := &smtp.Pool{Dialer: &smtp.Dialer{BareNewlines: policy}}
						res, err := pool.Send(t.Context(), host, envelope("bob@example.org"), msg)
						require.NoError(t, pool.Close())
						tap.wait()
						wire := tap.take()
						what := fmt.Sprintf("%q %s %d normalise=%v %q", seq, name, len(text), normalise, ehlo)
						checkWire(t, wire, what)
						clean := !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n")
						require.Equal(t, clean || normalise, err == nil, "%s: %v", what, err)
						if err != nil {
							require.True(t, goniec.Permanent(err), what)
							require.Equal(t, goniec.EnhancedCode{5, 6, 0}, goniec.StatusOf(err).Enhanced)
							require.NotContains(t, wire, "\r\n.\r\n", what)
						}
						require.Len(t, res.Rcpts, 1)
					}
				}
			}
		}
	}
}

// checkWire fails if there is a bare CR or LF, or more than one message within one transaction.
func checkWire(t *testing.T, wire, what string) {
	t.Helper()
	require.False(t, strings.ContainsAny(strings.ReplaceAll(wire, "\r\n", ""), "\r\n"), "%s: bare CR or LF in %q", what, tail(wire))
	_, text, isData := strings.Cut(wire, "DATA\r\n")
	if !isData {
		return
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		require.False(t, strings.HasPrefix(line, ".") && line != "." && !strings.HasPrefix(line, ".."), "%s: dot not doubled in %q", what, tail(wire))
	}
	require.LessOrEqual(t, strings.Count("\r\n"+text, "\r\n.\r\n"), 1, "%s: %q", what, tail(wire))
}

func tail(s string) string { return s[max(0, len(s)-200):] }

// S03, S04: the same set submitted by DATA and by BDAT to our server and relayed onward by our client: what leaves is clean, and one message.
func TestS03S04Relayed(t *testing.T) {
	tap := &wireTap{ehlo: "250-8BITMIME\r\n250-PIPELINING\r\n"}
	host := tap.serve(t)
	relayed := 0
	for _, policy := range []smtp.BarePolicy{smtp.RejectBare, smtp.NormaliseBare} {
		relay := relayTo(t, host)
		srv := start(t, &smtp.Server{Handler: smtp.DeliverTo(relay, "example.org"), BareNewlines: policy, MaxErrors: -1})
		for _, seq := range smuggled {
			text := "Subject: x\r\n\r\na" + seq + "MAIL FROM:<evil@example.net>\r\n"
			for _, verb := range []string{"DATA", "BDAT"} {
				c := connect(t, srv)
				c.send("EHLO a.example")
				if verb == "DATA" {
					c.begin()
					_, err := io.WriteString(c, text+".\r\n")
					require.NoError(t, err)
				} else {
					require.Equal(t, []int{250, 250}, c.group("MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"))
					_, err := fmt.Fprintf(c, "BDAT %d LAST\r\n%s", len(text), text)
					require.NoError(t, err)
				}
				reply := c.reply()
				wire := tap.take()
				what := fmt.Sprintf("%q by %s: %d", seq, verb, reply)
				checkWire(t, wire, what)
				clean := !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n")
				require.Equal(t, clean || policy == smtp.NormaliseBare, strings.Contains(wire, "DATA\r\n"), what)
				relayed++
			}
		}
	}
	require.Equal(t, 2*2*len(smuggled), relayed)
}

// A seeded sample of all strings over {CR, LF, ".", NUL, "a"} goes through client and server, and arrives as it was or not at all
// (S01, S03). The long form has all 488,280 of them.
func TestS01SampleThroughClientAndServer(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	strict, lax := &smtp.Pool{}, &smtp.Pool{Dialer: &smtp.Dialer{BareNewlines: smtp.NormaliseBare, Ignore: []string{"CHUNKING"}}}
	defer strict.Close()
	defer lax.Close()
	for text := range wicked(400) {
		clean := !strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n")
		for i, p := range []*smtp.Pool{strict, lax} {
			_, err := p.Send(t.Context(), host, envelope("bob@example.org"), strings.NewReader(text))
			if i == 0 && !clean {
				require.Error(t, err, "%q", text)
				continue
			}
			require.NoError(t, err, "%q", text)
			got := rec.got()
			rec.mu.Lock()
			rec.mail = rec.mail[:0]
			rec.mu.Unlock()
			want := strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(text)
			if i == 1 && !strings.HasSuffix(want, "\r\n") {
				want += "\r\n" // DATA has no other way
			}
			require.Equal(t, want, withoutTrace(got[len(got)-1].body), "%q by pool %d", text, i)
		}
	}
}

// wicked yields a seeded sample of the strings over five wicked octets up to length 8; in the long form all.
func wicked(sample int) iter.Seq[string] {
	const letters = "\r\n.\x00a"
	return func(yield func(string) bool) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for range sample {
			s := make([]byte, 1+rnd.IntN(8))
			for i := range s {
				s[i] = letters[rnd.IntN(5)]
			}
			if !yield(string(s)) {
				return
			}
		}
		if !peertest.LongForm() {
			return
		}
		for length, count := 1, 5; length <= 8; length, count = length+1, count*5 {
			s := make([]byte, length)
			for n := range count {
				for i := range s {
					s[i] = letters[n%5]
					n /= 5
				}
				if !yield(string(s)) {
					return
				}
			}
		}
	}
}

// Large messages, as Content and as a stream, with and without CHUNKING, arrive octet by octet.
func TestSendLarge(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	for _, size := range []int{64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		text := "Subject: x\r\n\r\n" + strings.Repeat(".line of some length\r\n", size/22+1)
		text = text[:size-2] + "\r\n"
		text = strings.ReplaceAll(text, "\r\r\n", "x\r\n")
		for _, ignore := range [][]string{nil, {"CHUNKING"}, {"PIPELINING"}} {
			p := &smtp.Pool{Dialer: &smtp.Dialer{Ignore: ignore}}
			for _, msg := range []io.Reader{strings.NewReader(text), io.MultiReader(strings.NewReader(text))} {
				_, err := p.Send(t.Context(), host, envelope("bob@example.org"), msg)
				require.NoError(t, err)
				got := rec.got()
				require.Equal(t, text, withoutTrace(got[len(got)-1].body))
			}
			require.NoError(t, p.Close())
		}
	}
}

// A message that can not be read to its end is not sent: the server must not take half of it for the whole.
func TestSendSourceError(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	broken := errors.New("disk trouble")
	pad := strings.Repeat("padding padding padding padding\r\n", 5000)
	for name, msg := range map[string]func() io.Reader{
		"small":         func() io.Reader { return io.MultiReader(strings.NewReader("a\r\n"), iotest.ErrReader(broken)) },
		"stream":        func() io.Reader { return io.MultiReader(strings.NewReader(pad), iotest.ErrReader(broken)) },
		"content":       func() io.Reader { return goniec.NewReader(brokenContent{strings.NewReader(pad), broken}) },
		"short content": func() io.Reader { return goniec.NewReader(brokenContent{strings.NewReader(pad), io.EOF}) },
	} {
		for _, ignore := range [][]string{nil, {"CHUNKING"}} {
			p := &smtp.Pool{Dialer: &smtp.Dialer{Ignore: ignore}}
			_, err := p.Send(t.Context(), host, envelope("bob@example.org"), msg())
			require.Error(t, err, name)
			if name != "short content" {
				require.ErrorIs(t, err, broken, name)
			}
			require.True(t, goniec.Temporary(err), name)
			var e *smtp.StageError
			require.ErrorAs(t, err, &e)
			require.False(t, e.Sent)
			require.NoError(t, p.Close())
		}
	}
	require.Empty(t, rec.got())
}

// brokenContent fails in its second half.
type brokenContent struct {
	*strings.Reader
	err error
}

func (c brokenContent) ReadAt(p []byte, off int64) (int, error) {
	half := c.Size() / 2
	if off >= half {
		return 0, c.err
	}
	return c.Reader.ReadAt(p[:min(int64(len(p)), half-off)], off)
}

// P02: CR, LF, NUL and what is cut down to them never reach the wire: the API refuses them, or they are encoded.
func TestP02NothingWritten(t *testing.T) {
	tap := &wireTap{ehlo: "250-SIZE\r\n250-DSN\r\n250-PIPELINING\r\n250-AUTH PLAIN\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"}
	host := tap.serve(t)
	for _, bad := range []string{"\r", "\n", "\x00", "\u760a", "\u2028", "\r\nRSET\r\n"} {
		fields := map[string]func(*goniec.Envelope){
			"ENVID":      func(e *goniec.Envelope) { e.EnvID = "x" + bad },
			"ORCPT":      func(e *goniec.Envelope) { e.To[0].ORcpt = goniec.ORcpt{Type: "rfc822", Address: "x" + bad} },
			"ORCPT type": func(e *goniec.Envelope) { e.To[0].ORcpt = goniec.ORcpt{Type: "rfc822" + bad, Address: "x"} },
			"AUTH":       func(e *goniec.Envelope) { e.AuthSender = bad + "x" },
		}
		for name, set := range fields {
			c, err := new(smtp.Dialer).DialHost(t.Context(), host)
			require.NoError(t, err)
			tap.take()
			env := envelope("bob@example.org")
			set(env)
			_, err = c.Send(t.Context(), env, strings.NewReader(hello))
			require.Error(t, err, "%s with %q", name, bad)
			require.True(t, goniec.Permanent(err))
			require.NoError(t, c.Err(), "the connection is still good")
			require.Empty(t, tap.take(), "%s with %q", name, bad)
			require.NoError(t, c.Close())
		}
		_, err := (&smtp.Dialer{Hostname: "client" + bad}).DialHost(t.Context(), host)
		require.Error(t, err)
		require.NotContains(t, tap.take(), "EHLO")
		_, err = new(smtp.Dialer).Dial(t.Context(), "mx.example.org"+bad+":25")
		require.Error(t, err)
	}
	// Values out of range are refused too.
	for name, set := range map[string]func(*goniec.Envelope){
		"RET": func(e *goniec.Envelope) { e.Ret = 9 }, "BODY": func(e *goniec.Envelope) { e.Body = 9 }, "SIZE": func(e *goniec.Envelope) { e.Size = -1 },
		"NOTIFY": func(e *goniec.Envelope) { e.To[0].Notify = goniec.NotifyNever | goniec.NotifySuccess }, "bits": func(e *goniec.Envelope) { e.To[0].Notify = 128 },
		"priority": func(e *goniec.Envelope) { e.Priority = 10 }, "nobody": func(e *goniec.Envelope) { e.To = nil },
		"no address": func(e *goniec.Envelope) { e.To[0] = goniec.Recipient{} }, "long": func(e *goniec.Envelope) { e.EnvID = strings.Repeat("+", 40) },
	} {
		env := envelope("bob@example.org")
		set(env)
		p := &smtp.Pool{}
		tap.take()
		_, err := p.Send(t.Context(), host, env, strings.NewReader(hello))
		require.Error(t, err, name)
		require.NotContains(t, tap.take(), "MAIL", name)
		require.NoError(t, p.Close())
	}
}

// P01: addresses that need quotes are quoted; the server reads the address that was meant.
func TestP01Addresses(t *testing.T) {
	rec := &recorder{}
	_, host := listen(t, rec, nil)
	p := &smtp.Pool{}
	defer p.Close()
	for _, local := range []string{`t@example.com> ORCPT=a@b`, `x@evil x`, `a b`, `a"b`, `back\slash`, `end\`, `a>b`, `.dot`, `two..dots`, `<>`, `x SIZE=1`} {
		addr, err := goniec.NewAddress(local, "example.org")
		require.NoError(t, err, local)
		env := &goniec.Envelope{From: addr, To: []goniec.Recipient{{Address: addr}}}
		_, err = p.Send(t.Context(), host, env, strings.NewReader(hello))
		require.NoError(t, err, local)
		got := rec.got()
		last := got[len(got)-1].env
		require.Equal(t, addr, last.From)
		require.Equal(t, addr, last.To[0].Address)
		require.Len(t, last.To, 1)
	}
}

// The trace shows the dialogue without the credentials and the message.
func TestClientTrace(t *testing.T) {
	s := newScene(t, map[string]string{"auth": "insecure", "ignore": "CHUNKING PIPELINING"})
	var said []string
	s.dialer.Trace = func(_ *smtp.Client, line smtp.TraceLine) { said = append(said, line.String()) }
	rec := &recorder{}
	_, host := listen(t, rec, func(srv *smtp.Server) { srv.Auth, srv.AllowInsecureAuth = users, true })
	o := s.run(context.Background(), host)
	require.NoError(t, o.err)
	require.NoError(t, o.client.Quit(t.Context()))
	all := strings.Join(said, "\n")
	for _, want := range []string{"S: 220 mx.example.org", "C: EHLO client.example", "S: 250 ", "C: AUTH PLAIN ***", "S: 235 ", "C: MAIL FROM:<alice@example.com>", "C: DATA", "S: 354 ", "C: QUIT"} {
		require.Contains(t, all, want)
	}
	for _, secret := range []string{"hello", "AGFsaWNl", "wonder"} {
		require.NotContains(t, all, secret)
	}
}

func TestStageErrorText(t *testing.T) {
	e := &smtp.StageError{Stage: smtp.StageRcpt, Host: "mx2.x.example", Addr: "203.0.113.9:25", Err: goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "greylisted")}
	require.EqualError(t, e, "mx2.x.example[203.0.113.9:25] said 451 4.7.1 greylisted at RCPT")
	require.True(t, goniec.Temporary(e))
	e = &smtp.StageError{Stage: smtp.StageText, Host: "mx", Addr: "a", Sent: true, Err: goniec.NewStatus(554, goniec.EnhancedCode{}, "x")}
	require.True(t, goniec.Temporary(e), "nobody knows")
	for stage, permanent := range map[smtp.Stage]bool{
		smtp.StageConnect: false, smtp.StageTLS: false, smtp.StageAuth: false, smtp.StageIdle: false,
		smtp.StageBanner: true, smtp.StageEHLO: true, smtp.StageMail: true, smtp.StageRcpt: true, smtp.StageData: true, smtp.StageText: true,
	} {
		e := &smtp.StageError{Stage: stage, Host: "unix:/x", Addr: "/x", Err: goniec.NewStatus(550, goniec.EnhancedCode{}, "no")}
		require.Equal(t, permanent, goniec.Permanent(fmt.Errorf("wrapped: %w", e)), stage)
		require.Equal(t, map[bool]int{true: 550, false: 451}[permanent], goniec.StatusOf(e).Code, "the reply is as permanent as the error")
		require.Contains(t, e.Error(), "[/x] said 550 no at ")
	}
}

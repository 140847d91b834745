package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mime"
)

// reportOf delivers one message and returns the reports that it causes within a time.
func reportOf(t *testing.T, env *goniec.Envelope, body string, how func(ctx context.Context, to goniec.Address) error, wait time.Duration) []*mime.DSN {
	t.Helper()
	var out []*mime.DSN
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var raw []string
		d := goniec.DelivererFunc(func(ctx context.Context, e *goniec.Envelope, msg io.Reader) error {
			b, err := io.ReadAll(msg)
			if err != nil {
				return err
			}
			if e.From.IsZero() {
				mu.Lock()
				defer mu.Unlock()
				raw = append(raw, string(b))
				return nil
			}
			return how(ctx, e.To[0].Address)
		})
		q := &Queue{Store: memStore(t), Deliverer: d, Hostname: "mx.example.net", Jitter: -1}
		runQueue(t, q)
		require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(body)))
		time.Sleep(wait)
		mu.Lock()
		defer mu.Unlock()
		for _, msg := range raw {
			st, err := mime.Parse(strings.NewReader(msg), mime.Options{Strict: true})
			require.NoError(t, err)
			dsn, err := st.ReadDSN(strings.NewReader(msg))
			require.NoError(t, err)
			out = append(out, dsn)
		}
	})
	return out
}

// RFC 3461 §5.2: what is reported to whom, for every NOTIFY and every outcome.
func TestNotify(t *testing.T) {
	fail := func(context.Context, goniec.Address) error {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no")
	}
	later := func(context.Context, goniec.Address) error {
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "wait")
	}
	ok := func(context.Context, goniec.Address) error { return nil }
	relayed := func(s Success) func(context.Context, goniec.Address) error {
		return func(ctx context.Context, to goniec.Address) error {
			ReportSuccess(ctx, to, s)
			return nil
		}
	}
	const s, f, d, never = goniec.NotifySuccess, goniec.NotifyFailure, goniec.NotifyDelay, goniec.NotifyNever
	for _, c := range []struct {
		name   string
		notify goniec.Notify
		how    func(context.Context, goniec.Address) error
		want   string // actions
	}{
		{"fail/unset", 0, fail, "failed 5.1.1"},
		{"fail/failure", f, fail, "failed 5.1.1"},
		{"fail/success", s, fail, ""},
		{"fail/never", never, fail, ""},
		{"fail/all", s | f | d, fail, "failed 5.1.1"},
		{"delay/unset", 0, later, "delayed 4.7.1"},
		{"delay/delay", d, later, "delayed 4.7.1"},
		{"delay/failure", f, later, ""},
		{"delay/never", never, later, ""},
		{"ok/unset", 0, ok, ""},
		{"ok/success", s, ok, "delivered 2.0.0"},
		{"ok/failure", f, ok, ""},
		{"relayed", s, relayed(Success{Relayed: true, RemoteMTA: "mx"}), "relayed 2.0.0"},
		{"relayed with DSN", s, relayed(Success{Relayed: true, DSN: true}), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnvelope(t, "a@x.example")
			env.To[0].Notify, env.EnvID = c.notify, "QQ314159"
			env.To[0].ORcpt = goniec.ORcpt{Type: "rfc822", Address: "original@x.example"}
			dsns := reportOf(t, env, testBody, c.how, 6*time.Hour)
			if c.want == "" {
				require.Empty(t, dsns)
				return
			}
			require.Len(t, dsns, 1)
			r := dsns[0].Recipients[0]
			require.Equal(t, c.want, r.Action+" "+r.Status)
			require.Equal(t, "QQ314159", dsns[0].EnvelopeID)
			require.Equal(t, mime.Typed{Type: "rfc822", Value: "original@x.example"}, r.OriginalRecipient)
			require.Equal(t, mime.Typed{Type: "dns", Value: "mx.example.net"}, dsns[0].ReportingMTA)
			if r.Action == "delayed" {
				require.False(t, r.WillRetryUntil.IsZero())
			}
		})
	}
}

// RFC 3461 §4.3: RET, and the limit for what is returned.
func TestReturn(t *testing.T) {
	fail := func(context.Context, goniec.Address) error {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no")
	}
	large := testBody + strings.Repeat("0123456789\r\n", 10_000)
	for _, c := range []struct {
		ret     goniec.Ret
		body    string
		headers bool
	}{{0, testBody, false}, {goniec.RetFull, testBody, false}, {goniec.RetHdrs, testBody, true}, {goniec.RetFull, large, true}} {
		env := testEnvelope(t, "a@x.example")
		env.Ret = c.ret
		dsns := reportOf(t, env, c.body, fail, time.Minute)
		require.Len(t, dsns, 1)
		require.Equal(t, c.headers, dsns[0].HeadersOnly)
		back, err := io.ReadAll(goniec.NewReader(dsns[0].Original))
		require.NoError(t, err)
		require.Contains(t, string(back), "Subject: test")
		require.Equal(t, !c.headers, strings.Contains(string(back), "Hello."))
	}
}

// ownFinding is an error about a server that did not say so.
type ownFinding struct{ error }

func (ownFinding) RemoteMTA() string           { return "mx2.x.example" }
func (ownFinding) RemoteReply() *goniec.Status { return nil }
func (e ownFinding) Unwrap() error             { return e.error }

// RFC 3464 §2.3.6: what we found out about a server is not its reply, in the text and in the fields.
func TestReportOwnFinding(t *testing.T) {
	refused := goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "too large for it")
	for _, c := range []struct {
		err  error
		want mime.Typed
		text string
	}{
		{ownFinding{refused}, mime.Typed{Type: "x-goniec", Value: "552 5.3.4 too large for it"}, "mx2.x.example: 552 5.3.4 too"},
		{&remoteError{refused}, mime.Typed{Type: "smtp", Value: "552 5.3.4 too large for it"}, "mx2.x.example said 552 5.3.4 too"},
		{refused, mime.Typed{Type: "x-goniec", Value: "552 5.3.4 too large for it"}, "<a@x.example>: 552 5.3.4 too"},
	} {
		dsns := reportOf(t, testEnvelope(t, "a@x.example"), testBody, func(context.Context, goniec.Address) error { return c.err }, time.Minute)
		require.Len(t, dsns, 1)
		require.Equal(t, c.want, dsns[0].Recipients[0].Diagnostic)
		require.Contains(t, dsns[0].Text, c.text)
	}
}

// RFC 6533: addresses beyond ASCII.
func TestInternationalReport(t *testing.T) {
	env := testEnvelope(t, "użytkownik@przykład.example")
	env.UTF8 = true
	dsns := reportOf(t, env, "From: <sender@example.org>\r\nSubject: żółć\r\n\r\nx\r\n", func(context.Context, goniec.Address) error {
		return goniec.NewStatus(550, goniec.EnhancedCode{5, 6, 7}, "no SMTPUTF8 here")
	}, time.Minute)
	require.Len(t, dsns, 1)
	require.Equal(t, mime.Typed{Type: "utf-8", Value: "użytkownik@przykład.example"}, dsns[0].Recipients[0].FinalRecipient)
}

// Python's email package reads our reports.
func TestReportPython(t *testing.T) {
	python := peertest.Need(t, "python3")
	var raw string
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: func(env *goniec.Envelope, _ goniec.Recipient) error {
			if env.From.IsZero() {
				return nil
			}
			return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
		}}
		q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net"}
		runQueue(t, q)
		require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, "a@x.example", "b@x.example"), strings.NewReader(testBody)))
		time.Sleep(time.Minute)
		raw = s.calls()[1].msg
	})
	cmd := exec.Command(python, "-c", `
import sys, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert not m.defects, m.defects
print(m.get_content_type(), m.get_param("report-type"), m["auto-submitted"])
text, status, original = m.iter_parts()
for block in status.get_payload():
    for k in ("reporting-mta", "final-recipient", "action", "status"):
        if block[k]: print(k, block[k])
print(original.get_content_type(), original.get_payload()[0]["subject"])
`)
	cmd.Stdin = strings.NewReader(raw)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, `multipart/report delivery-status auto-replied
reporting-mta dns; mx.example.net
final-recipient rfc822; a@x.example
action failed
status 5.1.1
final-recipient rfc822; b@x.example
action failed
status 5.1.1
message/rfc822 test
`, string(out))
}

// Notices come by class, at once and then not oftener than every ten minutes, and never about themselves.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{whole: func(env *goniec.Envelope) error { return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no") }}
		q := &Queue{Store: memStore(t), Deliverer: s, Hostname: "mx.example.net", Notices: NoticeBounce | NoticePolicy}
		q.Postmaster, _ = goniec.ParseAddress("postmaster@example.net")
		runQueue(t, q)
		for range 100 {
			env := testEnvelope(t, "a@x.example")
			env.To[0].Notify = goniec.NotifyNever
			require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader(testBody)))
		}
		q.Notice(NoticePolicy, "client\r\nevil")
		q.Notice(NoticeProtocol, "not asked for")
		time.Sleep(9 * time.Minute)
		notices := func() (out []string) {
			for _, c := range s.calls() {
				if c.env.To[0].Address == q.Postmaster {
					require.True(t, c.env.From.IsZero())
					out = append(out, c.msg)
				}
			}
			return out
		}
		require.Len(t, notices(), 2, "one for each class at once")
		time.Sleep(2 * time.Minute)
		all := notices()
		require.Len(t, all, 3)
		require.Contains(t, all[2], "more, which the log shows")
		require.Contains(t, all[2], "Auto-Submitted: auto-generated")
		time.Sleep(24 * time.Hour)
		require.Len(t, notices(), 3, "nothing more, though they bounced")
	})
}

// A mailing to many recipients does not hold up single mails, at its destination or elsewhere.
func TestMailingIsFair(t *testing.T) {
	for _, spread := range []int{1, 2000} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			var worst time.Duration
			done := 0
			d := goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, _ io.Reader) error {
				time.Sleep(100 * time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				if env.To[0].Address.Local() == "single" {
					worst = max(worst, time.Since(env.Received))
				}
				done += len(env.To)
				return nil
			})
			q := &Queue{Store: memStore(t), Deliverer: d, MaxActive: 20, MaxRcpts: 10}
			runQueue(t, q)
			const n = 5_000
			to := make([]string, n)
			for i := range to {
				to[i] = fmt.Sprintf("u%d@d%d.example", i, i%spread)
			}
			require.NoError(t, q.Deliver(t.Context(), testEnvelope(t, to...), strings.NewReader("x")))
			for i := range 10 {
				env := testEnvelope(t, fmt.Sprintf("single@%s.example", []string{"d0", "elsewhere"}[i%2]))
				env.Received = time.Now()
				require.NoError(t, q.Deliver(t.Context(), env, strings.NewReader("x")))
				time.Sleep(time.Second)
			}
			time.Sleep(time.Hour)
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, n+10, done)
			require.LessOrEqual(t, worst, 2*time.Second)
		})
	}
}

// The window starts at Window, grows with successes, and shrinks to a probe when the destination fails.
func TestWindow(t *testing.T) {
	q := &Queue{Store: &Memory{}, Deliverer: goniec.Discard(), Jitter: -1}
	q.init()
	s := &q.sched
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dest("x")
	d.window = 2
	good, bad := verdict{judged: true}, verdict{judged: true, failed: true, reason: "r"}
	for range 2 + 3 + 4 {
		q.learn(d, good)
	}
	require.Equal(t, 5, d.window)
	for range 1000 {
		q.learn(d, good)
	}
	require.Equal(t, 20, d.window)
	q.learn(d, bad)
	require.Equal(t, 10, d.window)
	q.learn(d, verdict{})
	require.Equal(t, 10, d.window, "says nothing")
	for range 20 {
		q.learn(d, bad)
	}
	require.Equal(t, 1, d.dead)
	require.Equal(t, 1, d.window)
	require.Positive(t, d.sleeping)
	q.learn(d, good)
	require.Zero(t, d.dead)
	require.Equal(t, 2, d.window)
}

// judge tells errors of the destination from errors of a recipient.
func TestJudge(t *testing.T) {
	refused := goniec.NewStatus(450, goniec.EnhancedCode{4, 2, 2}, "mailbox full")
	closing := goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 2}, "closing")
	for _, c := range []struct {
		err    error
		judged bool
		failed bool
	}{
		{nil, true, false},
		{errors.New("connection refused"), true, true},
		{closing, true, true},
		{refused, true, false},
		{goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no"), true, false},
		{goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 1}, "no route"), true, true},
		{goniec.RcptErrors{nil, closing}, true, false},
		{goniec.RcptErrors{closing, errors.New("x")}, true, true},
		{goniec.RcptErrors{refused, closing}, true, false},
		{&panicError{"x", 1}, false, false},
	} {
		v := judge(c.err)
		require.Equal(t, c.judged, v.judged, "%v", c.err)
		require.Equal(t, c.failed, v.failed, "%v", c.err)
	}
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
	for _, msg := range rawReportsOf(t, env, body, how, wait) {
		st, err := mime.Parse(strings.NewReader(msg), mime.Options{Strict: true})
		require.NoError(t, err)
		dsn, err := st.ReadDSN(strings.NewReader(msg))
		require.NoError(t, err)
		out = append(out, dsn)
	}
	return out
}

// rawReportsOf is reportOf without parsing.
func rawReportsOf(t *testing.T, env *goniec.Envelope, body string, how func(ctx context.Context, to goniec.Address) error, wait time.Duration) (raw []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
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
	})
	return raw
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
		{"relayed, by mode N", 0, relayed(Success{Relayed: true, DSN: true}), "relayed 2.0.0"},
		{"relayed, by mode N/failure", f, relayed(Success{Relayed: true}), "relayed 2.0.0"},
		{"relayed, by mode N/never", never, relayed(Success{Relayed: true}), ""},
		{"relayed, by mode N, promised on", 0, relayed(Success{Relayed: true, DeliverBy: true}), ""},
		{"relayed, by mode R, promised on", 0, relayed(Success{Relayed: true, DeliverBy: true}), ""},
		{"relayed, by mode R, trace", 0, relayed(Success{Relayed: true, DeliverBy: true}), "relayed 2.0.0"},
		{"relayed, by mode N, trace", 0, relayed(Success{Relayed: true, DeliverBy: true}), "relayed 2.0.0"},
		{"relayed, by mode N, trace/never", never, relayed(Success{Relayed: true, DeliverBy: true}), ""},
		{"ok, by mode N, trace", 0, ok, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnvelope(t, "a@x.example")
			if strings.Contains(c.name, "by mode") { // RFC 2852 §4.1.4
				env.DeliverBy = &goniec.DeliverBy{
					Deadline: time.Now().Add(100 * 365 * 24 * time.Hour), Return: strings.Contains(c.name, "mode R"), Trace: strings.Contains(c.name, "trace"),
				}
			}
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

// pythonReport prints what Python's email package finds in a report, and complains of anything that is not in order.
const pythonReport = `
import sys, email, email.policy
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
def clean(part):
    assert not part.defects, (part.get_content_type(), part.defects)
    for p in part.iter_parts() if part.is_multipart() and hasattr(part, "iter_parts") and part.get_content_maintype() == "multipart" else []: clean(p)
clean(m)
assert m["from"] and m["to"] and m["date"] and m["message-id"] and m["mime-version"] == "1.0"
print(m.get_content_type(), m.get_param("report-type"), m["auto-submitted"], m["subject"])
text, status, original = m.iter_parts()
assert text.get_content_type() == "text/plain" and text.get_content().strip()
print(status.get_content_type())
if status.get_content_type() == "message/delivery-status":
    blocks = status.get_payload()
else: # Python knows nothing of RFC 6533: its parser has taken the fields for a message, or left them encoded
    import quopri
    raw = status.as_bytes().split(b"\n\n", 1)[1]
    if status["content-transfer-encoding"] == "quoted-printable": raw = quopri.decodestring(raw)
    blocks = [email.message_from_bytes(b, policy=email.policy.default) for b in raw.replace(b"\r\n", b"\n").strip().split(b"\n\n")]
for block in blocks:
    assert not block.defects, block.defects
    for k in block.keys(): print(" ", k + ":", "set" if k.endswith("-Date") or k.endswith("-Until") or k == "Final-Log-ID" else str(block[k]))
print(original.get_content_type(), "To be" if "To be" in original.as_string() else "headers")
`

// python runs pythonReport over a message.
func python(t *testing.T, raw string) string {
	t.Helper()
	cmd := exec.Command(peertest.Need(t, "python3"), "-c", pythonReport)
	cmd.Stdin, cmd.Env = strings.NewReader(raw), append(os.Environ(), "PYTHONIOENCODING=utf-8")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, raw)
	return string(out)
}

// Python's email package reads every kind of report, and finds the fields that RFC 3464 and 6533 want in it.
func TestPeerPythonReports(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "python3")
	refuse := func(text string) error {
		return &remoteError{goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, text)}
	}
	wait := func(context.Context, goniec.Address) error {
		return &remoteError{goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "greylisted")}
	}
	const top = "multipart/report delivery-status auto-replied "
	const head = "  Original-Envelope-Id: QQ+314159\n  Reporting-MTA: dns; mx.example.net\n  Received-From-MTA: dns; client.example.org\n  Arrival-Date: set\n"
	const rcpt = "  Original-Recipient: rfc822; orig+x@x.example\n  Final-Recipient: rfc822; a@x.example\n"
	said := func(status, text string) string {
		return "  Status: " + status + "\n  Remote-MTA: dns; mx2.x.example\n  Diagnostic-Code: smtp; " + text + "\n  Last-Attempt-Date: set\n  Final-Log-ID: set\n"
	}
	for name, c := range map[string]struct {
		how    func(context.Context, goniec.Address) error
		change func(*goniec.Envelope)
		after  time.Duration
		skip   int // reports before
		want   string
	}{
		"failure": {
			how: func(context.Context, goniec.Address) error { return refuse("no such user") },
			want: top + "Undelivered Mail Returned to Sender\nmessage/delivery-status\n" + head + rcpt + "  Action: failed\n" + said("5.1.1", "550 5.1.1 no such user") +
				"message/rfc822 To be\n",
		},
		"failure, headers only": {
			how: func(context.Context, goniec.Address) error { return refuse("no such user") }, change: func(e *goniec.Envelope) { e.Ret = goniec.RetHdrs },
			want: top + "Undelivered Mail Returned to Sender\nmessage/delivery-status\n" + head + rcpt + "  Action: failed\n" + said("5.1.1", "550 5.1.1 no such user") +
				"text/rfc822-headers headers\n",
		},
		// A server that answers in its language does not turn the report into a form that the sender's programs do not know.
		"failure, the reply is not ASCII": {
			how: func(context.Context, goniec.Address) error { return refuse("nie ma takiego użytkownika") },
			want: top + "Undelivered Mail Returned to Sender\nmessage/delivery-status\n" + head + rcpt + "  Action: failed\n" + said("5.1.1", "550 5.1.1 nie ma takiego u?ytkownika") +
				"message/rfc822 To be\n",
		},
		"delay": {
			how: func(ctx context.Context, to goniec.Address) error { return wait(ctx, to) }, after: 6 * time.Hour,
			want: top + "Delayed Mail (still being retried)\nmessage/delivery-status\n" + head + rcpt + "  Action: delayed\n  Status: 4.7.1\n" +
				"  Diagnostic-Code: X-Goniec; mx2.x.example said 451 4.7.1 greylisted\n  Final-Log-ID: set\n  Will-Retry-Until: set\ntext/rfc822-headers headers\n",
		},
		"expiry": {
			how: wait, after: 6 * 24 * time.Hour, skip: 1,
			want: top + "Undelivered Mail Returned to Sender\nmessage/delivery-status\n" + head + rcpt + "  Action: failed\n" + said("5.4.7", "451 4.7.1 greylisted") + "message/rfc822 To be\n",
		},
		"success": {
			how: func(context.Context, goniec.Address) error { return nil },
			want: top + "Successful Mail Delivery Report\nmessage/delivery-status\n" + head + rcpt + "  Action: delivered\n  Status: 2.0.0\n  Last-Attempt-Date: set\n  Final-Log-ID: set\n" +
				"text/rfc822-headers headers\n",
		},
		"relayed": {
			how: func(ctx context.Context, to goniec.Address) error {
				ReportSuccess(ctx, to, Success{Relayed: true, RemoteMTA: "mx2.x.example"})
				return nil
			},
			want: top + "Successful Mail Delivery Report\nmessage/delivery-status\n" + head + rcpt + "  Action: relayed\n  Status: 2.0.0\n  Remote-MTA: dns; mx2.x.example\n" +
				"  Last-Attempt-Date: set\n  Final-Log-ID: set\ntext/rfc822-headers headers\n",
		},
		"failure, recipient beyond ASCII": {
			how: func(context.Context, goniec.Address) error { return refuse("nie ma takiego użytkownika") },
			change: func(e *goniec.Envelope) {
				e.UTF8 = true
				e.To[0].Address, e.To[0].ORcpt = goniec.MustAddress("użytkownik@przykład.example"), goniec.ORcpt{Type: "utf-8", Address: "użytkownik@przykład.example"}
			},
			want: top + "Undelivered Mail Returned to Sender\nmessage/global-delivery-status\n" + head +
				"  Original-Recipient: utf-8; użytkownik@przykład.example\n  Final-Recipient: utf-8; użytkownik@przykład.example\n  Action: failed\n" +
				said("5.1.1", "550 5.1.1 nie ma takiego użytkownika") + "message/rfc822 To be\n",
		},
		"failure, header beyond ASCII": {
			how: func(context.Context, goniec.Address) error { return refuse("no such user") }, change: func(e *goniec.Envelope) { e.UTF8 = true },
			want: top + "Undelivered Mail Returned to Sender\nmessage/delivery-status\n" + head + rcpt + "  Action: failed\n" + said("5.1.1", "550 5.1.1 no such user") +
				"message/global To be\n",
		},
		"delay, header beyond ASCII": {
			how: wait, change: func(e *goniec.Envelope) { e.UTF8 = true }, after: 6 * time.Hour,
			want: top + "Delayed Mail (still being retried)\nmessage/delivery-status\n" + head + rcpt + "  Action: delayed\n  Status: 4.7.1\n" +
				"  Diagnostic-Code: X-Goniec; mx2.x.example said 451 4.7.1 greylisted\n  Final-Log-ID: set\n  Will-Retry-Until: set\nmessage/global-headers headers\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := testEnvelope(t, "a@x.example")
			env.EnvID, env.Origin.Helo = "QQ+314159", "client.example.org"
			env.To[0].Notify = goniec.NotifySuccess | goniec.NotifyFailure | goniec.NotifyDelay
			env.To[0].ORcpt = goniec.ORcpt{Type: "rfc822", Address: "orig+x@x.example"}
			if c.change != nil {
				c.change(env)
			}
			subject := "Question"
			if strings.Contains(name, "header beyond") {
				subject = "Pytanie: żółć?"
			}
			body := "From: <sender@example.org>\r\nSubject: " + subject + "\r\nMessage-ID: <1@example.org>\r\n\r\nTo be or not to be?\r\n.dot\r\n"
			reports := rawReportsOf(t, env, body, c.how, max(c.after, time.Minute))
			require.Len(t, reports, c.skip+1)
			require.Equal(t, c.want, python(t, reports[c.skip]))
		})
	}
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

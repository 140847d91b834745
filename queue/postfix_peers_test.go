package queue_test

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mime"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp/smtptest"
)

// postfixFor is a Postfix that takes mail for example.org, with some recipients who are gone or busy, and passes it on to a server.
func postfixFor(t *testing.T, final *smtptest.Server) *peertest.Postfix {
	return peertest.NewPostfix(t, fmt.Sprintf(`myhostname = mx.example.org
local_recipient_maps =
relay_domains = example.org
mynetworks = 192.0.2.0/24
transport_maps = inline:{ {example.org = smtp:[127.0.0.1]:%d} }
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access inline:{ { gone@example.org = REJECT 5.1.1 nobody of that name }, { busy@example.org = 450 4.2.1 come back later } }
message_size_limit = 20000
`, final.Host().Port))
}

// Our queue relays to Postfix, which takes some, refuses some for good and some for now, is down for a while and comes back. Q02, Q08.
func TestPeerPostfixNextHop(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "postfix")
	final := smtptest.NewServer(t)
	postfix := postfixFor(t, final)
	r := newRoad(t, postfix.Addr, nil)

	r.send(t, 1, "ann@example.org", "gone@example.org", "busy@example.org", "bob@example.org", "else@example.net")
	require.Eventually(t, func() bool {
		return r.count(queue.Delivered) == 2 && r.count(queue.Failed) == 2 && r.count(queue.Deferred) >= 3
	}, time.Minute, 10*time.Millisecond, "%v", r.events)
	require.Len(t, final.Wait(1)[0].Envelope.To, 2)
	require.Equal(t, []string{"busy@example.org"}, open(t, r))
	for _, d := range r.Dests() {
		require.False(t, d.Dead, "busy users are no dead server")
	}
	requireFailures(t, r.returned(), map[string]string{
		"gone@example.org": `5.1.1 smtp; 554 5.1.1 <gone@example.org>: Recipient address rejected: nobody of that name`,
		"else@example.net": `5.7.1 smtp; 554 5.7.1 <else@example.net>: Relay access denied`,
	})
	for _, e := range entries(t, r) {
		require.NoError(t, r.Delete(t.Context(), e.ID))
	}

	postfix.Stop()
	const messages = 20
	for i := range messages {
		r.send(t, 100+i, fmt.Sprintf("user%d@example.org", i))
	}
	require.Eventually(t, func() bool {
		for _, d := range r.Dests() {
			if d.Dead && strings.Contains(d.Reason, "refused") {
				return true
			}
		}
		return false
	}, time.Minute, time.Millisecond)
	require.Len(t, entries(t, r), messages)
	postfix.Start()
	require.Eventually(t, func() bool { return r.empty(t) }, time.Minute, 10*time.Millisecond)
	require.Len(t, r.returned(), 2, "nothing more came back")
	count := map[string]int{}
	for _, m := range final.Wait(1 + messages)[1:] {
		count[m.Envelope.To[0].Address.String()]++
		require.Contains(t, string(m.Data), "\r\n\r\n.dot\r\n")
	}
	require.Len(t, count, messages)
	for to, n := range count {
		require.Equal(t, 1, n, to)
	}
}

// A message that is too large for Postfix bounces by its SIZE, before it is sent; the report returns its header, and does not say that Postfix said so.
func TestPeerPostfixTooLarge(t *testing.T) {
	t.Parallel()
	peertest.Need(t, "postfix")
	final := smtptest.NewServer(t)
	postfix := postfixFor(t, final)
	r := newRoad(t, postfix.Addr, nil)
	env := &goniec.Envelope{From: goniec.MustAddress("alice@example.com"), To: []goniec.Recipient{{Address: goniec.MustAddress("ann@example.org")}}}
	require.NoError(t, r.Deliver(t.Context(), env, strings.NewReader("Subject: large\r\n\r\n"+strings.Repeat("0123456789\r\n", 2000))))
	require.Eventually(t, func() bool { return len(r.returned()) == 1 }, time.Minute, 10*time.Millisecond)
	requireFailures(t, r.returned(), map[string]string{"ann@example.org": `5.3.4 x-goniec; 552 5.3.4 message of 24018 octets is larger than the 20000 that the next host takes`})
	require.Contains(t, r.returned()[0], "Subject: large")
}

func entries(t *testing.T, r *road) (all []queue.Entry) {
	t.Helper()
	for e, err := range r.List(t.Context(), queue.Filter{}) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

// open lists the recipients without an outcome.
func open(t *testing.T, r *road) (to []string) {
	for _, e := range entries(t, r) {
		for _, j := range e.Jobs {
			for _, i := range j.Rcpts {
				to = append(to, e.Envelope.To[i].Address.String())
			}
		}
	}
	return to
}

// requireFailures reads the reports that came back and compares status and diagnostic of each recipient.
func requireFailures(t *testing.T, reports []string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, text := range reports {
		st, err := mime.Parse(strings.NewReader(text), mime.Options{Strict: true})
		require.NoError(t, err)
		dsn, err := st.ReadDSN(strings.NewReader(text))
		require.NoError(t, err)
		original, err := io.ReadAll(goniec.NewReader(dsn.Original))
		require.NoError(t, err)
		require.Regexp(t, regexp.MustCompile(`(?m)^Subject: `), string(original))
		for _, x := range dsn.Recipients {
			require.Equal(t, "failed", x.Action)
			require.Equal(t, mime.Typed{Type: "dns", Value: "mx.example.org"}, x.RemoteMTA)
			got[x.FinalRecipient.Value] = x.Status + " " + x.Diagnostic.Type + "; " + x.Diagnostic.Value
		}
	}
	require.Equal(t, want, got)
}

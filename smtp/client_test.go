package smtp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/dialogue"
	"github.com/goniec-mail/goniec/smtp"
)

// trusting is a client's TLS configuration that knows the test certificate.
func trusting() *tls.Config {
	roots := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(testCert().Certificate[0])
	if err != nil {
		panic(err)
	}
	roots.AddCert(leaf)
	return &tls.Config{RootCAs: roots}
}

// hostAt is mx.example.org at the address of a listener.
func hostAt(addr net.Addr, level goniec.TLSLevel) goniec.RouteHost {
	ap := netip.MustParseAddrPort(addr.String())
	return goniec.RouteHost{Name: "mx.example.org", Addrs: []netip.Addr{ap.Addr()}, Port: ap.Port(), TLS: level}
}

// outcome is what a client under test came to.
type outcome struct {
	client *smtp.Client
	res    *smtp.Result
	err    error
}

// scene is a client under test, made by the settings of a dialogue.
type scene struct {
	dialer smtp.Dialer
	level  goniec.TLSLevel
	env    goniec.Envelope
	msg    string
	stream bool // msg is no Content
	count  int  // messages
	pool   bool
	wait   time.Duration // between messages
	gate   chan struct{} // nil: messages follow each other at once
}

func newScene(t *testing.T, settings map[string]string) *scene {
	t.Helper()
	s := &scene{level: goniec.TLSNone, msg: "Subject: x\r\n\r\nhello\r\n", count: 1}
	s.dialer.Hostname, s.dialer.TLSConfig = "client.example", trusting()
	s.env = goniec.Envelope{From: goniec.MustAddress("alice@example.com"), To: rcpts("bob@example.org")}
	for key, value := range settings {
		s.set(t, key, value)
	}
	return s
}

func rcpts(list string) []goniec.Recipient {
	var out []goniec.Recipient
	for a := range strings.FieldsSeq(list) {
		out = append(out, goniec.Recipient{Address: goniec.MustAddress(a)})
	}
	return out
}

// set applies one setting.
func (s *scene) set(t *testing.T, key, value string) {
	t.Helper()
	switch key {
	case "tls":
		for l := goniec.TLSOpportunistic; l <= goniec.TLSDANE; l++ {
			if l.String() == value {
				s.level = l
			}
		}
	case "implicit":
		s.dialer.ImplicitTLS = true
	case "untrusted":
		s.dialer.TLSConfig = nil
	case "auth":
		s.dialer.Auth = auth.PasswordClients("alice", auth.NewSecret("wonder"))
		s.dialer.AllowInsecureAuth = value == "insecure"
	case "from":
		s.env.From = goniec.Address{}
		if value != "<>" {
			s.env.From = goniec.MustAddress(value)
		}
	case "to":
		s.env.To = rcpts(value)
	case "msg":
		var err error
		s.msg, err = strconv.Unquote(value)
		require.NoError(t, err)
	case "size":
		n, err := strconv.Atoi(value)
		require.NoError(t, err)
		s.msg = strings.Repeat(strings.Repeat("x", 62)+"\r\n", n/64)
	case "ignore":
		s.dialer.Ignore = strings.Fields(value)
	case "normalise":
		s.dialer.BareNewlines = smtp.NormaliseBare
	case "convert":
		s.dialer.Convert = func(_ context.Context, msg goniec.Content, to goniec.BodyType) (goniec.Content, error) {
			return strings.NewReader("Subject: converted to " + to.String() + "\r\n\r\n" + value + "\r\n"), nil
		}
	case "stream":
		s.stream = true
	case "pool":
		s.pool = true
	case "count":
		s.count, _ = strconv.Atoi(value)
	case "wait":
		s.wait, _ = time.ParseDuration(value)
	case "gated": // each message but the first waits for the hook "next"
		s.gate = make(chan struct{}, s.count+10)
	case "timeout":
		d, err := time.ParseDuration(value)
		require.NoError(t, err)
		s.dialer.Timeouts.DataEnd = d // what comes before it may take its time
	default:
		s.setEnvelope(t, key, value)
	}
}

// setEnvelope applies a setting of the envelope.
func (s *scene) setEnvelope(t *testing.T, key, value string) {
	t.Helper()
	switch key {
	case "body":
		s.env.Body = map[string]goniec.BodyType{"8BITMIME": goniec.Body8BitMIME, "BINARYMIME": goniec.BodyBinaryMIME}[value]
	case "utf8":
		s.env.UTF8 = true
	case "requiretls":
		s.env.RequireTLS = true
	case "declared-size":
		s.env.Size, _ = strconv.ParseInt(value, 10, 64)
	case "dsn":
		s.env.Ret, s.env.EnvID = goniec.RetHdrs, value
		s.env.To[0].Notify = goniec.NotifySuccess | goniec.NotifyDelay
		s.env.To[0].ORcpt = goniec.ORcpt{Type: "rfc822", Address: "first@example.net"}
	case "auth-sender":
		s.env.AuthSender = value
	case "hold":
		d, _ := time.ParseDuration(value)
		s.env.HoldUntil = time.Now().Add(d)
	case "by":
		d, err := time.ParseDuration(strings.TrimRight(value, "RN"))
		require.NoError(t, err)
		s.env.DeliverBy = &goniec.DeliverBy{Deadline: time.Now().Add(d + 500*time.Millisecond), Return: strings.HasSuffix(value, "R")}
	case "priority":
		n, _ := strconv.Atoi(value)
		s.env.Priority = int8(n)
	case "rrvs":
		s.env.To[0].ValidSince = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)
	default:
		t.Fatalf("unknown setting %q", key)
	}
}

func (s *scene) message() io.Reader {
	if s.stream {
		return io.MultiReader(strings.NewReader(s.msg))
	}
	return strings.NewReader(s.msg)
}

// run makes the client and sends.
func (s *scene) run(ctx context.Context, host goniec.RouteHost) (o outcome) {
	if s.pool {
		p := &smtp.Pool{Dialer: &s.dialer}
		defer p.Close()
		for i := range s.count {
			time.Sleep(s.wait)
			if i > 0 && s.gate != nil {
				select {
				case <-s.gate:
				case <-ctx.Done():
				}
			}
			o.res, o.err = p.Send(ctx, host, &s.env, s.message())
		}
		return o
	}
	if o.client, o.err = s.dialer.DialHost(ctx, host); o.err != nil {
		return o
	}
	for range s.count {
		time.Sleep(s.wait)
		o.res, o.err = o.client.Send(ctx, &s.env, s.message())
	}
	return o
}

// start runs the client against l, in the background.
func (s *scene) start(t *testing.T, l net.Listener) <-chan outcome {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan outcome, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done <- s.run(ctx, hostAt(l.Addr(), s.level))
	}()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		<-ended
	})
	return done
}

// TestClientDialogues plays testdata/client/*.txt as the server of a client made by the settings of each file.
func TestClientDialogues(t *testing.T) {
	dialogue.Run(t, "testdata/client/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s := newScene(t, settings)
		done := s.start(t, l)
		hooks := clientHooks(t, done)
		hooks["next"] = func(...string) error { s.gate <- struct{}{}; return nil }
		return dialogue.Target{
			Play: dialogue.Server,
			TLS:  serverTLS(),
			Dial: func(ctx context.Context) (net.Conn, error) {
				_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
				return l.Accept()
			},
			Hooks: hooks,
		}
	})
}

// clientHooks let a dialogue look at the outcome.
func clientHooks(t *testing.T, done <-chan outcome) map[string]func(...string) error {
	var o *outcome
	result := func() *outcome {
		if o == nil {
			got := <-done
			o = &got
			t.Cleanup(func() {
				if o.client != nil {
					_ = o.client.Close()
				}
			})
		}
		return o
	}
	return map[string]func(...string) error{
		"sent": func(...string) error { return result().err },
		"error": func(args ...string) error { // ! error regular expression
			want := strings.Join(args, " ")
			if err := result().err; err == nil || !regexp.MustCompile(want).MatchString(err.Error()) {
				return fmt.Errorf("error is %v", err)
			}
			return nil
		},
		"rcpt": func(args ...string) error { // ! rcpt 0 ok, or a part of the error
			i, _ := strconv.Atoi(args[0])
			want, err := strings.Join(args[1:], " "), result().res.Rcpts[i]
			if want == "ok" && err != nil || want != "ok" && (err == nil || !strings.Contains(err.Error(), want)) {
				return fmt.Errorf("outcome is %v", err)
			}
			return nil
		},
		"is": func(args ...string) error { // ! is permanent usable
			for _, what := range args {
				if is, known := describeOutcome(result(), what); !known || !is {
					return fmt.Errorf("it is not %s: %v", what, result().err)
				}
			}
			return nil
		},
		"quit": func(...string) error { // the dialogue goes on with what the server sees
			c, ended := result().client, make(chan struct{})
			go func() {
				defer close(ended)
				_ = c.Quit(context.Background())
			}()
			t.Cleanup(func() { <-ended })
			return nil
		},
		"dropped": func(args ...string) error {
			if got := strings.Join(result().res.Dropped, " "); got != strings.Join(args, " ") {
				return fmt.Errorf("dropped is %q", got)
			}
			return nil
		},
	}
}

func describeOutcome(o *outcome, what string) (is, known bool) {
	var e *smtp.StageError
	staged := errors.As(o.err, &e)
	switch what {
	case "permanent":
		return goniec.Permanent(o.err), true
	case "temporary":
		return goniec.Temporary(o.err), true
	case "ambiguous":
		return staged && e.Sent, true
	case "certain":
		return staged && !e.Sent, true
	case "usable":
		return o.client != nil && o.client.Err() == nil, true
	case "broken":
		return o.client == nil || o.client.Err() != nil, true
	}
	return false, false
}

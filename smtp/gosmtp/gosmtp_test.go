package gosmtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	peer "github.com/emersion/go-smtp"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/lmtp"
	"github.com/goniec-mail/goniec/smtp"
	"github.com/goniec-mail/goniec/smtp/gosmtp"
)

// backend is one as a go-smtp user writes it.
type backend struct {
	mu  sync.Mutex
	log []string
}

func (b *backend) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

func (b *backend) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.log, "\n")
}

func (b *backend) NewSession(*peer.Conn) (peer.Session, error) { return &session{b: b}, nil }

type session struct{ b *backend }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "alice" || password != "wonder" {
			return peer.ErrAuthFailed
		}
		s.b.note("auth %s", user)
		return nil
	}), nil
}

func (s *session) Mail(from string, o *peer.MailOptions) error {
	s.b.note("mail %s body=%s size=%d envid=%s", from, o.Body, o.Size, o.EnvelopeID)
	return nil
}

func (s *session) Rcpt(to string, o *peer.RcptOptions) error {
	if strings.HasPrefix(to, "no") {
		return &peer.SMTPError{Code: 550, EnhancedCode: peer.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.b.note("rcpt %s notify=%v", to, o.Notify)
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if strings.Contains(string(text), "trouble") {
		return errors.New("secret trouble")
	}
	s.b.note("data %v", strings.HasSuffix(string(text), "\r\n\r\nhello\r\n"))
	return err
}

func (s *session) LMTPData(r io.Reader, c peer.StatusCollector) error {
	c.SetStatus("b@example.org", nil)
	return &peer.SMTPError{Code: 452, EnhancedCode: peer.EnhancedCodeNotSet, Message: "full"}
}

func (s *session) Reset()        { s.b.note("reset") }
func (s *session) Logout() error { s.b.note("logout"); return nil }

// serve runs a server until the test ends and returns its host.
func serve(t *testing.T, run func(net.Listener) error, stop func() error) goniec.RouteHost {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(l) }()
	t.Cleanup(func() {
		_ = stop()
		<-done
	})
	ap := netip.MustParseAddrPort(l.Addr().String())
	return goniec.RouteHost{Addrs: []netip.Addr{ap.Addr()}, Port: ap.Port(), TLS: goniec.TLSNone}
}

func envelope(to ...string) *goniec.Envelope {
	env := &goniec.Envelope{From: goniec.MustAddress("a@example.com"), EnvID: "id"}
	for _, a := range to {
		env.To = append(env.To, goniec.Recipient{Address: goniec.MustAddress(a), Notify: goniec.NotifyFailure})
	}
	return env
}

func TestBackend(t *testing.T) {
	b := &backend{}
	bridge := gosmtp.New(b)
	srv := &smtp.Server{Handler: bridge, Auth: bridge, AllowInsecureAuth: true}
	host := serve(t, srv.Serve, srv.Close)
	for _, password := range []string{"wrong", "wonder"} {
		p := &smtp.Pool{Dialer: &smtp.Dialer{Auth: auth.PasswordClients("alice", auth.NewSecret(password)), AllowInsecureAuth: true}}
		_, err := p.Send(context.Background(), host, envelope("b@example.org", "no@example.org"), strings.NewReader("Subject: x\r\n\r\nhello\r\n"))
		if password == "wrong" {
			if err == nil || !strings.Contains(err.Error(), "535") {
				t.Errorf("wrong password: %v", err)
			}
		} else if out := goniec.Outcomes(err, 2); out[0] != nil || !strings.Contains(out[1].Error(), "550 5.1.1 no such user") {
			t.Error(err)
		}
		if password == "wonder" {
			_, err = p.Send(context.Background(), host, envelope("b@example.org"), strings.NewReader("trouble\r\n"))
			if !goniec.Temporary(err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("unknown error: %v", err)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	want := []string{"auth alice", "mail a@example.com body= size=21 envid=", "rcpt b@example.org notify=[]", "data true", "reset", "logout"}
	said := b.said()
	for _, line := range want {
		if !strings.Contains(said, line) {
			t.Errorf("%q is missing in\n%s", line, said)
		}
	}
}

func TestLMTPBackend(t *testing.T) {
	b := &backend{}
	srv := &lmtp.Server{Handler: gosmtp.New(b)}
	host := serve(t, srv.Serve, srv.Close)
	c, err := new(lmtp.Dialer).DialHost(context.Background(), host)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Send(context.Background(), envelope("b@example.org", "c@example.org"), strings.NewReader("x\r\n"))
	out := goniec.Outcomes(err, 2)
	if out[0] != nil || out[1] == nil || !strings.Contains(out[1].Error(), "452 4.0.0 full") {
		t.Error(out)
	}
	if err := c.Quit(context.Background()); err != nil {
		t.Error(err)
	}
}

func ExampleNew() {
	b := gosmtp.New(&backend{})
	srv := &smtp.Server{Addr: "127.0.0.1:0", Handler: b, Auth: b}
	go srv.ListenAndServe()
	<-srv.Ready()
	fmt.Println(srv.ListenAddr() != nil)
	srv.Close()
	// Output: true
}

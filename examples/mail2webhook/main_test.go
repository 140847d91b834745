package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/examples/mail2webhook/webhook"
)

// output keeps what the program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// The program as the comment above main shows it: a message comes in, the application can verify it.
func TestRun(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "hook.secret")
	verified := make(chan error, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s, err := webhook.SecretFile(secret)
		if err == nil {
			err = webhook.Verify(r.Header, body, time.Now(), s)
		}
		verified <- err
	}))
	defer app.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, done := &output{}, make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-listen", "127.0.0.1:0", "-domains", "a.test, b.test", "-url", app.URL, "-secret-file", secret}, out, out)
	}()
	listening := regexp.MustCompile(`receiving on (\S+)`)
	require.Eventually(t, func() bool { return listening.MatchString(out.String()) }, time.Minute, 5*time.Millisecond)
	addr := listening.FindStringSubmatch(out.String())[1]
	require.NoError(t, smtp.SendMail(addr, nil, "you@example.net", []string{"x@b.test"}, []byte("Subject: x\r\n\r\nx\r\n")))
	require.NoError(t, <-verified)
	require.ErrorContains(t, smtp.SendMail(addr, nil, "you@example.net", []string{"x@far.example"}, []byte("\r\n")), "5.7.1")
	stop()
	require.NoError(t, <-done)
	require.Contains(t, out.String(), "stopped")
}

func TestBadStarts(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "hook.secret")
	for want, args := range map[string][]string{
		"are needed":               {},
		"unexpected argument":      {"start"},
		"without TLS":              {"-domains", "a.test", "-url", "http://app.example", "-secret-file", secret},
		"flag provided but not":    {"-port", "25"},
		"certificate: open":        {"-domains", "a.test", "-url", "https://app.example", "-secret-file", secret, "-cert", "none", "-key", "none"},
		"secret file":              {"-domains", "a.test", "-url", "https://app.example", "-secret-file", filepath.Join(secret, "x")},
		"is not https://host/path": {"-domains", "a.test", "-url", "app.example", "-secret-file", secret},
	} {
		require.ErrorContains(t, run(t.Context(), args, io.Discard, io.Discard), want)
	}
}

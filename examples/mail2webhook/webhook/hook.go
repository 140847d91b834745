package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/mime"
)

// Hook is a goniec.Deliverer that posts each message to a web application. URL and Secrets are
// required. Fields must not change while it is in use; its methods are safe for concurrent use.
type Hook struct {
	// URL is where messages are posted: https, or http on loopback (see AllowPlainHTTP).
	URL string
	// Secrets sign the requests, each by a signature of its own. NewSecret makes one.
	Secrets []auth.Secret
	// AllowPlainHTTP lets mail go to other hosts without TLS: for networks that you trust.
	AllowPlainHTTP bool
	// Raw adds the message itself to the document.
	Raw bool

	// Timeout limits one request, its answer included. Zero means 5 min, well below smtp.Server.FinishTimeout;
	// negative means that the context alone decides.
	Timeout time.Duration
	// MaxMessageBytes limits a message in octets. Zero means 50 MiB; negative means no limit.
	MaxMessageBytes int64

	// Transport makes the requests. Nil means one of our own, which Close closes.
	Transport http.RoundTripper
	// Spooler keeps a message while it is posted.
	Spooler goniec.Spooler
	// Now is the clock of timestamps. Nil means time.Now.
	Now func() time.Time
	// Logger takes one record for each message. Nil is silent.
	Logger *slog.Logger

	once sync.Once
	own  *http.Transport
}

const (
	defaultTimeout    = 5 * time.Minute
	defaultMaxMessage = 50 << 20
	maxConnsPerHost   = 64      // further messages wait for one, as long as their senders do
	maxAnswerHeader   = 1 << 16 // octets
	maxAnswer         = 512     // octets that are read for the log
)

// What the sender is told. What the hook said stays in the log.
var (
	errTooLarge = goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, "message is larger than the limit")
	errRefused  = goniec.NewStatus(554, goniec.EnhancedCode{5, 7, 1}, "message refused by the application it is for")
	errLater    = goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 0}, "the application that takes this mail does not answer well now, try again later")
	errSetUp    = goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 5}, "system is not set up to take mail, try again later")
)

// Check reports what is wrong with the fields, so that a program can say so when it starts.
func (h *Hook) Check() error {
	_, err := h.target()
	if err == nil {
		_, err = keys(h.Secrets)
	}
	return err
}

// target is URL, if mail may go there.
func (h *Hook) target() (*url.URL, error) {
	u, err := url.Parse(h.URL)
	if err != nil {
		return nil, errors.New("webhook: URL can not be read") // the error would show a password in it
	}
	switch {
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("webhook: URL %q is not https://host/path", u.Redacted())
	case u.Scheme == "http" && !h.AllowPlainHTTP && !loopback(u.Hostname()):
		return nil, fmt.Errorf("webhook: mail would go to %s without TLS: use https, or allow it", u.Host)
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Deliver implements goniec.Deliverer: see the package comment for what it returns when.
func (h *Hook) Deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) error {
	start := time.Now()
	answer, err := h.deliver(ctx, env, msg)
	if h.Logger != nil {
		level, attrs := slog.LevelInfo, []slog.Attr{
			slog.String("id", env.ID), slog.Int("rcpts", len(env.To)), slog.Int("status", answer), slog.Duration("took", time.Since(start)),
		}
		if err != nil {
			level, attrs = slog.LevelWarn, append(attrs, slog.String("error", err.Error()))
		}
		h.Logger.LogAttrs(ctx, level, "posted", attrs...)
	}
	return err
}

// deliver returns the status of the hook's answer too, 0 if there was none.
func (h *Hook) deliver(ctx context.Context, env *goniec.Envelope, msg io.Reader) (int, error) {
	if err := h.Check(); err != nil {
		return 0, errSetUp.WithCause(err)
	}
	content, free, err := h.content(ctx, msg)
	if err != nil {
		return 0, err
	}
	defer free()
	p, err := newPayload(env, content, h.Raw)
	if err != nil {
		return 0, err
	}
	defer p.close()
	if timeout := orDefault(h.Timeout, defaultTimeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	return h.post(ctx, p)
}

// content makes msg readable more than once, within the limit.
func (h *Hook) content(ctx context.Context, msg io.Reader) (goniec.Content, func(), error) {
	limit := orDefault(h.MaxMessageBytes, defaultMaxMessage)
	if c, ok := goniec.AsContent(msg); ok {
		if limit >= 0 && c.Size() > limit {
			return nil, nil, errTooLarge
		}
		return c, func() {}, nil
	}
	s, err := h.Spooler.Spool(ctx, msg, limit)
	switch {
	case errors.Is(err, goniec.ErrTooLarge):
		return nil, nil, errTooLarge.WithCause(err)
	case err != nil:
		return nil, nil, err
	}
	return s, func() { _ = s.Close() }, nil
}

// post sends the document, and judges the answer.
func (h *Hook) post(ctx context.Context, p *payload) (int, error) {
	req, err := h.request(ctx, p)
	if err != nil {
		return 0, err
	}
	// A redirect could carry the message to another host, so that none is followed: RoundTrip knows no redirects.
	resp, err := h.transport().RoundTrip(req)
	if err != nil {
		return 0, errLater.WithCause(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	cause := fmt.Errorf("hook answered %d: %q", resp.StatusCode, mime.Display(string(said)))
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		if p.given() < req.ContentLength {
			// It can not have what it did not wait for.
			return resp.StatusCode, errLater.WithCause(errors.New("hook answered before it had the message"))
		}
		return resp.StatusCode, nil
	case resp.StatusCode == http.StatusUnprocessableEntity && strings.EqualFold(resp.Header.Get(HeaderVerdict), "refuse"):
		return resp.StatusCode, errRefused.WithCause(cause)
	}
	return resp.StatusCode, errLater.WithCause(cause)
}

// request makes the document once for its length and signatures; net/http makes it again for the wire.
func (h *Hook) request(ctx context.Context, p *payload) (*http.Request, error) {
	u, err := h.target()
	if err != nil {
		return nil, err
	}
	keys, err := keys(h.Secrets)
	if err != nil {
		return nil, err
	}
	now := time.Now
	if h.Now != nil {
		now = h.Now
	}
	id, err := p.key()
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(now().Unix(), 10)
	signatures := newSigner(keys, id, timestamp)
	length, err := p.copyTo(ctx, signatures)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), p.body())
	if err != nil {
		return nil, err
	}
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	req.ContentLength = length
	req.GetBody = func() (io.ReadCloser, error) { return p.body(), nil } // for a kept connection that turns out to be gone
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Goniec-mail2webhook")
	req.Header.Set(HeaderID, id)
	req.Header.Set(HeaderTimestamp, timestamp)
	req.Header.Set(HeaderSignature, signatures.header())
	return req, nil
}

// copyTo reads the whole document.
func (p *payload) copyTo(ctx context.Context, w io.Writer) (int64, error) {
	body := p.open()
	defer body.Close()
	return io.Copy(w, &contextReader{ctx, body})
}

// key names the message at each attempt of its sender: a digest of the envelope and of the message
// without the topmost Received field, which our server adds anew each time.
func (p *payload) key() (string, error) {
	d := sha256.New()
	to := make([]string, 0, len(p.env.To))
	for _, r := range p.env.To {
		to = append(to, r.Address.Key().String())
	}
	slices.Sort(to)
	for _, s := range append([]string{p.env.From.Key().String()}, to...) {
		_, _ = io.WriteString(d, s+"\n") // no address holds a line end
	}
	h, err := p.s.Header(p.msg, 0)
	if err != nil {
		return "", err
	}
	skip := int64(0)
	if h.Len() > 0 && strings.EqualFold(h.Field(0).Name(), "Received") {
		skip = int64(len(h.Field(0).Raw()))
	}
	if _, err := io.Copy(d, io.NewSectionReader(p.msg, skip, p.msg.Size()-skip)); err != nil {
		return "", err
	}
	return hex.EncodeToString(d.Sum(nil)), nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func (h *Hook) transport() http.RoundTripper {
	if h.Transport != nil {
		return h.Transport
	}
	h.once.Do(func() {
		h.own = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    8,
			MaxConnsPerHost:        maxConnsPerHost,
			MaxResponseHeaderBytes: maxAnswerHeader,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // of answers, which nobody reads
		}
	})
	return h.own
}

// Close closes idle connections to the hook.
func (h *Hook) Close() error {
	if t, ok := h.transport().(interface{ CloseIdleConnections() }); ok && h.Transport == nil {
		t.CloseIdleConnections()
	}
	return nil
}

// orDefault applies the rule of all limits: zero means the default, negative none.
func orDefault[T int64 | time.Duration](field, def T) T {
	if field == 0 {
		return def
	}
	return field
}

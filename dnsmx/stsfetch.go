package dnsmx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// PolicyFetcher gets MTA-STS policies over HTTPS (RFC 8461 §3.3): with a verified certificate, no
// redirects, at most 64 KiB of text/plain, within a minute. The zero value with a Resolver is ready.
type PolicyFetcher struct {
	// Resolver finds the policy host. Required without Client.
	Resolver Resolver
	// AllowPrivate lets policy hosts be in private networks (see Public).
	AllowPrivate bool
	// Client replaces the HTTP client; its CheckRedirect is not used.
	Client *http.Client
	// Timeout limits a fetch. Zero means one minute; negative means no limit.
	Timeout time.Duration
}

const maxPolicyText = 64 << 10

// Fetch returns the text of a domain's policy.
func (f *PolicyFetcher) Fetch(ctx context.Context, domain string) ([]byte, error) {
	if timeout := f.Timeout; timeout >= 0 {
		if timeout == 0 {
			timeout = time.Minute
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://mta-sts."+domain+"/.well-known/mta-sts.txt", nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK: // redirects included
		return nil, fmt.Errorf("policy host answered %s", resp.Status)
	case kind != "text/plain":
		return nil, fmt.Errorf("policy has type %.40q, not text/plain", kind)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicyText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPolicyText {
		return nil, errors.New("policy is larger than 64 KiB")
	}
	return text, nil
}

// client never follows redirects: RFC 8461 §3.3.
func (f *PolicyFetcher) client() *http.Client {
	c := http.Client{}
	if f.Client != nil {
		c = *f.Client
	} else {
		c.Transport = &http.Transport{
			DialContext: f.dial, DisableKeepAlives: true, TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: maxPolicyText,
		}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// dial connects to a policy host through the Resolver, and not into private networks.
func (f *PolicyFetcher) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	var reason error
	for _, family := range []string{"ip6", "ip4"} {
		list, _, err := f.Resolver.LookupAddrs(ctx, host, family)
		all, reason = append(all, list...), errors.Join(reason, err)
	}
	for _, ip := range all[:min(len(all), defaultMaxAddrs)] {
		if !f.AllowPrivate && !Public(ip) {
			reason = errors.Join(reason, fmt.Errorf("%s is in a private or reserved network", ip))
			continue
		}
		// An address that swallows packets must not take the time of those behind it.
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
		if err == nil {
			return c, nil
		}
		reason = errors.Join(reason, err)
	}
	return nil, fmt.Errorf("connect to %s: %w", host, reason)
}

package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/smtp"
)

// hostile is a server that does what it should not. It keeps what the client said in clear text, and what under TLS.
type hostile struct {
	conn  net.Conn
	r     *bufio.Reader
	mu    sync.Mutex
	plain bytes.Buffer
	under bytes.Buffer
	tls   bool
}

func (h *hostile) say(text string) { _, _ = io.WriteString(h.conn, text) }

// hear reads one line of the client.
func (h *hostile) hear() string {
	line, _ := h.r.ReadString('\n')
	return line
}

// Read keeps what passes.
func (h *hostile) Read(p []byte) (int, error) {
	n, err := h.conn.Read(p)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tls {
		h.under.Write(p[:n])
	} else {
		h.plain.Write(p[:n])
	}
	return n, err
}

// upgrade goes over to TLS as a server.
func (h *hostile) upgrade(cfg *tls.Config) bool {
	c := tls.Server(h.conn, cfg)
	if c.Handshake() != nil {
		return false
	}
	h.mu.Lock()
	h.tls = true
	h.mu.Unlock()
	h.conn = c
	h.r.Reset(h)
	return true
}

// rest reads what else the client says, and answers everything with 250.
func (h *hostile) rest() {
	for h.hear() != "" {
		h.say("250 ok\r\n")
	}
}

// offering greets, offers EHLO lines and waits for the next command.
func (h *hostile) offering(lines string) string {
	h.say("220 mx.example.org\r\n")
	h.hear()
	h.say(lines)
	return h.hear()
}

const ehloTLS = "250-mx.example.org\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS\r\n"

// afterSTARTTLS is a server that answers STARTTLS in some way and goes on with 250.
func afterSTARTTLS(reply string) func(*hostile) {
	return func(h *hostile) {
		h.offering(ehloTLS)
		h.say(reply)
		h.rest()
	}
}

// underTLS is a server that goes over to TLS with a certificate, and then behaves.
func underTLS(cfg func() *tls.Config) func(*hostile) {
	return func(h *hostile) {
		h.offering(ehloTLS)
		h.say("220 go\r\n")
		if h.upgrade(cfg()) {
			h.rest()
		}
	}
}

// certificate makes a certificate that is wrong in some way.
func certificate(change func(*x509.Certificate)) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mx.example.org"}, DNSNames: []string{"mx.example.org"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// hostiles are servers that must not get a credential or mail in clear text, at any level of TLS that requires it.
var hostiles = map[string]func(*hostile){
	// T04: STARTTLS is absent, refused or garbage.
	"absent":              func(h *hostile) { h.offering("250 mx.example.org\r\n"); h.rest() },
	"absent, AUTH (T07)":  func(h *hostile) { h.offering("250-mx.example.org\r\n250 AUTH PLAIN LOGIN\r\n"); h.rest() },
	"absent, AUTH= (T07)": func(h *hostile) { h.offering("250-mx.example.org\r\n250 AUTH=PLAIN\r\n"); h.rest() },
	"AUTH CRAM-MD5":       func(h *hostile) { h.offering("250-mx.example.org\r\n250 AUTH CRAM-MD5\r\n"); h.rest() },
	"in the greeting": func(h *hostile) {
		h.say("220-mx\r\n220 STARTTLS AUTH PLAIN\r\n")
		h.hear()
		h.say("250 mx\r\n")
		h.rest()
	},
	"as first EHLO line": func(h *hostile) { h.offering("250-STARTTLS\r\n250 AUTH PLAIN\r\n"); h.rest() },
	"XSTARTTLS":          func(h *hostile) { h.offering("250-mx\r\n250-XSTARTTLS\r\n250 AUTH PLAIN\r\n"); h.rest() },
	"STARTTLSX":          func(h *hostile) { h.offering("250-mx\r\n250-STARTTLSX\r\n250 AUTH PLAIN\r\n"); h.rest() },
	"HELO only": func(h *hostile) {
		h.say("220 mx\r\n")
		h.hear()
		h.say("502 no\r\n")
		h.hear()
		h.say("250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n")
		h.rest()
	},
	"454":                afterSTARTTLS("454 4.7.0 not now\r\n"),
	"501":                afterSTARTTLS("501 5.5.4 no\r\n"),
	"502":                afterSTARTTLS("502 5.5.1 no\r\n"),
	"530":                afterSTARTTLS("530 5.7.0 no\r\n"),
	"554":                afterSTARTTLS("554 no\r\n"),
	"421":                afterSTARTTLS("421 bye\r\n"),
	"250":                afterSTARTTLS("250 as you like\r\n"),
	"235":                afterSTARTTLS("235 you are in\r\n"),
	"334":                afterSTARTTLS("334 VXNlcm5hbWU6\r\n"),
	"354":                afterSTARTTLS("354 go\r\n"),
	"garbage":            afterSTARTTLS("\x00\xff\xfe garbage\r\n"),
	"no digits":          afterSTARTTLS("OK\r\n"),
	"220 without space":  afterSTARTTLS("220go\r\n"),
	"bare LF":            afterSTARTTLS("220 go\n250 mx\n"),
	"bare LF then CRLF":  afterSTARTTLS("220 go\n250 mx\r\n"),
	"mixed codes":        afterSTARTTLS("220-go\r\n250 mx\r\n"),
	"unending reply":     func(h *hostile) { h.offering(ehloTLS); h.say(strings.Repeat("220-go\r\n", 2000)); h.rest() },
	"unending line":      func(h *hostile) { h.offering(ehloTLS); h.say("220 " + strings.Repeat("x", 2<<20)); h.rest() },
	"hangs up":           func(h *hostile) { h.offering(ehloTLS) },
	"hangs up after 220": func(h *hostile) { h.offering(ehloTLS); h.say("220 go\r\n") },
	"silence after 220":  func(h *hostile) { h.offering(ehloTLS); h.say("220 go\r\n"); h.rest() },
	// T02: something is put in behind the 220.
	"injected EHLO":  afterSTARTTLS("220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"),
	"injected 250":   afterSTARTTLS("220 go\r\n250 ok\r\n"),
	"injected 235":   afterSTARTTLS("220 go\r\n235 ok\r\n"),
	"injected 421":   afterSTARTTLS("220 go\r\n421 bye\r\n"),
	"injected octet": afterSTARTTLS("220 go\r\n2"),
	"injected CRLF":  afterSTARTTLS("220 go\r\n\r\n"),
	"injected NUL":   afterSTARTTLS("220 go\r\n\x00"),
	"injected 1 MiB": afterSTARTTLS("220 go\r\n" + strings.Repeat("250 x\r\n", 1<<17)),
	"injected TLS":   afterSTARTTLS("220 go\r\n\x16\x03\x03\x00\x02\x02\x28"),
	"plain, not TLS": func(h *hostile) {
		h.offering(ehloTLS)
		h.say("220 go\r\n")
		pause()
		h.say("250-mx\r\n250 AUTH PLAIN\r\n")
		h.rest()
	},
	"fatal alert": func(h *hostile) {
		h.offering(ehloTLS)
		h.say("220 go\r\n")
		pause()
		h.say("\x15\x03\x03\x00\x02\x02\x28")
		h.rest()
	},
	"cut ServerHello": func(h *hostile) {
		h.offering(ehloTLS)
		h.say("220 go\r\n")
		pause()
		h.say("\x16\x03\x03\x40\x00\x02\x00")
		h.rest()
	},
	"talks first":     func(h *hostile) { h.say("220 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n235 ok\r\n"); h.rest() },
	"two greetings":   func(h *hostile) { h.say("220 mx\r\n220 mx\r\n"); h.rest() },
	"EHLO twice":      func(h *hostile) { h.offering("250 mx\r\n250-mx\r\n250 AUTH PLAIN\r\n"); h.rest() },
	"235 as a banner": func(h *hostile) { h.say("235 mx\r\n"); h.rest() },
	"HTTP":            func(h *hostile) { h.say("HTTP/1.1 200 OK\r\n\r\n"); h.rest() },
	"no banner, ever": func(h *hostile) { h.rest() },
	"TLS 1.1 at most": underTLS(func() *tls.Config { c := serverTLS(); c.MaxVersion = tls.VersionTLS11; return c }),
	"no common cipher": underTLS(func() *tls.Config {
		c := serverTLS()
		c.MaxVersion = tls.VersionTLS12
		c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}
		return c
	}),
}

// badCertificates are servers whose certificate is wrong. At the level required that is accepted, above it is not (T09).
var badCertificates = map[string]func(*hostile){
	"self-signed": underTLS(func() *tls.Config { return certificate(func(*x509.Certificate) {}) }),
	"wrong name": underTLS(func() *tls.Config {
		return certificate(func(c *x509.Certificate) { c.DNSNames = []string{"evil.example.net"} })
	}),
	"expired": underTLS(func() *tls.Config {
		return certificate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	}),
	"no name": underTLS(func() *tls.Config { return certificate(func(c *x509.Certificate) { c.DNSNames = nil }) }),
	"IDN name": underTLS(func() *tls.Config {
		return certificate(func(c *x509.Certificate) { c.DNSNames = []string{"mx.xn--exmple-4nf.org"} })
	}),
}

func pause() { time.Sleep(20 * time.Millisecond) }

// serveHostile serves every connection with do, and returns what was said.
func serveHostile(t *testing.T, do func(*hostile)) (net.Listener, func() (plain, under string)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var mu sync.Mutex
	var all []*hostile
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h := &hostile{conn: c}
			h.r = bufio.NewReader(h)
			mu.Lock()
			all = append(all, h)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				do(h)
			})
		}
	})
	return l, func() (plain, under string) {
		_ = l.Close()
		wg.Wait()
		for _, h := range all {
			plain += h.plain.String()
			under += h.under.String()
		}
		return plain, under
	}
}

// Nothing that was not meant for clear text is ever said in it: T02, T04, T07, T09 over all levels, with and without credentials.
func TestHostileServers(t *testing.T) {
	levels := map[string]goniec.TLSLevel{"required": goniec.TLSRequired, "verified": goniec.TLSVerified, "dane": goniec.TLSDANE, "opportunistic with AUTH": goniec.TLSOpportunistic}
	cases := 0
	for levelName, level := range levels {
		for set, servers := range map[string]map[string]func(*hostile){"": hostiles, "certificate ": badCertificates} {
			if set != "" && level == goniec.TLSRequired {
				continue
			}
			for name, do := range servers {
				cases++
				t.Run(levelName+"/"+set+name, func(t *testing.T) {
					t.Parallel()
					hostileCase(t, level, do)
				})
			}
		}
	}
	require.GreaterOrEqual(t, cases, 100)
}

func hostileCase(t *testing.T, level goniec.TLSLevel, do func(*hostile)) {
	l, said := serveHostile(t, do)
	limit := 300 * time.Millisecond
	d := &smtp.Dialer{
		Hostname: "client.example", TLSConfig: trusting(), Auth: auth.PasswordClients("alice", auth.NewSecret("wonder")),
		Timeouts: smtp.Timeouts{Greeting: limit, Command: limit, Handshake: limit},
	}
	host := hostAt(l.Addr(), level)
	host.Verify = func(cs tls.ConnectionState) error {
		if !bytes.Equal(cs.PeerCertificates[0].Raw, testCert().Certificate[0]) {
			return errors.New("no TLSA record matches")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := d.DialHost(ctx, host)
	if c != nil {
		_ = c.Close()
	}
	require.Error(t, err)
	require.True(t, goniec.Temporary(err) || strings.Contains(err.Error(), "greeting") || strings.Contains(err.Error(), "EHLO"), err)
	plain, under := said()
	for _, secret := range []string{"AUTH", "wonder", "d29uZGVy", "AGFsaWNl", "YWxpY2U", "MAIL"} {
		require.NotContains(t, plain, secret)
		require.NotContains(t, under, secret)
	}
}

// The table can fail: a server without fault gets the credentials, under TLS.
func TestHostileControl(t *testing.T) {
	for _, level := range []goniec.TLSLevel{goniec.TLSRequired, goniec.TLSVerified, goniec.TLSDANE, goniec.TLSOpportunistic} {
		l, said := serveHostile(t, func(h *hostile) {
			h.offering(ehloTLS)
			h.say("220 go\r\n")
			if !h.upgrade(serverTLS()) {
				return
			}
			h.hear()
			h.say("250-mx\r\n250 AUTH PLAIN\r\n")
			h.hear()
			h.say("235 ok\r\n")
			h.rest()
		})
		d := &smtp.Dialer{TLSConfig: trusting(), Auth: auth.PasswordClients("alice", auth.NewSecret("wonder"))}
		host := hostAt(l.Addr(), level)
		host.Verify = acceptAny
		c, err := d.DialHost(t.Context(), host)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		plain, under := said()
		require.NotContains(t, plain, "AUTH")
		require.Contains(t, under, "AUTH PLAIN AGFsaWNlAHdvbmRlcg==")
	}
}

// The opportunistic level without credentials does go on in clear text, but not over what was injected.
func TestOpportunisticInjected(t *testing.T) {
	l, said := serveHostile(t, afterSTARTTLS("220 go\r\n250 mx\r\n"))
	_, err := new(smtp.Dialer).DialHost(t.Context(), hostAt(l.Addr(), goniec.TLSOpportunistic))
	require.ErrorIs(t, err, smtp.ErrInjected)
	plain, _ := said()
	require.NotContains(t, plain, "MAIL")
}

// S10: replies of a hostile server are bounded.
func TestS10Replies(t *testing.T) {
	for name, text := range map[string]string{
		"10 MiB line":            "220 " + strings.Repeat("x", 10<<20) + "\r\n",
		"1e6 continuation lines": strings.Repeat("220-x\r\n", 1e6),
	} {
		t.Run(name, func(t *testing.T) {
			l, said := serveHostile(t, func(h *hostile) { h.say(text) })
			_, err := new(smtp.Dialer).DialHost(t.Context(), hostAt(l.Addr(), goniec.TLSNone))
			require.ErrorContains(t, err, "reply is longer than 512 lines or 65536 octets")
			said()
		})
	}
}

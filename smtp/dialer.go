package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// ContextDialer makes connections: *net.Dialer is one, and so are the SOCKS5 dialers of golang.org/x/net/proxy.
type ContextDialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dialer says how Clients are made. The zero value is ready for use. Fields must not change while it is in use, and it must not
// be copied then; its methods are safe for concurrent use.
type Dialer struct {
	// Hostname is our name in EHLO: a domain name or an address literal. "" means the machine's name if it is fully qualified, else
	// the literal of the connection's own address (RFC 5321 §4.1.4).
	Hostname string

	// Net makes the connections. Nil means a net.Dialer, which tries IPv6 and IPv4 together (RFC 8305).
	Net ContextDialer

	// TLSConfig is the base of every TLS configuration: client certificates (Certificates), RootCAs, MinVersion. Its
	// InsecureSkipVerify is not used: a host's TLSLevel says what is checked. Nil means TLS 1.2 and up with the system's roots.
	TLSConfig *tls.Config
	// ImplicitTLS begins TLS with the first octet (RFC 8314 §3), unless a host's level is none. It is implied by port 465.
	ImplicitTLS bool

	// Auth are the mechanisms that may be used, with the credentials inside. The strongest that the server offers is taken; if it
	// fails, no weaker one is tried. With Auth an opportunistic TLS level counts as verified. Nil means no AUTH.
	Auth []auth.ClientMechanism
	// AllowInsecureAuth lets passwords pass in clear text, and to servers whose certificate nobody checked: for tests.
	AllowInsecureAuth bool

	// Convert turns a message that the server can not take as it is into one that it can: to is Body7Bit or Body8BitMIME. A
	// result that is an io.Closer is closed after use. Nil means that such a message is refused with 5.6.3.
	Convert func(ctx context.Context, msg goniec.Content, to goniec.BodyType) (goniec.Content, error)

	// Ignore names extensions that are not used though a server offers them, as "CHUNKING": for servers that do not live up to
	// what they say.
	Ignore []string

	// BareNewlines is the policy for a bare CR or LF in a message. Zero, RejectBare, refuses the message with 5.6.0; NormaliseBare is
	// for programs whose text has LF line ends. Binary bodies (BodyBinaryMIME) stay as they are.
	BareNewlines BarePolicy

	// Timeouts are the limits of each phase. The zero value is RFC 5321's.
	Timeouts Timeouts

	// Trace is called with each line of the dialogue, credentials masked and messages left out, by the goroutine that uses the
	// Client. Nil means no trace.
	Trace func(c *Client, line TraceLine)
	// Logger takes what the caller does not learn otherwise, as a fall-back to clear text. Nil is silent.
	Logger *slog.Logger

	once     sync.Once
	sessions tls.ClientSessionCache // shared by all connections, so that the next handshake is short
}

// Timeouts are the time limits of a client. In each, zero means the default and negative means no limit.
type Timeouts struct {
	Connect   time.Duration // for each address; default 30 s
	Handshake time.Duration // TLS; default 1 min
	Greeting  time.Duration // the server's 220; default 5 min (RFC 5321 §4.5.3.2.1)
	Command   time.Duration // each reply to EHLO, AUTH, MAIL, RCPT; default 5 min (§4.5.3.2.2, §4.5.3.2.3)
	DataInit  time.Duration // the 354; default 2 min (§4.5.3.2.4)
	DataBlock time.Duration // each write; default 3 min (§4.5.3.2.5)
	DataEnd   time.Duration // the reply to the message; default 10 min (§4.5.3.2.6)
	Quit      time.Duration // the reply to QUIT; default 5 s: nothing depends on it
}

// withDefaults fills in what is zero.
func (t Timeouts) withDefaults() Timeouts {
	for _, f := range [...]struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Connect, 30 * time.Second},
		{&t.Handshake, time.Minute},
		{&t.Greeting, 5 * time.Minute},
		{&t.Command, 5 * time.Minute},
		{&t.DataInit, 2 * time.Minute},
		{&t.DataBlock, 3 * time.Minute},
		{&t.DataEnd, 10 * time.Minute},
		{&t.Quit, 5 * time.Second},
	} {
		if *f.v == 0 {
			*f.v = f.def
		}
	}
	return t
}

// unixPrefix marks a unix socket in place of a host name.
const unixPrefix = "unix:"

// Limits of dialling.
const (
	maxAddrs     = 16                     // addresses of one host that are tried
	attemptDelay = 250 * time.Millisecond // RFC 8305 §5: head start of one address before the next
)

// Dial connects to addr, "host", "host:port" or "unix:/path", with TLS whose certificate is valid for that host: without
// port to 587 (submission, RFC 6409), with port 465 by implicit TLS. Use DialHost for other levels of TLS. Unix sockets need
// no TLS.
func (d *Dialer) Dial(ctx context.Context, addr string) (*Client, error) {
	host, err := ParseHost(addr, 587)
	if err != nil {
		return nil, err
	}
	return d.DialHost(ctx, host)
}

// ParseHost makes a RouteHost of "host", "host:port", "[literal]:port" or "unix:/path", with port as the default and TLSVerified
// as the level; unix sockets have TLSNone.
func ParseHost(addr string, port uint16) (goniec.RouteHost, error) {
	if strings.HasPrefix(addr, unixPrefix) {
		return goniec.RouteHost{Name: addr, TLS: goniec.TLSNone}, nil
	}
	h := goniec.RouteHost{Name: addr, Port: port, TLS: goniec.TLSVerified}
	if name, p, err := net.SplitHostPort(addr); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return h, fmt.Errorf("smtp: %q has no valid port: it is a number up to 65535", clip(addr, 80))
		}
		h.Name, h.Port = name, uint16(n)
	}
	if ip, err := netip.ParseAddr(strings.Trim(h.Name, "[]")); err == nil {
		h.Name, h.Addrs = "", []netip.Addr{ip}
		return h, nil
	}
	if strings.ContainsAny(h.Name, ":[]/ \r\n\x00") || h.Name == "" {
		return h, fmt.Errorf("smtp: %q is no host: give host, host:port, [address]:port or unix:/path", clip(addr, 80))
	}
	return h, nil
}

// DialHost connects to a host of a Route and brings the session to where mail can be sent: greeting, TLS at the host's level,
// AUTH. The host's addresses are tried in order with a short head start for each, and again when a session fails before AUTH.
// At the level opportunistic a failed handshake is followed by one more connection without TLS. Port 0 means 25.
// Errors are *StageError.
func (d *Dialer) DialHost(ctx context.Context, host goniec.RouteHost) (*Client, error) {
	return d.DialDialect(ctx, smtpDialect(), host)
}

// DialDialect is DialHost for another dialect of the protocol.
func (d *Dialer) DialDialect(ctx context.Context, dialect *Dialect, host goniec.RouteHost) (*Client, error) {
	return d.dialAs(ctx, dialect, host, d.Auth)
}

// dialAs is DialDialect with certain credentials.
func (d *Dialer) dialAs(ctx context.Context, dialect *Dialect, host goniec.RouteHost, mechs []auth.ClientMechanism) (*Client, error) {
	host = d.settle(dialect, host, mechs)
	for {
		c, used, err := d.attempt(ctx, dialect, host, mechs)
		if err == nil || ctx.Err() != nil || !used.IsValid() {
			return c, err
		}
		var e *StageError
		if errors.As(err, &e) && e.Stage == StageAuth {
			return nil, err
		}
		host.Addrs = without(host.Addrs, used)
		if len(host.Addrs) == 0 {
			return nil, err
		}
	}
}

// settle fills in what a host leaves open.
func (d *Dialer) settle(dialect *Dialect, host goniec.RouteHost, mechs []auth.ClientMechanism) goniec.RouteHost {
	if host.Port == 0 {
		host.Port = dialect.port()
	}
	host.Name = asciiHost(host.Name)
	if len(host.Addrs) > maxAddrs {
		host.Addrs = host.Addrs[:maxAddrs]
	}
	if len(mechs) > 0 && !d.AllowInsecureAuth && host.TLS == goniec.TLSOpportunistic {
		host.TLS = goniec.TLSVerified
	}
	if host.TLS == goniec.TLSOpportunistic && d.implicit(host) {
		host.TLS = goniec.TLSRequired // such a port has no clear text to fall back to
	}
	return host
}

// implicit reports whether TLS begins with the first octet.
func (d *Dialer) implicit(host goniec.RouteHost) bool {
	return d.ImplicitTLS || host.Port == 465 && !strings.HasPrefix(host.Name, unixPrefix)
}

// port is the default port.
func (d *Dialect) port() uint16 {
	_, p, _ := net.SplitHostPort(d.Addr)
	n, _ := strconv.ParseUint(p, 10, 16)
	return uint16(n)
}

// asciiHost returns a host name as A-labels, without the dot of the root.
func asciiHost(name string) string {
	if strings.HasPrefix(name, unixPrefix) {
		return name
	}
	name = strings.TrimSuffix(name, ".")
	if isPrintable(name) && strings.ToLower(name) == name {
		return name
	}
	if a, err := goniec.NewAddress("x", name); err == nil {
		return a.ASCIIDomain()
	}
	return name
}

// attempt makes one session. used is the address of a failed one, if the host has several.
func (d *Dialer) attempt(ctx context.Context, dialect *Dialect, host goniec.RouteHost, mechs []auth.ClientMechanism) (_ *Client, used netip.Addr, _ error) {
	conn, used, err := d.connect(ctx, host)
	if err != nil {
		return nil, netip.Addr{}, &StageError{Stage: StageConnect, Host: host.Name, Err: err}
	}
	c, err := d.newClient(ctx, dialect, conn, host, mechs)
	if err == nil || host.TLS != goniec.TLSOpportunistic || !isHandshake(err) || ctx.Err() != nil {
		return c, used, err
	}
	// RFC 7435: broken encryption must not be worse than none, which is all that was hoped for.
	d.warn("TLS handshake failed, going on in clear text", err)
	if used.IsValid() {
		host.Addrs = []netip.Addr{used}
	}
	host.TLS = goniec.TLSNone
	if conn, used, err = d.connect(ctx, host); err != nil {
		return nil, netip.Addr{}, &StageError{Stage: StageConnect, Host: host.Name, Err: err}
	}
	c, err = d.newClient(ctx, dialect, conn, host, mechs)
	return c, used, err
}

func (d *Dialer) warn(text string, err error) {
	if d.Logger != nil {
		d.Logger.Warn("smtp: "+text, slog.String(keyErr, logText(err.Error())))
	}
}

// connect opens a connection to a host.
func (d *Dialer) connect(ctx context.Context, host goniec.RouteHost) (net.Conn, netip.Addr, error) {
	if path, ok := strings.CutPrefix(host.Name, unixPrefix); ok {
		conn, err := d.dialOne(ctx, "unix", path)
		return conn, netip.Addr{}, err
	}
	if len(host.Addrs) == 1 {
		conn, err := d.dialOne(ctx, "tcp", netip.AddrPortFrom(host.Addrs[0], host.Port).String())
		return conn, host.Addrs[0], err
	}
	if len(host.Addrs) > 1 {
		return d.race(ctx, host.Addrs, host.Port)
	}
	if host.Name == "" || hasControl(host.Name) {
		return nil, netip.Addr{}, fmt.Errorf("no host name %q", clip(host.Name, 80))
	}
	conn, err := d.dialOne(ctx, "tcp", net.JoinHostPort(host.Name, strconv.Itoa(int(host.Port))))
	return conn, netip.Addr{}, err
}

// dialOne dials within the time for one address.
func (d *Dialer) dialOne(ctx context.Context, network, addr string) (net.Conn, error) {
	if limit := d.Timeouts.withDefaults().Connect; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if d.Net != nil {
		return d.Net.DialContext(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// dialled is the outcome of one address.
type dialled struct {
	conn net.Conn
	addr netip.Addr
	err  error
}

// race dials addresses in order, each when the one before has failed or has had its head start, and takes the first
// connection (RFC 8305 §5). When it returns, nothing is left of the others.
func (d *Dialer) race(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan dialled, len(addrs))
	next, running := 0, 0
	start := func() {
		a := addrs[next]
		next, running = next+1, running+1
		go func() {
			conn, err := d.dialOne(ctx, "tcp", netip.AddrPortFrom(a, port).String())
			results <- dialled{conn, a, err}
		}()
	}
	defer func() {
		cancel()
		for ; running > 0; running-- {
			if r := <-results; r.conn != nil {
				_ = r.conn.Close()
			}
		}
	}()
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	var errs []error
	start()
	for running > 0 {
		select {
		case r := <-results:
			running--
			if r.err == nil {
				return r.conn, r.addr, nil
			}
			errs = append(errs, r.err)
		case <-timer.C:
		}
		if next < len(addrs) && ctx.Err() == nil {
			timer.Reset(attemptDelay)
			start()
		}
	}
	return nil, netip.Addr{}, errors.Join(errs...)
}

func without(addrs []netip.Addr, a netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, b := range addrs {
		if a != b {
			out = append(out, b)
		}
	}
	return out
}

// normalises reports whether bare CRs and LFs become CRLFs.
func (d *Dialer) normalises() bool { return d.BareNewlines == NormaliseBare }

// ignores reports whether an extension is not to be used.
func (d *Dialer) ignores(ext extension) bool {
	for _, name := range d.Ignore {
		if e, _ := parseExtension(name); e == ext {
			return true
		}
	}
	return false
}

// hostname returns our name for EHLO on a connection.
func (d *Dialer) hostname(local net.Addr) (string, error) {
	if d.Hostname != "" {
		if !isHelloName(d.Hostname) {
			return "", fmt.Errorf("smtp: Hostname %q is no domain name and no address literal", clip(d.Hostname, 80))
		}
		return d.Hostname, nil
	}
	if name, err := os.Hostname(); err == nil && strings.Contains(name, ".") && isHelloName(name) {
		return name, nil
	}
	if ap := addrPort(local); ap.IsValid() {
		ip := ap.Addr().Unmap().WithZone("")
		if ip.Is4() {
			return "[" + ip.String() + "]", nil
		}
		return "[IPv6:" + ip.String() + "]", nil
	}
	return "localhost", nil
}

// isHelloName reports whether s can be the argument of EHLO: letters, digits and the few signs of names and literals.
func isHelloName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("-._:[]", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// addrPort is the address of a connection's end; the zero value if it has none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort()
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/selfsigned"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// options are the flags, checked.
type options struct {
	data, hostname, users, mail  string
	smtp, submission, lmtp, pop3 string
	imap, imaps, nextHop         string
	control                      string // path of the control socket
	public                       string // whose folders everybody sees
	postmaster                   goniec.Address
	notices                      queue.Notices
	domains, relayDomains        []string
	trusted                      []netip.Prefix
	insecureAuth, demo, hold     bool
	bareNewlines                 smtp.BarePolicy
	backoff                      time.Duration // to the second try; 0 = the queue's default
	perAddress                   int
}

// demoUsers are the accounts of the demo. Their passwords are known to everybody.
const demoUsers = "# Accounts of the demo. Delete the folder to start afresh.\nalice@demo.test:{PLAIN}alice\nbob@demo.test:{PLAIN}bob\n"

const usage = `usage: mailserver [flags]         a demo on loopback; with -users and -domains, a server
       mailserver queue VERB ...  look after its queue; "mailserver queue" lists the verbs

`

func parseFlags(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	var domains, trusted string
	f := flag.NewFlagSet("mailserver", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.data, "data", "goniec-demo", "`folder` for everything the server keeps")
	f.StringVar(&o.hostname, "hostname", "localhost", "our `name` in greetings and Received fields")
	f.StringVar(&o.smtp, "smtp", "127.0.0.1:2525", "`address` that receives mail; \"\" turns it off, port 0 takes a free one")
	f.StringVar(&o.submission, "submission", "127.0.0.1:2587", "`address` for users' own mail, with AUTH")
	f.StringVar(&o.lmtp, "lmtp", "127.0.0.1:2424", "`address` of LMTP, for other mail servers on this machine")
	f.StringVar(&o.pop3, "pop3", "127.0.0.1:2110", "`address` of POP3")
	f.StringVar(&o.imap, "imap", "127.0.0.1:2143", "`address` of IMAP")
	f.StringVar(&o.imaps, "imaps", "127.0.0.1:2993", "`address` of IMAP with TLS from the first octet")
	f.StringVar(&o.nextHop, "next-hop", "", "`host:port` that takes all mail for other domains; without it, they are asked by MX. TLS must be valid, unless it is an IP address")
	f.BoolVar(&o.hold, "hold", false, "keep mail in the queue: deliver nothing from it")
	f.StringVar(&domains, "domains", "", "our domains, a comma-separated `list`")
	f.StringVar(&o.users, "users", "", "passwd-`file` with lines user@domain:{SCHEME}hash; without it, the demo's accounts")
	f.StringVar(&o.mail, "mail", "", "`pattern` of a user's Maildir, such as /srv/mail/{domain}/{local}/Maildir (default DATA/mail/{domain}/{local})")
	f.TextVar(&o.postmaster, "postmaster", goniec.Address{}, "`address` that gets mail for postmaster, who must always be reachable (default the account postmaster of our first domain; alice in the demo)")
	f.StringVar(&o.public, "public", "", "`user` whose folders others see below Shared, as far as their access control lists say")
	f.StringVar(&o.control, "control", "", "`path` of the socket for \"mailserver queue\" (default DATA/queue.sock). It has mode 0666: everybody who can reach it may submit mail, under any sender; only root and the server's own user may do more. DATA has mode 0700, so other users reach only a path elsewhere, such as /run/goniec/queue.sock")
	f.TextVar(&o.notices, "notices", queue.NoticeResource|queue.NoticeSoftware, "of what postmaster is told, a comma-separated `list` of bounce, delay, policy, protocol, resource, software")
	f.StringVar(&trusted, "trusted", "", "networks that may send to other domains, a comma-separated `list` of CIDRs")
	f.IntVar(&o.perAddress, "max-per-address", 0, "connections that one address may have to read mail, for each service; 0 is 100, negative no limit")
	f.BoolVar(&o.insecureAuth, "insecure-auth", false, "take passwords in clear text on loopback listeners")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: the only command is queue, everything else is a flag, see -h", f.Arg(0))
	}
	o.domains = list(domains)
	for _, s := range list(trusted) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("-trusted: %q is no network in CIDR form such as 192.0.2.0/24: %w", s, err)
		}
		o.trusted = append(o.trusted, p.Masked())
	}
	return o, o.complete()
}

// complete fills in what follows from the other options, and refuses what is not safe.
func (o *options) complete() error {
	o.demo = o.users == ""
	switch {
	case o.demo && len(o.domains) > 0:
		return errors.New("-domains needs -users: the demo has its own domain, demo.test")
	case !o.demo && len(o.domains) == 0:
		return errors.New("-users needs -domains: which domains are ours?")
	}
	for _, addr := range o.addresses() {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" && !loopback(addr) {
			return fmt.Errorf("will not listen on %q: %w; give host:port, such as 127.0.0.1:2525, or unix:/path", addr, err)
		}
	}
	if o.demo || o.insecureAuth {
		for _, addr := range o.addresses() {
			if why := "the demo's passwords are public"; addr != "" && !loopback(addr) {
				if !o.demo {
					why = "-insecure-auth sends passwords in clear text"
				}
				return fmt.Errorf("will not listen on %s: %s; use a loopback address such as 127.0.0.1, or -users with TLS", addr, why)
			}
		}
	}
	if o.control == "" {
		o.control = socketPath(o.data)
	}
	if o.mail == "" {
		o.mail = filepath.Join(o.data, "mail", "{domain}", "{local}")
	}
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w: choose another with -data", err)
	}
	if !o.demo {
		if o.postmaster.IsZero() {
			o.postmaster, _ = goniec.NewAddress("postmaster", o.domains[0]) // a domain that is none is found later
		}
		return nil
	}
	if o.postmaster.IsZero() {
		o.postmaster = goniec.MustAddress("alice@demo.test")
	}
	// In the demo, a message file from an editor may be sent as it is, with LF for line ends.
	o.bareNewlines = smtp.NormaliseBare
	o.relayDomains, o.backoff = []string{"later.test", "gone.test"}, demoBackoff
	o.domains, o.insecureAuth, o.users = []string{"demo.test"}, true, filepath.Join(o.data, "users")
	err := writeNew(o.users, demoUsers)
	if err != nil {
		return fmt.Errorf("data folder: %w: choose another with -data", err)
	}
	return nil
}

// addresses are those of all services, "" for those that are off.
func (o *options) addresses() []string {
	return []string{o.smtp, o.submission, o.lmtp, o.imap, o.imaps, o.pop3}
}

// writeNew makes a file unless it is there.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// certificate gives the TLS configuration, with a certificate made at the first start.
func (o *options) certificate() (*tls.Config, error) {
	cert, err := selfsigned.Load(filepath.Join(o.data, "tls.pem"), o.hostname, "localhost", "127.0.0.1", "::1")
	if err != nil {
		return nil, fmt.Errorf("TLS certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

// loopback reports whether an address can be reached from this machine only.
func loopback(addr string) bool {
	if strings.HasPrefix(addr, "unix:") || strings.HasPrefix(addr, "/") {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func list(s string) []string {
	var out []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

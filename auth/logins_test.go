package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/passwd"
	"github.com/goniec-mail/goniec/auth/scram"
	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/pop3"
	"github.com/goniec-mail/goniec/smtp"
)

// loginServers are our three servers over one user table, alice with the password secret.
type loginServers struct{ smtp, pop3, imap string }

type server interface {
	Serve(l net.Listener) error
	Close() error
}

func startLoginServers(t *testing.T) loginServers {
	path := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(path, []byte("alice@own.test:{PLAIN}secret\n"), 0o600))
	users := &passwd.File{Path: path, Offer: []string{"CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}}
	mechs := []auth.ServerMechanism{scram.SHA256, scram.SHA1, auth.CRAMMD5{}, auth.Plain{}, auth.Login{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	store := mailbox.NewMemory()
	run := func(s server) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close(); <-done })
		return l.Addr().String()
	}
	return loginServers{
		smtp: run(&smtp.Server{
			Handler: smtp.Chain(smtp.DeliverTo(goniec.Discard(), "own.test"), smtp.RequireAuth()), Hostname: "own.test", TLSConfig: conf,
			Auth: users, Mechanisms: mechs, AllowInsecureAuth: true,
		}),
		pop3: run(&pop3.Server{Store: store, Hostname: "own.test", TLSConfig: conf, Auth: users, Mechanisms: mechs, AllowInsecureAuth: true}),
		imap: run(&imap.Server{Store: store, Hostname: "own.test", TLSConfig: conf, Auth: users, Mechanisms: mechs, AllowInsecureAuth: true}),
	}
}

// Real clients log in with every mechanism that they know, and not with a wrong password.
func TestPeerLoginsCurl(t *testing.T) {
	peertest.Need(t, "curl")
	s := startLoginServers(t)
	mail := filepath.Join(t.TempDir(), "mail")
	require.NoError(t, os.WriteFile(mail, []byte("Subject: x\r\n\r\nx\r\n"), 0o600))
	for _, url := range []string{"smtp://" + s.smtp, "pop3://" + s.pop3, "imap://" + s.imap} {
		for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
			for _, withTLS := range []bool{false, true} {
				args := []string{"-sSk", url, "--login-options", "AUTH=" + mech}
				if withTLS {
					args = append(args, "--ssl-reqd")
				}
				if strings.HasPrefix(url, "smtp") {
					args = append(args, "--mail-from", "alice@own.test", "--mail-rcpt", "bob@own.test", "-T", mail)
				}
				out, err := peertest.Command(t, "curl", append(args, "-u", "alice@own.test:secret")...).CombinedOutput()
				require.NoError(t, err, "%s %s: %s", url, mech, out)
				out, err = peertest.Command(t, "curl", append(args, "-u", "alice@own.test:wrong")...).CombinedOutput()
				require.Error(t, err, "%s %s: %s", url, mech, out)
			}
		}
	}
}

func TestPeerLoginsSwaks(t *testing.T) {
	peertest.Need(t, "swaks")
	s := startLoginServers(t)
	for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
		for password, want := range map[string]string{"secret": "235 2.7.0", "wrong": "535 5.7.8"} {
			out, _ := peertest.Command(t, "swaks", "--server", s.smtp, "--to", "bob@own.test", "--from", "alice@own.test",
				"--auth", mech, "--auth-user", "alice@own.test", "--auth-password", password).CombinedOutput()
			require.Contains(t, string(out), want, "%s: %s", mech, out)
		}
	}
}

const pythonLogins = `
import sys, smtplib, poplib, imaplib, hashlib, hmac, base64, os
smtp, pop3, imap = [(a.rsplit(":", 1)[0], int(a.rsplit(":", 1)[1])) for a in sys.argv[1:]]
user = "alice@own.test"

def scram(password, name="sha256"):
    """A client of RFC 5802 made of the standard library: an answer to each challenge."""
    nonce = base64.b64encode(os.urandom(18)).decode()
    bare = "n=%s,r=%s" % (user, nonce)
    yield ("n,," + bare).encode()
    first = (yield).decode()
    f = dict(x.split("=", 1) for x in first.split(","))
    assert f["r"].startswith(nonce)
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(f["s"]), int(f["i"]))
    key = hmac.new(salted, b"Client Key", name).digest()
    bind = "c=biws,r=" + f["r"]
    text = ",".join([bare, first, bind]).encode()
    sig = hmac.new(hashlib.new(name, key).digest(), text, name).digest()
    yield (bind + ",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, sig))).decode()).encode()
    final = (yield).decode()
    server = hmac.new(hmac.new(salted, b"Server Key", name).digest(), text, name).digest()
    assert final == "v=" + base64.b64encode(server).decode(), final
    yield b""

def answers(gen):
    next_out = [next(gen)]
    def answer(challenge):
        if next_out: return next_out.pop()
        next(gen)
        return gen.send(challenge)
    return answer

for password, good in (("secret", True), ("wrong", False)):
    for mech in ("AUTH PLAIN", "AUTH LOGIN", "AUTH CRAM-MD5", "SCRAM-SHA-256"):
        with smtplib.SMTP(*smtp) as s:
            s.ehlo(); s.user, s.password = user, password
            try:
                if mech.startswith("SCRAM"):
                    a = answers(scram(password))
                    s.auth(mech, lambda c=None: (a(c or b"")).decode(), initial_response_ok=True)
                else:
                    s.auth(mech[5:], getattr(s, mech.lower().replace(" ", "_").replace("-", "_")))
                assert good, mech
            except smtplib.SMTPAuthenticationError as e:
                assert not good and e.smtp_code == 535, (mech, e)
    for mech in ("login", "cram", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"):
        m = imaplib.IMAP4(*imap)
        try:
            if mech == "login": m.login(user, password)
            elif mech == "cram": m.login_cram_md5(user, password)
            elif mech == "PLAIN": m.authenticate("PLAIN", lambda c: ("\0%s\0%s" % (user, password)).encode())
            else: m.authenticate(mech, answers(scram(password, mech[6:].replace("-", "").lower())))
            assert good, mech
            assert m.select()[0] == "OK"
        except imaplib.IMAP4.error as e:
            assert not good and "AUTHENTICATIONFAILED" in str(e), (mech, e)
        m.logout()
    p = poplib.POP3(*pop3)
    try:
        p.user(user); p.pass_(password)
        assert good
        assert p.stat() == (0, 0)
    except poplib.error_proto as e:
        assert not good and "[AUTH]" in str(e), e
    p.quit()
print("fine")
`

func TestPeerLoginsPython(t *testing.T) {
	python := peertest.Need(t, "python3")
	s := startLoginServers(t)
	out, err := peertest.Command(t, python, "-c", pythonLogins, s.smtp, s.pop3, s.imap).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "fine\n", string(out))
}

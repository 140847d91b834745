package scram

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

var ctx = context.Background()

// keyTable is a user table of one password, whose keys it derives with a fixed salt.
type keyTable struct {
	mech       Mechanism
	user, pass string
	salt       []byte
	iterations int
	err        error

	outcomes []error
}

func (k *keyTable) Authenticate(context.Context, *auth.Attempt) (auth.Identity, error) {
	return auth.Identity{}, auth.ErrCredentials
}

func (k *keyTable) Answers(m string) bool {
	return m == "PLAIN" || strings.HasPrefix(m, string(k.mech))
}

func (k *keyTable) SCRAMKeys(_ context.Context, at *auth.Attempt) (auth.SCRAMKeys, error) {
	if k.err != nil {
		return auth.SCRAMKeys{}, k.err
	}
	if at.User != k.user {
		return auth.SCRAMKeys{}, auth.ErrCredentials
	}
	h := k.mech.hash()
	salted, err := pbkdf2.Key(h, prepare(k.pass), k.salt, k.iterations, h().Size())
	if err != nil {
		return auth.SCRAMKeys{}, err
	}
	mac := func(text string) []byte { m := hmac.New(h, salted); m.Write([]byte(text)); return m.Sum(nil) }
	stored := h()
	stored.Write(mac("Client Key"))
	return auth.SCRAMKeys{Salt: k.salt, Iterations: k.iterations, StoredKey: stored.Sum(nil), ServerKey: mac("Server Key")}, nil
}

func (k *keyTable) Observe(_ context.Context, _ *auth.Attempt, err error) {
	k.outcomes = append(k.outcomes, err)
}

func newTable(m Mechanism) *keyTable {
	return &keyTable{mech: Mechanism(strings.TrimSuffix(string(m), plus)), user: "user", pass: "pencil", salt: []byte("0123456789abcdef"), iterations: 4096}
}

func fixed(nonce string) func() string { return func() string { return nonce } }

// wire is what both sides said, in turn.
type wire []string

// talk lets a client talk to a server; change may alter a message on its way, "C" or "S" and its number.
func talk(c Client, cc, sc *auth.Conn, table auth.Authenticator, x *exchange, change func(who string, n int, msg string) string) (wire, auth.Identity, error) {
	if change == nil {
		change = func(_ string, _ int, msg string) string { return msg }
	}
	var log wire
	client, first, err := c.Start(cc)
	if err != nil {
		return log, auth.Identity{}, err
	}
	x.conn, x.table = sc, table
	resp := first
	for n := 0; n < 5; n++ {
		log = append(log, string(resp))
		challenge, done, err := x.Next(ctx, []byte(change("C", n, string(resp))))
		if err != nil {
			return log, auth.Identity{}, err
		}
		if done {
			return log, x.Identity(), client.Done()
		}
		log = append(log, string(challenge))
		if resp, err = client.Next([]byte(change("S", n, string(challenge)))); err != nil {
			return log, auth.Identity{}, err
		}
		if resp == nil {
			resp = []byte{}
		}
	}
	return log, auth.Identity{}, errors.New("no end")
}

// The conversations of RFC 5802 §5 and RFC 7677 §3, both sides.
func TestRFCVectors(t *testing.T) {
	for _, v := range []struct {
		mech                     Mechanism
		salt, cnonce, snonce     string
		c1, s1, c2, serverSigned string
	}{
		{
			SHA1, "QSXCR+Q6sek8bf92", "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j",
			"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
			"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
			"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			SHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		t.Run(string(v.mech), func(t *testing.T) {
			table := newTable(v.mech)
			table.salt, _ = base64.StdEncoding.DecodeString(v.salt)
			c := Client{Mechanism: v.mech, User: "user", Password: auth.NewSecret("pencil"), nonce: fixed(v.cnonce)}
			log, id, err := talk(c, &auth.Conn{}, &auth.Conn{}, table, &exchange{mech: v.mech, nonce: fixed(v.snonce)}, nil)
			require.NoError(t, err)
			require.Equal(t, wire{v.c1, v.s1, v.c2, v.serverSigned, ""}, log)
			require.Equal(t, "user", id.User)
			require.Equal(t, []error{nil}, table.outcomes)
		})
	}
}

// The conversations of xdg-go/scram, good and bad, against both of our sides.
func TestCorpus(t *testing.T) {
	root := os.Getenv("GONIEC_CORPORA")
	if root == "" {
		t.Skip("GONIEC_CORPORA is not set")
	}
	files, err := filepath.Glob(filepath.Join(root, "scram", "*", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			var v struct {
				Digest, User, Pass, AuthID, Salt64, ClientNonce, ServerNonce string
				SkipSASLprep                                                 bool
				Iters                                                        int
				Valid                                                        bool
				Steps                                                        []string
			}
			require.NoError(t, json.Unmarshal(b, &v))
			mech := Mechanism("SCRAM-" + v.Digest)
			if mech.hash() == nil {
				t.Fatalf("digest %s", v.Digest)
			}
			if v.SkipSASLprep && (prepare(v.User) != v.User || prepare(v.Pass) != v.Pass) {
				t.Skip("names and passwords are always prepared here")
			}
			table := newTable(mech)
			table.user, table.pass, table.iterations = prepare(v.User), v.Pass, v.Iters
			table.salt, _ = base64.StdEncoding.DecodeString(v.Salt64)

			if !strings.Contains(file, "bad-client") { // our client against the recorded server
				c := Client{Mechanism: mech, User: v.User, Password: auth.NewSecret(v.Pass), AuthzID: v.AuthID, nonce: fixed(v.ClientNonce)}
				x, first, err := c.Start(&auth.Conn{})
				require.NoError(t, err)
				require.Equal(t, v.Steps[0], string(first))
				for i := 1; i+1 < len(v.Steps); i += 2 {
					var resp []byte
					resp, err = x.Next([]byte(v.Steps[i]))
					if err != nil {
						break
					}
					require.Equal(t, v.Steps[i+1], string(resp))
				}
				if err == nil && len(v.Steps)%2 == 0 {
					_, err = x.Next([]byte(v.Steps[len(v.Steps)-1]))
				}
				require.Equal(t, v.Valid, err == nil, "%v", err)
				require.Equal(t, v.Valid, x.Done() == nil)
			}
			if !strings.Contains(file, "bad-server") { // our server against the recorded client
				x := &exchange{mech: mech, conn: &auth.Conn{}, table: table, nonce: fixed(v.ServerNonce)}
				ok := false
				for i := 0; i < len(v.Steps); i += 2 {
					var challenge []byte
					challenge, ok, err = x.Next(ctx, []byte(v.Steps[i]))
					if err != nil {
						break
					}
					if i+1 < len(v.Steps) && v.Valid {
						require.Equal(t, v.Steps[i+1], string(challenge))
					}
				}
				require.Equal(t, v.Valid, ok && err == nil, "%v", err)
			}
		})
	}
}

// tlsPair is a real TLS connection between two ends, and its certificate.
func tlsPair(t testing.TB, version uint16) (client, server *auth.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mail.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(b, &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	c := tls.Client(a, &tls.Config{MinVersion: version, MaxVersion: version, RootCAs: roots, ServerName: "mail.test"})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	require.NoError(t, c.Handshake())
	require.NoError(t, <-done)
	cs, ss := c.ConnectionState(), s.ConnectionState()
	return &auth.Conn{TLS: &cs, Host: "mail.test"}, &auth.Conn{TLS: &ss, Certificate: leaf}
}

// RFC 9266, RFC 5929: every binding on every TLS version that has it.
func TestChannelBinding(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for binding, only12 := range map[string]bool{"": false, "tls-exporter": false, "tls-server-end-point": false, "tls-unique": true} {
			t.Run(tls.VersionName(version)+" "+binding, func(t *testing.T) {
				cc, sc := tlsPair(t, version)
				table := newTable(SHA256)
				sc.Offered = auth.Offer(Mechanisms(), sc, table)
				require.Equal(t, []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, sc.Offered)
				c := Client{Mechanism: SHA256Plus, User: "user", Password: auth.NewSecret("pencil"), Binding: binding}
				if only12 && version > tls.VersionTLS12 {
					require.Error(t, c.Permit(cc))
					return
				}
				require.NoError(t, c.Permit(cc))
				log, id, err := talk(c, cc, sc, table, &exchange{mech: SHA256Plus}, nil)
				require.NoError(t, err)
				require.Equal(t, "user", id.User)
				if binding == "" {
					binding = "tls-exporter"
				}
				require.True(t, strings.HasPrefix(log[0], "p="+binding+",,"), log[0])
			})
		}
	}
}

// A05: somebody in the middle of two TLS connections can not pass the exchange on (CVE-2026-33603: forged binding data).
func TestA05_ManInTheMiddle(t *testing.T) {
	for _, binding := range []string{"tls-exporter", "tls-server-end-point", "tls-unique"} {
		cc, _ := tlsPair(t, tls.VersionTLS12)
		_, sc := tlsPair(t, tls.VersionTLS12)
		table := newTable(SHA256)
		c := Client{Mechanism: SHA256Plus, User: "user", Password: auth.NewSecret("pencil"), Binding: binding}
		_, _, err := talk(c, cc, sc, table, &exchange{mech: SHA256Plus}, nil)
		require.ErrorIs(t, err, auth.ErrCredentials, binding)
		require.Len(t, table.outcomes, 1)
		require.ErrorIs(t, table.outcomes[0], auth.ErrCredentials)
	}
	// A binding type that the server does not have.
	cc, sc := tlsPair(t, tls.VersionTLS13)
	sc.Certificate = nil
	c := Client{Mechanism: SHA256Plus, User: "user", Password: auth.NewSecret("pencil"), Binding: "tls-server-end-point"}
	_, _, err := talk(c, cc, sc, newTable(SHA256), &exchange{mech: SHA256Plus}, nil)
	require.ErrorIs(t, err, auth.ErrMalformed)
}

// A05: a list without the -PLUS forms that the server offered is noticed.
func TestA05_Downgrade(t *testing.T) {
	cc, sc := tlsPair(t, tls.VersionTLS13)
	table := newTable(SHA256)
	sc.Offered = auth.Offer(Mechanisms(), sc, table)
	mech, with, err := auth.Choose([]string{"SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"}, cc, Clients("user", auth.NewSecret("pencil")))
	require.NoError(t, err)
	require.Equal(t, "SCRAM-SHA-256", mech.Name(), "the strongest, although SHA-1 comes first")
	log, _, err := talk(mech.(Client), with, sc, table, &exchange{mech: SHA256}, nil)
	require.ErrorIs(t, err, auth.ErrCredentials)
	require.True(t, strings.HasPrefix(log[0], "y,,"))
	require.Empty(t, table.outcomes, "this is not a wrong password")

	// The server had none to offer: fine. The client saw some and did not want one: fine too.
	sc.Offered = []string{"SCRAM-SHA-256"}
	_, _, err = talk(mech.(Client), with, sc, table, &exchange{mech: SHA256}, nil)
	require.NoError(t, err)
	with.Offered = []string{"SCRAM-SHA-256", "scram-sha-256-plus"}
	sc.Offered = with.Offered
	log, _, err = talk(mech.(Client), with, sc, table, &exchange{mech: SHA256}, nil)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(log[0], "n,,"))

	best, _, err := auth.Choose([]string{"PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"}, cc, Clients("user", auth.NewSecret("pencil")))
	require.NoError(t, err)
	require.Equal(t, "SCRAM-SHA-256-PLUS", best.Name())
}

// A05: what a hostile server says to our client.
func TestA05_HostileServer(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))
	for name, c := range map[string]struct {
		first string // %s is the client's nonce
		ok    bool
	}{
		"good":                 {"r=%sX,s=" + salt + ",i=4096", true},
		"most iterations":      {"r=%sX,s=" + salt + ",i=600000", true},
		"extension at the end": {"r=%sX,s=" + salt + ",i=4096,x=y", true},
		"too many":             {"r=%sX,s=" + salt + ",i=600001", false},
		"too few":              {"r=%sX,s=" + salt + ",i=4095", false},
		"i=1":                  {"r=%sX,s=" + salt + ",i=1", false},
		"i=0":                  {"r=%sX,s=" + salt + ",i=0", false},
		"i=-1":                 {"r=%sX,s=" + salt + ",i=-1", false},
		"i=2^31":               {"r=%sX,s=" + salt + ",i=2147483648", false},
		"i=2^64+4096":          {"r=%sX,s=" + salt + ",i=18446744073709555712", false},
		"i=+4096":              {"r=%sX,s=" + salt + ",i=+4096", false},
		"i missing":            {"r=%sX,s=" + salt, false},
		"other nonce":          {"r=other%s,s=" + salt + ",i=4096", false},
		"no salt":              {"r=%sX,s=,i=4096", false},
		"bad salt":             {"r=%sX,s=!!!,i=4096", false},
		"long salt":            {"r=%sX,s=" + strings.Repeat("AAAA", 400) + ",i=4096", false},
		"mandatory extension":  {"m=x,r=%sX,s=" + salt + ",i=4096", false},
		"empty":                {"", false},
		"error":                {"e=other-error", false},
	} {
		t.Run(name, func(t *testing.T) {
			client, first, err := Client{Mechanism: SHA256, User: "u", Password: auth.NewSecret("p")}.Start(&auth.Conn{})
			require.NoError(t, err)
			_, nonce, _ := strings.Cut(string(first), "r=")
			_, err = client.Next([]byte(strings.ReplaceAll(c.first, "%s", nonce)))
			require.Equal(t, c.ok, err == nil, "%v", err)
			require.Error(t, client.Done(), "success before the server's proof")
			if err == nil {
				_, err = client.Next([]byte("v=AAAA"))
				require.Error(t, err)
				require.Error(t, client.Done())
			}
		})
	}
	client, _, err := Client{Mechanism: SHA256, User: "u", Password: auth.NewSecret("p"), MinIterations: 1, MaxIterations: -1, nonce: fixed("n")}.Start(&auth.Conn{})
	require.NoError(t, err)
	_, err = client.Next([]byte("r=nX,s=" + salt + ",i=1"))
	require.NoError(t, err)
	_, err = client.Next([]byte("e=invalid-proof"))
	require.ErrorContains(t, err, "invalid-proof")
	_, err = client.Next([]byte("v=AAAA"))
	require.Error(t, err, "after the end")
}

// A05: what a hostile client says to our server.
func TestA05_HostileClient(t *testing.T) {
	good := Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("pencil")}
	for name, c := range map[string]struct {
		client  Client
		change  func(who string, n int, msg string) string
		err     error
		counted int
	}{
		"good":           {good, nil, nil, 1},
		"wrong password": {Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("x")}, nil, auth.ErrCredentials, 1},
		"unknown user":   {Client{Mechanism: SHA256, User: "nobody", Password: auth.NewSecret("x")}, nil, auth.ErrCredentials, 1},
		"empty user":     {Client{Mechanism: SHA256, Password: auth.NewSecret("x")}, nil, auth.ErrCredentials, 0},
		"long user":      {Client{Mechanism: SHA256, User: strings.Repeat("u", 256), Password: auth.NewSecret("x")}, nil, auth.ErrCredentials, 0},
		"foreign authz":  {Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("pencil"), AuthzID: "boss"}, nil, auth.ErrCredentials, 1},
		"own authz":      {Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("pencil"), AuthzID: "user"}, nil, nil, 1},
		"other nonce":    {good, at(1, func(m string) string { return strings.Replace(m, ",r=", ",r=x", 1) }), auth.ErrCredentials, 1},
		"no proof":       {good, at(1, func(m string) string { return m[:strings.Index(m, ",p=")] }), auth.ErrCredentials, 1},
		"empty proof":    {good, at(1, func(m string) string { return m[:strings.Index(m, ",p=")+3] }), auth.ErrCredentials, 1},
		"forged binding": {good, at(1, func(m string) string { return strings.Replace(m, "c=biws", "c=eSws", 1) }), auth.ErrCredentials, 1},
		"p without PLUS": {good, at(0, func(m string) string { return strings.Replace(m, "n,,", "p=tls-exporter,,", 1) }), auth.ErrMalformed, 0},
		"odd flag":       {good, at(0, func(m string) string { return strings.Replace(m, "n,,", "z,,", 1) }), auth.ErrMalformed, 0},
		"extension":      {good, at(0, func(m string) string { return strings.Replace(m, "n,,", "n,,m=x,", 1) }), auth.ErrMalformed, 0},
		"no nonce":       {good, at(0, func(m string) string { return "n,,n=user,r=" }), auth.ErrMalformed, 0},
		"bad name":       {good, at(0, func(m string) string { return strings.Replace(m, "n=user", "n=us=er", 1) }), auth.ErrMalformed, 0},
		"empty message":  {good, at(0, func(string) string { return "" }), auth.ErrMalformed, 0},
		"empty final":    {good, at(1, func(string) string { return "" }), auth.ErrCredentials, 1},
		"talks on":       {good, at(2, func(string) string { return "more" }), auth.ErrMalformed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(SHA256)
			_, id, err := talk(c.client, &auth.Conn{}, &auth.Conn{}, table, &exchange{mech: SHA256}, c.change)
			require.ErrorIs(t, err, c.err)
			require.Len(t, table.outcomes, c.counted)
			if err != nil {
				require.Empty(t, id)
			}
		})
	}
}

func at(n int, f func(string) string) func(string, int, string) string {
	return func(who string, i int, msg string) string {
		if who == "C" && i == n {
			return f(msg)
		}
		return msg
	}
}

// A01, A07: an unknown user's exchange looks like a known one's, with the same salt each time; a proof
// fits one nonce only.
func TestA01_UnknownUserLooksKnown(t *testing.T) {
	serverFirst := func(user string) string {
		x := SHA256.Start(&auth.Conn{}, newTable(SHA256))
		s1, done, err := x.Next(ctx, []byte("n,,n="+user+",r=abc"))
		require.NoError(t, err)
		require.False(t, done)
		return string(s1)
	}
	salt := func(s1 string) string { return strings.Split(s1, ",")[1] }
	require.Equal(t, salt(serverFirst("nobody")), salt(serverFirst("nobody")))
	require.NotEqual(t, salt(serverFirst("nobody")), salt(serverFirst("noone")))
	require.NotEqual(t, strings.Split(serverFirst("user"), ",")[0], strings.Split(serverFirst("user"), ",")[0])
}

func TestA07_Replay(t *testing.T) {
	table := newTable(SHA256)
	c := Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("pencil"), nonce: fixed("c")}
	log, _, err := talk(c, &auth.Conn{}, &auth.Conn{}, table, &exchange{mech: SHA256}, nil)
	require.NoError(t, err)
	x := SHA256.Start(&auth.Conn{}, table)
	_, _, err = x.Next(ctx, []byte(log[0]))
	require.NoError(t, err)
	_, _, err = x.Next(ctx, []byte(log[2]))
	require.ErrorIs(t, err, auth.ErrCredentials)
}

func TestPermit(t *testing.T) {
	cc, sc := tlsPair(t, tls.VersionTLS13)
	table := newTable(SHA256)
	require.NoError(t, SHA256.Permit(&auth.Conn{}, table))
	require.ErrorIs(t, SHA1.Permit(sc, table), auth.ErrUnknownMechanism)
	require.ErrorIs(t, SHA256Plus.Permit(&auth.Conn{}, table), auth.ErrEncryptionRequired)
	require.NoError(t, SHA256Plus.Permit(sc, table))
	require.ErrorIs(t, Mechanism("SCRAM-MD5").Permit(sc, table), auth.ErrUnknownMechanism)
	require.ErrorIs(t, SHA256Plus.Permit(&auth.Conn{TLS: &tls.ConnectionState{HandshakeComplete: true}}, table), auth.ErrUnknownMechanism)
	none := auth.AuthenticatorFunc(table.Authenticate)
	require.ErrorIs(t, SHA256.Permit(sc, none), auth.ErrUnknownMechanism)

	require.Error(t, Client{Mechanism: "SCRAM-X"}.Permit(cc))
	require.Error(t, Client{Mechanism: SHA256Plus}.Permit(&auth.Conn{}))
	_, _, err := Client{Mechanism: SHA256Plus}.Start(&auth.Conn{})
	require.Error(t, err)
	_, _, err = Client{Mechanism: SHA256, User: "a\r\n"}.Start(cc)
	require.Error(t, err)
}

func TestTableTrouble(t *testing.T) {
	table := newTable(SHA256)
	for _, err := range []error{errors.New("down"), auth.ErrTooManyFailures} {
		table.err = err
		_, _, got := SHA256.Start(&auth.Conn{}, table).Next(ctx, []byte("n,,n=user,r=abc"))
		require.ErrorIs(t, got, err)
		require.False(t, auth.Denied(got))
	}
	bad := badKeys{table}
	_, _, err := SHA256.Start(&auth.Conn{}, bad).Next(ctx, []byte("n,,n=user,r=abc"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, _, err = SHA256.Start(&auth.Conn{}, auth.AuthenticatorFunc(nil)).Next(ctx, []byte("n,,n=user,r=abc"))
	require.ErrorIs(t, err, auth.ErrUnavailable)
}

type badKeys struct{ *keyTable }

func (badKeys) SCRAMKeys(context.Context, *auth.Attempt) (auth.SCRAMKeys, error) {
	return auth.SCRAMKeys{Salt: []byte("x"), Iterations: 1, StoredKey: []byte("short")}, nil
}

// The guard counts SCRAM exchanges too, and those that were begun at the same time (A02).
func TestA02_GuardCountsExchanges(t *testing.T) {
	g := &auth.Guard{PairLimit: 3, Delay: -1}
	conn := &auth.Conn{Remote: netip.MustParseAddrPort("192.0.2.1:9")}
	guarded := g.Wrap(newTable(SHA256))
	require.True(t, auth.Answers(guarded, "SCRAM-SHA-256"))
	login := func(pw string) error {
		_, _, err := talk(Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret(pw)}, conn, conn, guarded, &exchange{mech: SHA256}, nil)
		return err
	}
	for range 10 {
		require.NoError(t, login("pencil"))
	}
	for i := range 3 {
		require.ErrorIs(t, login(fmt.Sprint(i)), auth.ErrCredentials)
	}
	require.ErrorIs(t, login("pencil"), auth.ErrTooManyFailures)

	fresh := (&auth.Guard{PairLimit: 3, Delay: -1}).Wrap(newTable(SHA256))
	refused := 0
	for range 10 {
		if _, _, err := SHA256.Start(conn, fresh).Next(ctx, []byte("n,,n=user,r=abc")); errors.Is(err, auth.ErrTooManyFailures) {
			refused++
		}
	}
	require.Equal(t, 7, refused)
}

// FuzzServer: whatever a client says, nobody gets in without the password, and nothing panics.
func FuzzServer(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA", "")
	f.Add("y,a=boss,n=user,r=abc", "c=biws,r=abcdef,x=y,p=", "*")
	f.Add("p=tls-exporter,,n=user,r=abc", "", "")
	f.Fuzz(func(t *testing.T, first, final, last string) {
		x := SHA256.Start(&auth.Conn{}, newTable(SHA256))
		for _, msg := range []string{first, final, last} {
			_, done, err := x.Next(ctx, []byte(msg))
			if done || err == nil && msg == final && x.Identity().User != "" {
				t.Fatalf("let in by %q %q %q", first, final, last)
			}
			if err != nil {
				return
			}
		}
	})
}

// FuzzClient: whatever a server says, the client does not believe it.
func FuzzClient(f *testing.F) {
	f.Add("r=nX,s=QSXCR+Q6sek8bf92,i=4096", "v=AAAA")
	f.Fuzz(func(t *testing.T, first, final string) {
		x, _, err := Client{Mechanism: SHA256, User: "u", Password: auth.NewSecret("pencil"), MaxIterations: 4096, nonce: fixed("n")}.Start(&auth.Conn{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Next([]byte(first)); err == nil {
			_, _ = x.Next([]byte(final))
		}
		if x.Done() == nil {
			t.Fatalf("believed %q %q", first, final)
		}
	})
}

// fast is a table whose keys are stored.
type fast struct {
	auth.Authenticator
	keys auth.SCRAMKeys
}

func (f fast) SCRAMKeys(context.Context, *auth.Attempt) (auth.SCRAMKeys, error) { return f.keys, nil }

func BenchmarkServer(b *testing.B) {
	keys, err := newTable(SHA256).SCRAMKeys(ctx, &auth.Attempt{User: "user"})
	require.NoError(b, err)
	table := fast{newTable(SHA256), keys}
	log, _, err := talk(Client{Mechanism: SHA256, User: "user", Password: auth.NewSecret("pencil"), nonce: fixed("c")}, &auth.Conn{}, &auth.Conn{}, table, &exchange{mech: SHA256, nonce: fixed("s")}, nil)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		x := &exchange{mech: SHA256, conn: &auth.Conn{}, table: table, nonce: fixed("s")}
		for _, msg := range []string{log[0], log[2], ""} {
			if _, _, err := x.Next(ctx, []byte(msg)); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func Example() {
	// Both sides, without a network in between.
	table := newTable(SHA256) // an auth.Authenticator that is an auth.SCRAMKeyer, as passwd.File
	conn := &auth.Conn{}
	offered := auth.Offer(Mechanisms(), conn, table)

	mech, conn, _ := auth.Choose(offered, conn, Clients("user", auth.NewSecret("pencil")))
	client, initial, _ := mech.Start(conn)
	server, _ := auth.Begin(mech.Name(), Mechanisms(), conn, table)
	id, err := auth.Run(context.Background(), server, auth.EncodeInitial(initial), func(challenge string) (string, error) {
		return auth.Answer(client, challenge)
	})
	fmt.Println(mech.Name(), id.Account(), err, client.Done())
	// Output: SCRAM-SHA-256 user <nil> <nil>
}

package auth_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

var passwordMechs = []auth.ServerMechanism{auth.Plain{}, auth.Login{}}

// T06: in clear text nothing that shows a password is offered or taken, and no back end is asked.
func TestT06_NoPasswordInClearText(t *testing.T) {
	done := &tls.ConnectionState{HandshakeComplete: true}
	for _, c := range []struct {
		name    string
		conn    auth.Conn
		allowed bool
	}{
		{"clear", auth.Conn{Remote: faraway}, false},
		{"clear, loopback, not configured", auth.Conn{Remote: loopback}, false},
		{"clear, far, configured", auth.Conn{Remote: faraway, AllowInsecureAuth: true}, false},
		{"unknown address, configured", auth.Conn{AllowInsecureAuth: true}, false},
		{"handshake not complete", auth.Conn{Remote: faraway, TLS: &tls.ConnectionState{}}, false},
		{"loopback, configured", auth.Conn{Remote: loopback, AllowInsecureAuth: true}, true},
		{"loopback 6, configured", auth.Conn{Remote: netip.MustParseAddrPort("[::1]:1"), AllowInsecureAuth: true}, true},
		{"loopback mapped, configured", auth.Conn{Remote: netip.MustParseAddrPort("[::ffff:127.0.0.2]:1"), AllowInsecureAuth: true}, true},
		{"TLS", auth.Conn{Remote: faraway, TLS: done}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			spy := newTable("u", "p")
			if c.allowed {
				require.Equal(t, []string{"PLAIN", "LOGIN"}, auth.Offer(passwordMechs, &c.conn, spy))
				_, err := auth.PasswordLogin(context.Background(), &c.conn, spy, "USER", "u", auth.NewSecret("p"))
				require.NoError(t, err)
				return
			}
			require.Empty(t, auth.Offer(passwordMechs, &c.conn, spy))
			for _, name := range []string{"PLAIN", "plain", "LOGIN"} {
				_, err := auth.Begin(name, passwordMechs, &c.conn, spy)
				require.ErrorIs(t, err, auth.ErrEncryptionRequired)
				require.Equal(t, 538, auth.StatusOf(err).Code)
			}
			_, err := auth.PasswordLogin(context.Background(), &c.conn, spy, "USER", "u", auth.NewSecret("p"))
			require.ErrorIs(t, err, auth.ErrEncryptionRequired)
			require.Zero(t, spy.calls())
		})
	}
}

func TestBegin(t *testing.T) {
	_, err := auth.Begin("DIGEST-MD5", passwordMechs, tlsConn(), newTable())
	require.ErrorIs(t, err, auth.ErrUnknownMechanism)
	_, err = auth.Begin("PLAIN", passwordMechs, tlsConn(), nil)
	require.ErrorIs(t, err, auth.ErrUnknownMechanism, "no table, no login")
	require.Empty(t, auth.Offer(passwordMechs, tlsConn(), nil))
	_, err = auth.PasswordLogin(context.Background(), tlsConn(), nil, "USER", "u", auth.NewSecret("p"))
	require.ErrorIs(t, err, auth.ErrUnknownMechanism)
}

// A03: what a client may send in place of base64, and what it means.
func TestA03_DecodeResponse(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, c := range []struct {
		line string
		want string
		err  error
	}{
		{b64([]byte("abc")), "abc", nil},
		{"", "", nil},
		{"*", "", auth.ErrCanceled},
		{"=", "", auth.ErrMalformed}, // only an initial response may be written so
		{"!!!!", "", auth.ErrMalformed},
		{"YQ", "", auth.ErrMalformed},       // padding missing
		{"YR==", "", auth.ErrMalformed},     // bits beyond the end
		{"YWJj\r\n", "", auth.ErrMalformed}, // line breaks, which Go's decoder skips
		{"YW\nJj", "", auth.ErrMalformed},
		{"YWJj ", "", auth.ErrMalformed},
		{"YQ==YQ==", "", auth.ErrMalformed},
		{"**", "", auth.ErrMalformed},
		{strings.Repeat("A", auth.MaxLine), strings.Repeat("\x00", auth.MaxLine/4*3), nil},
		{strings.Repeat("A", auth.MaxLine+1), "", auth.ErrTooLong},
		{strings.Repeat("A", 1<<20), "", auth.ErrTooLong},
	} {
		got, err := auth.DecodeResponse(c.line)
		if c.err != nil {
			require.ErrorIs(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.NotNil(t, got)
		require.Equal(t, c.want, string(got))
	}
	got, err := auth.DecodeInitial("")
	require.NoError(t, err)
	require.Nil(t, got)
	got, err = auth.DecodeInitial("=")
	require.NoError(t, err)
	require.NotNil(t, got)
	require.Empty(t, got)
	require.Equal(t, "=", auth.EncodeInitial([]byte{}))
	require.Empty(t, auth.EncodeInitial(nil))
}

// A03: Run leads an exchange and survives everything a client says.
func TestA03_Run(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	plain := b64([]byte("\x00u\x00p"))
	for _, c := range []struct {
		name, mech, initial string
		lines               []string
		challenges          []string
		err                 error
	}{
		{"initial response", "PLAIN", plain, nil, nil, nil},
		{"no initial response", "PLAIN", "", []string{plain}, []string{""}, nil},
		{"empty initial response", "PLAIN", "=", nil, nil, auth.ErrMalformed},
		{"cancelled", "PLAIN", "", []string{"*"}, []string{""}, auth.ErrCanceled},
		{"not base64", "PLAIN", "", []string{"%%"}, []string{""}, auth.ErrMalformed},
		{"star in the command", "PLAIN", "*", nil, nil, auth.ErrMalformed},
		{"login", "LOGIN", "", []string{b64([]byte("u")), b64([]byte("p"))}, []string{b64([]byte("Username:")), b64([]byte("Password:"))}, nil},
		{"login with initial response", "LOGIN", b64([]byte("u")), []string{b64([]byte("p"))}, []string{b64([]byte("Password:"))}, nil},
		{"login cancelled", "LOGIN", "", []string{b64([]byte("u")), "*"}, []string{b64([]byte("Username:")), b64([]byte("Password:"))}, auth.ErrCanceled},
		{"login empty password", "LOGIN", "", []string{b64([]byte("u")), ""}, []string{b64([]byte("Username:")), b64([]byte("Password:"))}, auth.ErrCredentials},
		{"login empty user", "LOGIN", "=", []string{b64([]byte("p"))}, []string{b64([]byte("Password:"))}, auth.ErrCredentials},
	} {
		t.Run(c.name, func(t *testing.T) {
			x, err := auth.Begin(c.mech, passwordMechs, tlsConn(), newTable("u", "p"))
			require.NoError(t, err)
			var challenges []string
			id, err := auth.Run(context.Background(), x, c.initial, func(challenge string) (string, error) {
				challenges = append(challenges, challenge)
				return c.lines[len(challenges)-1], nil
			})
			require.Equal(t, c.challenges, challenges)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "u", id.Account())
		})
	}
}

// endless is a mechanism that never ends.
type endless struct{}

func (endless) Next(context.Context, []byte) ([]byte, bool, error) {
	return []byte("again"), false, nil
}
func (endless) Identity() auth.Identity { return auth.Identity{} }

func TestRunIsBounded(t *testing.T) {
	n := 0
	_, err := auth.Run(context.Background(), endless{}, "", func(string) (string, error) { n++; return "", nil })
	require.ErrorIs(t, err, auth.ErrMalformed)
	require.Less(t, n, 20)

	gone := errors.New("connection lost")
	_, err = auth.Run(context.Background(), endless{}, "", func(string) (string, error) { return "", gone })
	require.Equal(t, gone, err)
}

// A04: PLAIN messages that are not exactly three parts, foreign authorisation identities, empty passwords.
func TestA04_Plain(t *testing.T) {
	long := strings.Repeat("u", auth.MaxUser)
	for _, c := range []struct {
		name, msg string
		err       error
		asked     int
	}{
		{"good", "\x00u\x00p", nil, 1},
		{"same authzid", "u\x00u\x00p", nil, 1},
		{"wrong password", "\x00u\x00q", auth.ErrCredentials, 1},
		{"unknown user", "\x00v\x00p", auth.ErrCredentials, 1},
		{"no NUL", "u", auth.ErrMalformed, 0},
		{"empty", "", auth.ErrMalformed, 0},
		{"one NUL", "u\x00p", auth.ErrMalformed, 0},
		{"three NULs", "\x00u\x00p\x00", auth.ErrMalformed, 0},
		{"foreign authzid", "v\x00u\x00p", auth.ErrCredentials, 1},
		{"foreign authzid and wrong password", "v\x00u\x00q", auth.ErrCredentials, 1},
		{"empty password", "\x00u\x00", auth.ErrCredentials, 0},
		{"empty user", "\x00\x00p", auth.ErrCredentials, 0},
		{"empty user with authzid", "u\x00\x00p", auth.ErrCredentials, 0},
		{"longest user", "\x00" + long + "\x00p", nil, 1},
		{"user too long", "\x00" + long + "u\x00p", auth.ErrCredentials, 0},
		{"authzid too long", long + "u\x00u\x00p", auth.ErrCredentials, 0},
		{"longest password", "\x00u\x00" + strings.Repeat("p", auth.MaxPassword), auth.ErrCredentials, 1},
		{"password too long", "\x00u\x00" + strings.Repeat("p", auth.MaxPassword+1), auth.ErrCredentials, 0},
		{"user not UTF-8", "\x00u\xff\x00p", auth.ErrCredentials, 0},
		{"user with CRLF", "\x00u\r\nx\x00p", auth.ErrCredentials, 0},
		{"user with TAB", "\x00u\tx\x00p", auth.ErrCredentials, 0},
		{"user with C1", "\x00u\u0085x\x00p", auth.ErrCredentials, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			spy := newTable("u", "p", long, "p")
			_, _, err := converse(auth.Plain{}.Start(tlsConn(), spy), []byte(c.msg))
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.asked, spy.calls())
		})
	}
}

// A04: acting as somebody else works only where the table says so.
func TestA04_Proxy(t *testing.T) {
	p := proxyTable{newTable("admin", "p", "u", "q")}
	id, _, err := converse(auth.Plain{}.Start(tlsConn(), p), []byte("u\x00admin\x00p"))
	require.NoError(t, err)
	require.Equal(t, auth.Identity{User: "admin", AuthzID: "u"}, id)
	require.Equal(t, "u", id.Account())
	_, _, err = converse(auth.Plain{}.Start(tlsConn(), p), []byte("admin\x00u\x00q"))
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, _, err = converse(auth.Plain{}.Start(tlsConn(), p), []byte("u\x00admin\x00wrong"))
	require.ErrorIs(t, err, auth.ErrCredentials)
}

// A06: names that are code somewhere reach the table as they are.
func TestA06_NamesAreOpaque(t *testing.T) {
	for _, name := range []string{"*)(uid=*", "' OR 1=1--", "%u", "%s%n", "../x", "$(id)", "{{.}}", "a b", "ü@x", "user@example.org", "\\"} {
		spy := newTable(name, "p")
		id, _, err := converse(auth.Plain{}.Start(tlsConn(), spy), []byte("\x00"+name+"\x00p"))
		require.NoError(t, err)
		require.Equal(t, name, id.User)
		require.Equal(t, name, spy.asked[0].User)
	}
}

func TestAttemptHasTheFacts(t *testing.T) {
	spy, c := newTable("u", "p"), tlsConn()
	c.Local = netip.MustParseAddrPort("192.0.2.1:25")
	_, _, err := converse(auth.Plain{}.Start(c, spy), []byte("\x00u\x00p"))
	require.NoError(t, err)
	got := spy.asked[0]
	require.Equal(t, "p", got.Secret.Reveal())
	got.Secret = auth.Secret{}
	require.Equal(t, &auth.Attempt{Mechanism: "PLAIN", User: "u", Protocol: "smtp", Remote: faraway, Local: c.Local, TLS: c.TLS}, got)
	require.Equal(t, "v", got.WithUser("v").User)
	require.Equal(t, "u", got.User)
}

func TestStatusOf(t *testing.T) {
	cause := errors.New("ldap: connection refused")
	for _, c := range []struct {
		err    error
		reply  string
		denied bool
	}{
		{auth.ErrCredentials, "535 5.7.8 authentication credentials invalid", true},
		{auth.ErrEncryptionRequired, "538 5.7.11 encryption required for requested authentication mechanism", true},
		{auth.Unavailable(cause), "454 4.7.0 temporary authentication failure", false},
		{cause, "454 4.7.0 temporary authentication failure", false},
		{context.Canceled, "454 4.7.0 temporary authentication failure", false},
		{auth.ErrTooManyFailures, "421 4.7.0 too many authentication failures, try again later", false},
		{goniec.NewStatus(535, goniec.EnhancedCode{5, 7, 8}, "use an app password"), "535 5.7.8 use an app password", true},
		{goniec.NewStatus(250, goniec.EnhancedCode{}, "not an error"), "454 4.7.0 temporary authentication failure", false},
	} {
		require.Equal(t, c.reply, auth.StatusOf(c.err).Reply())
		require.Equal(t, c.denied, auth.Denied(c.err))
		require.Equal(t, auth.StatusOf(c.err).Permanent(), c.denied)
	}
	require.ErrorIs(t, auth.StatusOf(auth.Unavailable(cause)), cause, "the log keeps the cause")
	require.ErrorContains(t, auth.StatusOf(auth.ErrEncryptionRequired), "configure TLS, or allow insecure AUTH", "the log says what to do")
	require.Nil(t, auth.StatusOf(nil))
	require.False(t, auth.Denied(nil))
	require.True(t, goniec.Permanent(auth.ErrCredentials))
	require.True(t, goniec.Temporary(auth.ErrUnavailable))

	// Nobody can edit the reply of the next client.
	auth.StatusOf(auth.ErrCredentials).Text = "edited"
	require.Equal(t, "authentication credentials invalid", auth.StatusOf(auth.ErrCredentials).Text)
}

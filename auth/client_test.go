package auth_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// T07 (CVE-2017-15042): a server in clear text that advertises PLAIN gets no password.
func TestT07_ClientRefusesClearText(t *testing.T) {
	mechs := auth.PasswordClients("u", auth.NewSecret("p"))
	for _, remote := range []auth.Conn{{Remote: faraway}, {Remote: loopback}, {}} {
		_, _, err := auth.Choose([]string{"PLAIN", "LOGIN"}, &remote, mechs)
		require.ErrorIs(t, err, auth.ErrInsecure)
		remote.AllowInsecureAuth = true
		m, _, err := auth.Choose([]string{"LOGIN", "PLAIN"}, &remote, mechs)
		require.NoError(t, err)
		require.Equal(t, "PLAIN", m.Name())
	}
}

type namedMech struct {
	auth.PlainClient
	name string
}

func (m namedMech) Name() string { return m.name }

// A05: the strongest wins, whatever the order of either list.
func TestA05_ChooseStrongest(t *testing.T) {
	all := []string{"LOGIN", "PLAIN", "CRAM-MD5", "X-OTHER", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "ANONYMOUS"}
	want := []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN", "X-OTHER", "ANONYMOUS"}
	var mechs []auth.ClientMechanism
	for _, n := range all {
		mechs = append(mechs, namedMech{name: n})
	}
	offered := append([]string(nil), all...)
	for _, w := range want {
		m, c, err := auth.Choose(offered, tlsConn(), mechs)
		require.NoError(t, err)
		require.Equal(t, w, m.Name())
		require.Equal(t, offered, c.Offered)
		offered = without(offered, w)
	}
	_, _, err := auth.Choose([]string{"GSSAPI"}, tlsConn(), mechs)
	require.ErrorIs(t, err, auth.ErrNoMechanism)
	require.ErrorContains(t, err, "GSSAPI")
	m, _, err := auth.Choose([]string{"plain"}, tlsConn(), mechs)
	require.NoError(t, err)
	require.Equal(t, "PLAIN", m.Name())
}

func without(list []string, name string) []string {
	var out []string
	for _, n := range list {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// play lets a client's mechanism talk to a server's.
func play(t *testing.T, cm auth.ClientMechanism, sm auth.ServerMechanism, a auth.Authenticator, delay bool) (auth.Identity, error) {
	t.Helper()
	c := tlsConn()
	x, initial, err := cm.Start(c)
	require.NoError(t, err)
	if delay {
		x, initial = auth.Delay(x, initial), nil
	}
	id, err := auth.Run(context.Background(), sm.Start(c, a), auth.EncodeInitial(initial), func(challenge string) (string, error) {
		return auth.Answer(x, challenge)
	})
	if err == nil {
		err = x.Done()
	}
	return id, err
}

func TestClientsMeetServers(t *testing.T) {
	for _, delay := range []bool{false, true} {
		for _, pw := range []string{"p", "wrong"} {
			s := auth.NewSecret(pw)
			for _, c := range []struct {
				cm auth.ClientMechanism
				sm auth.ServerMechanism
			}{
				{auth.PlainClient{User: "u", Password: s}, auth.Plain{}},
				{auth.LoginClient{User: "u", Password: s}, auth.Login{}},
			} {
				id, err := play(t, c.cm, c.sm, newTable("u", "p"), delay)
				if pw != "p" {
					require.ErrorIs(t, err, auth.ErrCredentials)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, "u", id.User)
			}
		}
	}
}

func TestClientRefusesOddServers(t *testing.T) {
	x, _, err := auth.PlainClient{User: "u", Password: auth.NewSecret("p")}.Start(tlsConn())
	require.NoError(t, err)
	_, err = x.Next([]byte("more?"))
	require.Error(t, err, "PLAIN has nothing more to say")

	_, _, err = auth.PlainClient{User: "u\x00v", Password: auth.NewSecret("p")}.Start(tlsConn())
	require.Error(t, err)

	x, _, _ = auth.LoginClient{User: "u", Password: auth.NewSecret("p")}.Start(tlsConn())
	require.Error(t, x.Done(), "success before a question")
	_, err = x.Next([]byte("Password:"))
	require.Error(t, err, "the password is not the first answer")
	x, _, _ = auth.LoginClient{User: "u", Password: auth.NewSecret("p")}.Start(tlsConn())
	for range 2 {
		_, err = x.Next([]byte("?"))
		require.NoError(t, err)
	}
	_, err = x.Next([]byte("?"))
	require.Error(t, err, "a third question")

	d := auth.Delay(x, []byte("first"))
	require.Error(t, d.Done())
	_, err = d.Next([]byte("not empty"))
	require.Error(t, err)
	_, err = auth.Answer(x, "not base64!")
	require.ErrorIs(t, err, auth.ErrMalformed)
}

package auth_test

import (
	"context"
	"errors"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// Clients of go-sasl talk to our servers, ours to go-sasl's.
func TestGoSASL(t *testing.T) {
	var seen string
	theirServer := auth.SASLServer{Mechanism: "PLAIN", New: func(_ *auth.Conn, _ auth.Authenticator) (sasl.Server, func() auth.Identity) {
		s := sasl.NewPlainServer(func(_, user, password string) error {
			if seen = user; password != "p" {
				return auth.ErrCredentials
			}
			return nil
		})
		return s, func() auth.Identity { return auth.Identity{User: seen} }
	}}
	require.NoError(t, theirServer.Permit(tlsConn(), newTable()))
	require.ErrorIs(t, theirServer.Permit(&auth.Conn{}, newTable()), auth.ErrEncryptionRequired)
	require.Equal(t, "PLAIN", theirServer.Name())

	for _, pw := range []string{"p", "wrong"} {
		theirs := auth.SASLClient{Mechanism: "plain", New: func() sasl.Client { return sasl.NewPlainClient("", "u", pw) }}
		require.NoError(t, theirs.Permit(tlsConn()))
		require.ErrorIs(t, theirs.Permit(&auth.Conn{}), auth.ErrInsecure)
		login := auth.SASLClient{Mechanism: "LOGIN", New: func() sasl.Client { return sasl.NewLoginClient("u", pw) }}
		ours := auth.PlainClient{User: "u", Password: auth.NewSecret(pw)}
		for _, c := range []struct {
			cm auth.ClientMechanism
			sm auth.ServerMechanism
		}{{theirs, auth.Plain{}}, {login, auth.Login{}}, {ours, theirServer}, {theirs, theirServer}} {
			id, err := play(t, c.cm, c.sm, newTable("u", "p"), false)
			if pw != "p" {
				require.ErrorIs(t, err, auth.ErrCredentials)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, "u", id.User)
		}
	}
}

func TestToSASL(t *testing.T) {
	x, err := auth.Begin("PLAIN", passwordMechs, tlsConn(), newTable("u", "p"))
	require.NoError(t, err)
	server := auth.ToSASLServer(context.Background(), x)
	client := auth.ToSASLClient(auth.PlainClient{User: "u", Password: auth.NewSecret("p")}, tlsConn())
	challenge, done, err := server.Next(nil)
	require.NoError(t, err)
	require.False(t, done)
	require.NotNil(t, challenge)
	name, initial, err := client.Start()
	require.NoError(t, err)
	require.Equal(t, "PLAIN", name)
	_, done, err = server.Next(initial)
	require.NoError(t, err)
	require.True(t, done)
	_, err = client.Next([]byte("x"))
	require.Error(t, err)

	_, _, err = auth.ToSASLClient(auth.PlainClient{}, &auth.Conn{}).Start()
	require.ErrorIs(t, err, auth.ErrInsecure)
}

func TestSASLClientMustMatchItsName(t *testing.T) {
	m := auth.SASLClient{Mechanism: "PLAIN", New: func() sasl.Client { return sasl.NewLoginClient("u", "p") }, ClearText: true}
	require.NoError(t, m.Permit(&auth.Conn{}))
	_, _, err := m.Start(tlsConn())
	require.ErrorContains(t, err, "LOGIN")
	broken := auth.SASLClient{Mechanism: "X", New: func() sasl.Client { return brokenClient{} }}
	_, _, err = broken.Start(tlsConn())
	require.Error(t, err)
}

type brokenClient struct{ sasl.Client }

func (brokenClient) Start() (string, []byte, error) { return "", nil, errors.New("broken") }

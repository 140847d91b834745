package auth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// L01: a log at the lowest level, of every attempt, identity and error that an exchange brings forth, shows
// no password and no token, whatever the outcome; nor in base64.
func TestL01_LogsShowNoSecret(t *testing.T) {
	const secret = "hunter2-Tr0ub4dor"
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.Level(-100)}))
	logged := func(a auth.Authenticator) auth.Authenticator {
		return auth.Intercept(a, func(ctx context.Context, op auth.Op, at *auth.Attempt, next func(context.Context, *auth.Attempt) error) error {
			err := next(ctx, at)
			logger.Debug("auth", "op", op.String(), "attempt", at, "copy", *at, "text", fmt.Sprintf("%v %+v %#v %s", at, *at, at.Secret, at.Secret), "err", err)
			return err
		})
	}
	down := newRich("u", secret)
	down.err = errors.New("table is down")
	messages := map[string][]string{
		"PLAIN":       {"\x00u\x00" + secret, "\x00nobody\x00" + secret, "v\x00u\x00" + secret, secret, "\x00u\x00x\x00" + secret},
		"LOGIN":       {"u", "nobody"},
		"CRAM-MD5":    {"u " + secret},
		"OAUTHBEARER": {"n,a=u,\x01auth=Bearer token-u\x01\x01", "n,a=u,\x01auth=Bearer " + secret + "\x01\x01", "n,a=u,\x01auth=Basic " + secret + "\x01\x01", "n,,\x01" + secret},
		"XOAUTH2":     {"user=u\x01auth=Bearer token-u\x01\x01", "user=u\x01auth=Bearer " + secret + "\x01\x01", secret},
		"EXTERNAL":    {secret + "\x00"},
	}
	for _, table := range []*rich{newRich("u", secret), newRich("u", "other"), down} {
		for _, m := range []auth.ServerMechanism{auth.Plain{}, auth.Login{}, auth.CRAMMD5{}, auth.OAuthBearer{}, auth.XOAuth2{}, auth.External{}} {
			for _, msg := range messages[m.Name()] {
				lines := []string{"", base64.StdEncoding.EncodeToString([]byte(msg)), base64.StdEncoding.EncodeToString([]byte(secret)), secret}
				n := 0
				id, err := auth.Run(context.Background(), m.Start(certConn("u"), logged((&auth.Guard{Delay: -1}).Wrap(table))), "", func(string) (string, error) {
					n++
					return lines[min(n, 3)], nil
				})
				logger.Debug("outcome", "id", id, "err", err, "status", auth.StatusOf(err), "text", fmt.Sprintf("%v %+v", err, auth.StatusOf(err)))
			}
		}
	}
	text := log.String()
	require.Greater(t, strings.Count(text, "\n"), 50)
	require.NotContains(t, text, "token-u")
	require.NotContains(t, text, base64.StdEncoding.EncodeToString([]byte(secret)))
	require.NotContains(t, text, base64.StdEncoding.EncodeToString([]byte("\x00u\x00"+secret)))
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, secret) {
			t.Errorf("secret in %.300s", line)
		}
	}
}

// A08: exchanges share nothing: one that failed, or was left in the middle, changes nothing for the next, until
// failures are too many.
func TestA08_AfterFailures(t *testing.T) {
	table := (&auth.Guard{Delay: -1, PairLimit: 5}).Wrap(newTable("u", "p"))
	try := func(password string) error {
		x, err := auth.Begin("LOGIN", passwordMechs, tlsConn(), table)
		require.NoError(t, err)
		_, _, err = converse(x, nil, []byte("u"), []byte(password))
		return err
	}
	abandoned, err := auth.Begin("LOGIN", passwordMechs, tlsConn(), table)
	require.NoError(t, err)
	_, _, err = converse(abandoned, nil, []byte("u"))
	require.ErrorIs(t, err, errUnfinished)
	require.ErrorIs(t, try("x"), auth.ErrCredentials)
	require.NoError(t, try("p"))
	for i := range 5 {
		require.ErrorIs(t, try(fmt.Sprint(i)), auth.ErrCredentials)
	}
	require.ErrorIs(t, try("p"), auth.ErrTooManyFailures)
}

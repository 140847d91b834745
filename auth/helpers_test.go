package auth_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"sync"

	"github.com/goniec-mail/goniec/auth"
)

// table is the test double of a user table: names and passwords, and what it was asked.
type table struct {
	users map[string]string
	err   error // returned for everything

	mu    sync.Mutex
	asked []*auth.Attempt
}

func newTable(userPassword ...string) *table {
	t := &table{users: map[string]string{}}
	for i := 0; i < len(userPassword); i += 2 {
		t.users[userPassword[i]] = userPassword[i+1]
	}
	return t
}

func (t *table) Authenticate(_ context.Context, at *auth.Attempt) (auth.Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, at)
	if t.err != nil {
		return auth.Identity{}, t.err
	}
	if pw, ok := t.users[at.User]; !ok || !at.Secret.Equal(auth.NewSecret(pw)) {
		return auth.Identity{}, auth.ErrCredentials
	}
	return auth.Identity{User: at.User}, nil
}

func (t *table) calls() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.asked)
}

// proxyTable lets "admin" act as anybody.
type proxyTable struct{ *table }

func (t proxyTable) Authorize(_ context.Context, id auth.Identity, at *auth.Attempt) (auth.Identity, error) {
	if id.User != "admin" {
		return auth.Identity{}, auth.ErrCredentials
	}
	id.AuthzID = at.AuthzID
	return id, nil
}

var (
	faraway  = netip.MustParseAddrPort("192.0.2.7:49152")
	loopback = netip.MustParseAddrPort("127.0.0.1:49152")
)

func tlsConn() *auth.Conn {
	return &auth.Conn{Protocol: "smtp", Remote: faraway, TLS: &tls.ConnectionState{HandshakeComplete: true}}
}

// converse leads an exchange with a client that says the given responses, nil meaning no initial response.
func converse(x auth.Exchange, responses ...[]byte) (auth.Identity, [][]byte, error) {
	var challenges [][]byte
	for _, r := range responses {
		c, done, err := x.Next(context.Background(), r)
		if err != nil {
			return auth.Identity{}, challenges, err
		}
		if done {
			return x.Identity(), challenges, nil
		}
		challenges = append(challenges, c)
	}
	return auth.Identity{}, challenges, errUnfinished
}

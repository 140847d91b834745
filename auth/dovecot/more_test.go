package dovecot

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/scram"
)

func tlsState() *tls.ConnectionState { return &tls.ConnectionState{HandshakeComplete: true} }

// login leads an exchange of a mechanism, with our own client.
func login(sm auth.ServerMechanism, cm auth.ClientMechanism) (auth.Identity, error) {
	conn := &auth.Conn{TLS: tlsState()}
	x, initial, err := cm.Start(conn)
	if err != nil {
		return auth.Identity{}, err
	}
	id, err := auth.Run(context.Background(), sm.Start(conn, nil), auth.EncodeInitial(initial), func(challenge string) (string, error) {
		return auth.Answer(x, challenge)
	})
	if err == nil {
		err = x.Done()
	}
	return id, err
}

func clientOf(mech, user, password string) auth.ClientMechanism {
	pw := auth.NewSecret(password)
	switch mech {
	case "PLAIN":
		return auth.PlainClient{User: user, Password: pw}
	case "LOGIN":
		return auth.LoginClient{User: user, Password: pw}
	case "CRAM-MD5":
		return auth.CRAMMD5Client{User: user, Password: pw}
	}
	return scram.Client{Mechanism: scram.Mechanism(mech), User: user, Password: pw}
}

// Whole exchanges are relayed.
func TestRelay(t *testing.T) {
	list := append(scram.Mechanisms(), auth.Plain{}, auth.Login{}, auth.CRAMMD5{}, auth.Anonymous{User: "x"}, auth.External{})
	c := &Client{Addr: serve(t, &Server{Authenticator: users(t), Mechanisms: list})}
	defer c.Close()
	mechs, err := c.Mechanisms(context.Background(), "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN", "ANONYMOUS", "EXTERNAL", "GSSAPI")
	require.NoError(t, err)
	var names []string
	for _, m := range mechs {
		names = append(names, m.Name())
		id, err := login(m, clientOf(m.Name(), "alice", "secret"))
		require.NoError(t, err, m.Name())
		require.Equal(t, "alice", id.User)
		_, err = login(m, clientOf(m.Name(), "alice", "wrong"))
		require.ErrorIs(t, err, auth.ErrCredentials, m.Name())
	}
	require.Equal(t, "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN", strings.Join(names, " "))
	require.NoError(t, mechs[0].Permit(&auth.Conn{}, nil))
	require.ErrorIs(t, mechs[3].Permit(&auth.Conn{}, nil), auth.ErrEncryptionRequired)

	gone := &Client{Addr: "/nonexistent"}
	_, err = gone.Mechanisms(context.Background(), "PLAIN")
	require.ErrorIs(t, err, auth.ErrUnavailable)
	_, err = login(relay{gone, "PLAIN"}, clientOf("PLAIN", "alice", "secret"))
	require.ErrorIs(t, err, auth.ErrUnavailable)

	// An exchange that is given up closes its connection.
	x := mechs[0].Start(&auth.Conn{}, nil)
	_, err = auth.Run(context.Background(), x, auth.EncodeInitial([]byte("n,,n=alice,r=abc")), func(string) (string, error) { return "*", nil })
	require.ErrorIs(t, err, auth.ErrCanceled)
	require.Nil(t, x.(*relayExchange).conn)
}

// A server that restarts is found again by a client with idle connections.
func TestRestart(t *testing.T) {
	table := users(t)
	first := &Server{Authenticator: table}
	c := &Client{Addr: serve(t, first)}
	defer c.Close()
	at := attempt("alice", "secret")
	at.TLS = tlsState()
	_, err := c.Authenticate(context.Background(), at)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	_, err = c.Authenticate(context.Background(), at)
	require.ErrorIs(t, err, auth.ErrUnavailable)
	c.Addr = serve(t, &Server{Authenticator: table})
	_, err = c.Authenticate(context.Background(), at)
	require.NoError(t, err)
}

// Many at once share the connections there may be, and everybody gets their own answer.
func TestParallel(t *testing.T) {
	c := &Client{Addr: serve(t, &Server{Authenticator: users(t)}), MaxConns: 3}
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			at := attempt("alice", "secret")
			at.TLS = tlsState()
			if i%2 == 1 {
				at.Secret = auth.NewSecret("wrong")
			}
			if _, err := c.Authenticate(context.Background(), at); (err == nil) != (i%2 == 0) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, len(c.idle), 3)
}

// raw is a client that says what it likes.
type raw struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, path string) *raw {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return &raw{t, c, bufio.NewReader(c)}
}

func (r *raw) say(lines ...string) {
	_, err := r.Write([]byte(strings.Join(lines, "\n") + "\n"))
	require.NoError(r.t, err)
}

func (r *raw) hear() string {
	l, err := r.r.ReadString('\n')
	require.NoError(r.t, err)
	return strings.TrimSuffix(l, "\n")
}

func (r *raw) hello() *raw {
	for r.hear() != "DONE" {
	}
	r.say("VERSION\t1\t1", "CPID\t7")
	return r
}

// The protocol as Postfix and Dovecot's own clients speak it.
func TestDialogue(t *testing.T) {
	path := serve(t, &Server{Authenticator: users(t), Mechanisms: []auth.ServerMechanism{auth.Plain{}, auth.Login{}, scram.SHA256}})
	r := dial(t, path)
	require.Equal(t, "VERSION\t1\t2", r.hear())
	require.Equal(t, "MECH\tPLAIN\tplaintext", r.hear())
	require.Equal(t, "MECH\tLOGIN\tplaintext", r.hear())
	require.Equal(t, "MECH\tSCRAM-SHA-256\tmutual-auth", r.hear())
	require.Regexp(t, `^SPID\t\d+$`, r.hear())
	require.Regexp(t, `^CUID\t\d+$`, r.hear())
	require.Regexp(t, `^COOKIE\t[0-9a-f]{32}$`, r.hear())
	require.Equal(t, "DONE", r.hear())
	r.say("VERSION\t1\t1", "CPID\t7", "UNKNOWN\tcommand")
	r.say("AUTH\t1\tPLAIN\tservice=smtp\tnologin\tsecured\tresp=AGFsaWNlAHNlY3JldA==")
	require.Equal(t, "OK\t1\tuser=alice", r.hear())
	r.say("AUTH\t2\tPLAIN\tservice=smtp\tsecured\tresp=AGFsaWNlAHdyb25n")
	require.Equal(t, "FAIL\t2\tuser=alice\treason=authentication credentials invalid", r.hear())
	r.say("AUTH\t3\tPLAIN\tservice=smtp\tresp=AGFsaWNlAHNlY3JldA==")
	require.Equal(t, "FAIL\t3\treason=encryption required for requested authentication mechanism", r.hear())
	r.say("AUTH\t4\tPLAIN\tservice=smtp\tsecured")
	require.Equal(t, "CONT\t4\t", r.hear())
	r.say("CONT\t4\tAGFsaWNlAHNlY3JldA==")
	require.Equal(t, "OK\t4\tuser=alice", r.hear())
	r.say("AUTH\t5\tLOGIN\tsecured", "AUTH\t6\tLOGIN\tsecured") // two at once
	got := []string{r.hear(), r.hear()}
	require.ElementsMatch(t, []string{"CONT\t5\tVXNlcm5hbWU6", "CONT\t6\tVXNlcm5hbWU6"}, got)
	r.say("CONT\t6\tYWxpY2U=")
	require.Equal(t, "CONT\t6\tUGFzc3dvcmQ6", r.hear())
	r.say("CANCEL\t5")
	require.Equal(t, "FAIL\t5\ttemp\tcode=temp_fail\treason=temporary authentication failure", r.hear())
	r.say("CONT\t6\tc2VjcmV0", "CONT\t99\tYQ==", "CANCEL", "CANCEL\t99")
	require.Equal(t, "OK\t6\tuser=alice", r.hear())
	r.say("AUTH\t7\tDIGEST-MD5\tsecured")
	require.Equal(t, "FAIL\t7\treason=authentication mechanism not supported", r.hear())
	r.say("AUTH\t8\tPLAIN\tsecured\tresp=")
	require.Equal(t, "FAIL\t8\treason=cannot decode authentication response", r.hear())
}

// A03: nonsense ends the connection that it came on, and no other one.
func TestA03_Nonsense(t *testing.T) {
	path := serve(t, &Server{Authenticator: users(t), MaxRequests: 2})
	good := dial(t, path).hello()
	for name, lines := range map[string][]string{
		"no version":    {"AUTH\t1\tPLAIN"},
		"wrong version": {"VERSION\t2\t0"},
		"short auth":    {"VERSION\t1\t1", "AUTH\t1"},
		"bad id":        {"VERSION\t1\t1", "AUTH\tx\tPLAIN"},
		"id zero":       {"VERSION\t1\t1", "AUTH\t0\tPLAIN"},
		"id too big":    {"VERSION\t1\t1", "AUTH\t4294967296\tPLAIN"},
		"id twice":      {"VERSION\t1\t1", "AUTH\t1\tPLAIN\tsecured", "AUTH\t1\tPLAIN\tsecured"},
		"short cont":    {"VERSION\t1\t1", "CONT\t1"},
		"bad base64":    {"VERSION\t1\t1", "AUTH\t1\tPLAIN\tsecured", "CONT\t1\t%%%"},
		"line too long": {"VERSION\t1\t1", strings.Repeat("x", maxLine+1)},
	} {
		t.Run(name, func(t *testing.T) {
			r := dial(t, path)
			for r.hear() != "DONE" {
			}
			_, _ = r.Write([]byte(strings.Join(lines, "\n") + "\n"))
			for {
				if _, err := r.r.ReadString('\n'); err != nil {
					require.NotErrorIs(t, err, context.DeadlineExceeded)
					break
				}
			}
			id := fmt.Sprint(len(name) + 1000)
			good.say("AUTH\t" + id + "\tPLAIN\tsecured\tresp=AGFsaWNlAHNlY3JldA==")
			require.Equal(t, "OK\t"+id+"\tuser=alice", good.hear())
		})
	}
	good.say("AUTH\t1\tPLAIN\tsecured", "AUTH\t2\tPLAIN\tsecured")
	require.ElementsMatch(t, []string{"CONT\t1\t", "CONT\t2\t"}, []string{good.hear(), good.hear()})
	good.say("AUTH\t3\tPLAIN\tsecured")
	require.Contains(t, good.hear(), "FAIL\t3\ttemp")
}

func TestServerShutdown(t *testing.T) {
	s := &Server{Authenticator: users(t)}
	r := dial(t, serve(t, s)).hello()
	r.say("AUTH\t1\tPLAIN\tsecured")
	require.Equal(t, "CONT\t1\t", r.hear())
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
}

func TestRequestTimeout(t *testing.T) {
	r := dial(t, serve(t, &Server{Authenticator: users(t), RequestTimeout: time.Second})).hello()
	r.say("AUTH\t1\tPLAIN\tsecured")
	require.Equal(t, "CONT\t1\t", r.hear())
	require.Equal(t, "FAIL\t1\ttemp\tcode=temp_fail\treason=temporary authentication failure", r.hear())
}

// script is a server that says what it likes to our client.
func script(t *testing.T, lines string) *Client {
	return &Client{Timeout: 5 * time.Second, Dial: func(context.Context, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			_ = server.SetDeadline(time.Now().Add(time.Minute))
			r := bufio.NewReader(server)
			_, _ = r.ReadString('\n')
			if !strings.HasSuffix(lines, "USERDB") {
				_, _ = r.ReadString('\n') // CPID
			}
			handshake, rest, _ := strings.Cut(lines, "|")
			_, _ = server.Write([]byte(handshake))
			_, _ = r.ReadString('\n')
			_, _ = server.Write([]byte(rest))
		}()
		return client, nil
	}}
}

// What a Dovecot, or something that claims to be one, may say.
func TestClientReadsReplies(t *testing.T) {
	const hello = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nDONE\n|"
	for name, c := range map[string]struct {
		lines string
		err   error
		user  string
	}{
		"ok":                {hello + "OK\t1\tuser=alice@x\textra\n", nil, "alice@x"},
		"ok without name":   {hello + "OK\t1\n", nil, "u"},
		"noise before":      {hello + "SPID\t2\nWHATEVER\nOK\t1\tuser=a\n", nil, "a"},
		"escaped":           {hello + "OK\t1\tuser=a\x01tb\x011\x010\x01r\x01n\x01l\x01x\n", nil, "a\tb\x01\x00\r\n\nx"},
		"fail":              {hello + "FAIL\t1\tuser=u\treason=no\n", auth.ErrCredentials, ""},
		"fail disabled":     {hello + "FAIL\t1\tuser=u\tcode=user_disabled\n", auth.ErrCredentials, ""},
		"fail temp":         {hello + "FAIL\t1\ttemp\n", auth.ErrUnavailable, ""},
		"fail temp code":    {hello + "FAIL\t1\tcode=temp_fail\n", auth.ErrUnavailable, ""},
		"nologin":           {hello + "OK\t1\tuser=a\tnologin\n", auth.ErrCredentials, ""},
		"other id":          {hello + "OK\t2\tuser=a\n", auth.ErrUnavailable, ""},
		"short":             {hello + "OK\n", auth.ErrUnavailable, ""},
		"cont":              {hello + "CONT\t1\tAAAA\n", auth.ErrUnavailable, ""},
		"closed":            {hello, auth.ErrUnavailable, ""},
		"half a line":       {hello + "OK\t1\tuser=a", auth.ErrUnavailable, ""},
		"long line":         {hello + strings.Repeat("x", maxLine+1) + "\n", auth.ErrUnavailable, ""},
		"other version":     {"VERSION\t2\t0\nDONE\n|", auth.ErrUnavailable, ""},
		"endless handshake": {strings.Repeat("MECH\tX\n", maxHandshake+1) + "|", auth.ErrUnavailable, ""},
		"nothing":           {"|", auth.ErrUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := script(t, c.lines)
			defer client.Close()
			id, err := client.Authenticate(context.Background(), &auth.Attempt{User: "u", Secret: auth.NewSecret("p")})
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				require.Empty(t, id)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.user, id.User)
		})
	}
}

// Cancelling the context ends a question at once.
func TestClientCancel(t *testing.T) {
	stuck := &Client{Dial: func(context.Context, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { server.Close() })
		return client, nil
	}}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := stuck.Authenticate(ctx, &auth.Attempt{User: "u", Secret: auth.NewSecret("p")})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, auth.ErrUnavailable)
	require.Less(t, time.Since(start), 20*time.Second, "the default is 30 s")
}

func TestUserDB(t *testing.T) {
	for reply, want := range map[string]map[string]string{
		"USER\t1\tu\tuid=5\thome=/srv/u\tquota_rule=*:storage=1G\tflag\n": {"uid": "5", "home": "/srv/u", "quota_rule": "*:storage=1G", "flag": "yes"},
		"OTHER\t9\nUSER\t1\tu\n": {},
		"NOTFOUND\t1\n":          nil,
		"FAIL\t1\treason=x\n":    nil,
	} {
		first := script(t, "VERSION\t1\t1\nSPID\t1\nDONE\n|OK\t1\tuser=u\n")
		second := script(t, "VERSION\t1\t1\nSPID\t1\n|"+reply+"USERDB")
		c := &Client{Addr: "auth", UserDB: "userdb", Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "userdb" {
				return second.Dial(ctx, addr)
			}
			return first.Dial(ctx, addr)
		}}
		id, err := c.Authenticate(context.Background(), &auth.Attempt{User: "u", Secret: auth.NewSecret("p")})
		c.Close()
		if want == nil {
			require.ErrorIs(t, err, auth.ErrUnavailable)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, id.Attributes)
	}
}

// FuzzLine: lines read back as they were written, in any chunks.
func FuzzLine(f *testing.F) {
	f.Add("AUTH", "user=a\tb", "\x00\x01\r\n")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		written := line(a, b, c)
		if len(written) > maxLine {
			return
		}
		got, err := readLine(newReader(bytes.NewReader(written)))
		if err != nil || len(got) != 3 || got[0] != a || got[1] != b || got[2] != c {
			t.Fatalf("%q %q %q became %q: %v", a, b, c, got, err)
		}
	})
}

// FuzzClient: whatever a server says, the client neither panics nor lets anybody in without an OK.
func FuzzClient(f *testing.F) {
	f.Add("VERSION\t1\t2\nDONE\n", "OK\t1\tuser=a\n")
	f.Add("MECH\nVERSION\nDONE\n", "FAIL\t1\n")
	f.Fuzz(func(t *testing.T, hello, reply string) {
		conn := &conn{Conn: nopConn{}, r: newReader(strings.NewReader(hello + reply))}
		if conn.handshake(nil, "DONE") != nil {
			return
		}
		if conn.begin("PLAIN", nil, []byte("x")) != nil {
			return
		}
		got, err := conn.reply()
		if err != nil {
			return
		}
		if _, err := verdict(got, &auth.Attempt{User: "u"}); err == nil && !strings.Contains(hello+reply, "OK\t1") {
			t.Fatalf("let in by %q %q", hello, reply)
		}
	})
}

type nopConn struct{ net.Conn }

func (nopConn) Write(p []byte) (int, error) { return len(p), nil }

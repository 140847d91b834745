package dovecot

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/auth/scram"
)

// FuzzServer: whatever comes over the socket, the server answers or hangs up, and says OK to nobody who
// does not know the password; another connection works all the same.
func FuzzServer(f *testing.F) {
	socket := serve(f, &Server{Authenticator: auth.AuthenticatorFunc(never), Mechanisms: []auth.ServerMechanism{auth.Plain{}, auth.Login{}, scram.SHA256}, RequestTimeout: 50 * time.Millisecond})
	f.Add([]byte("VERSION\t1\t1\nCPID\t1\nAUTH\t1\tPLAIN\tsecured\tresp=AGFsaWNlAHNlY3JldA==\n"))
	f.Add([]byte("VERSION\t1\t1\nAUTH\t1\tLOGIN\tsecured\nCONT\t1\tYQ==\nCONT\t1\tYQ==\nCANCEL\t1\n"))
	f.Add([]byte("VERSION\t1\t1\nAUTH\t1\tPLAIN\tsecured\tresp=\x01t\x010\nAUTH\t4294967295\tX\nCONT\t1\t*\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			_, _ = c.Write(input)
			_ = c.(*net.UnixConn).CloseWrite()
		}()
		out, err := io.ReadAll(io.LimitReader(c, 1<<20))
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Fatalf("no end after %q", input)
		}
		if bytes.Contains(out, []byte("\nOK\t")) {
			t.Fatalf("let in by %q: %q", input, out)
		}
	})
}

// never lets nobody in.
func never(context.Context, *auth.Attempt) (auth.Identity, error) {
	return auth.Identity{}, auth.ErrCredentials
}

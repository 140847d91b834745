package benchpeers

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	peer "github.com/emersion/go-smtp"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// nullBackend is go-smtp's side: it reads each message to its end and forgets it, as goniec.Discard does.
type nullBackend struct{}

func (nullBackend) NewSession(*peer.Conn) (peer.Session, error) { return nullSession{}, nil }
func (nullSession) Mail(string, *peer.MailOptions) error        { return nil }
func (nullSession) Rcpt(string, *peer.RcptOptions) error        { return nil }
func (nullSession) Data(r io.Reader) error                      { _, err := io.Copy(io.Discard, r); return err }
func (nullSession) Reset()                                      {}
func (nullSession) Logout() error                               { return nil }

type nullSession struct{}

// startServer starts one of the two servers on loopback.
func startServer(b *testing.B, name string, cfg *tls.Config) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	switch name {
	case "goniec":
		srv := &smtp.Server{Handler: smtp.DeliverTo(goniec.Discard(), "example.org"), Hostname: "mx.example.org", TLSConfig: cfg, MaxConnsPerIP: -1, MaxTransactions: -1}
		go srv.Serve(l)
		b.Cleanup(func() { srv.Close() })
	case "go-smtp":
		srv := peer.NewServer(nullBackend{})
		srv.Domain, srv.TLSConfig = "mx.example.org", cfg
		go srv.Serve(l)
		b.Cleanup(func() { srv.Close() })
	}
	return l.Addr().String()
}

// client speaks just enough SMTP, with as little work of its own as can be.
type client struct {
	net.Conn
	r *bufio.Reader
}

func newClient(b *testing.B, addr string) *client {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	cl := &client{c, bufio.NewReader(c)}
	cl.replies(b, 1)
	io.WriteString(c, "EHLO client.example.com\r\n")
	cl.replies(b, 1)
	return cl
}

// replies reads n replies.
func (c *client) replies(b *testing.B, n int) {
	for n > 0 {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			b.Error(err)
			return
		}
		if line[0] > '3' {
			b.Errorf("reply %q", line)
			return
		}
		if line[3] == ' ' {
			n--
		}
	}
}

var envelope = []byte("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")

// message is a dot-stuffed message of about size octets with its end.
func message(size int) []byte {
	var m bytes.Buffer
	m.WriteString("From: a@example.com\r\nTo: b@example.org\r\nSubject: measure\r\n\r\n")
	for m.Len() < size {
		fmt.Fprintf(&m, "%076d\r\n", m.Len())
	}
	m.WriteString(".\r\n")
	return m.Bytes()
}

// transaction sends one message: the group, then the text.
func (c *client) transaction(b *testing.B, msg []byte) {
	c.Write(envelope)
	c.replies(b, 3)
	c.Write(msg)
	c.replies(b, 1)
}

func transactions(b *testing.B, name string, conns, size int) {
	addr := startServer(b, name, nil)
	msg := message(size)
	clients := make([]*client, conns)
	for i := range clients {
		clients[i] = newClient(b, addr)
		clients[i].transaction(b, msg)
	}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	b.ResetTimer()
	used := cpuTime()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 && !b.Failed() {
				c.transaction(b, msg)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op")
	for _, c := range clients {
		c.Close()
	}
}

// BenchmarkTransaction compares whole transactions to a Deliverer that discards. allocs/op are the server's: the client makes
// none.
func BenchmarkTransaction(b *testing.B) {
	for _, size := range []int{1 << 10, 75 << 10, 1 << 20} {
		for _, conns := range []int{1, 8, 32} {
			for _, name := range []string{"goniec", "go-smtp"} {
				b.Run(fmt.Sprintf("size=%d/conns=%d/%s", size, conns, name), func(b *testing.B) { transactions(b, name, conns, size) })
			}
		}
	}
}

// BenchmarkBDAT is BenchmarkTransaction in one chunk, behind DATA in the same run.
func BenchmarkBDAT(b *testing.B) {
	for _, size := range []int{75 << 10, 1 << 20} {
		msg := message(size)
		chunk := append(fmt.Appendf(nil, "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT %d LAST\r\n", len(msg)-3), msg[:len(msg)-3]...)
		for _, how := range []string{"DATA", "BDAT"} {
			b.Run(fmt.Sprintf("size=%d/%s", size, how), func(b *testing.B) {
				c := newClient(b, startServer(b, "goniec", nil))
				defer c.Close()
				b.SetBytes(int64(len(msg)))
				b.ReportAllocs()
				for b.Loop() {
					if how == "DATA" {
						c.transaction(b, msg)
						continue
					}
					c.Write(chunk)
					c.replies(b, 3)
				}
			})
		}
	}
}

// BenchmarkIdle measures the memory of a connection that has said EHLO and waits.
func BenchmarkIdle(b *testing.B) {
	for _, name := range []string{"goniec", "go-smtp"} {
		b.Run(name+"/plain", func(b *testing.B) {
			addr := startServer(b, name, nil)
			const n = 1000
			conns := make([]*client, 0, n)
			before := memory()
			for range n {
				conns = append(conns, newClient(b, addr))
				conns[len(conns)-1].r = nil
			}
			after := memory()
			for b.Loop() {
			}
			b.ReportMetric(float64(after-before)/n, "B/conn")
			for _, c := range conns {
				c.Close()
			}
		})
	}
}

// BenchmarkIdleTLS is BenchmarkIdle behind STARTTLS. The client's end lives in the same process, so the figure is of both ends: the
// server's is below it.
func BenchmarkIdleTLS(b *testing.B) {
	for _, name := range []string{"goniec", "go-smtp"} {
		b.Run(name, func(b *testing.B) {
			addr := startServer(b, name, certificate(b))
			const n = 500
			conns := make([]*client, 0, n)
			before := memory()
			for range n {
				c := newClient(b, addr)
				io.WriteString(c, "STARTTLS\r\n")
				c.replies(b, 1)
				sec := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
				if err := sec.Handshake(); err != nil {
					b.Fatal(err)
				}
				conns = append(conns, &client{sec, nil})
			}
			both := memory()
			for b.Loop() {
			}
			b.ReportMetric(float64(both-before)/n, "B/conn-both-ends")
			for _, c := range conns {
				c.Conn.(*tls.Conn).NetConn().Close()
			}
		})
	}
}

// certificate is one of our own.
func certificate(b *testing.B) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// cpuTime is what the process has used, both ends of the connection: a figure that other work on the machine changes less than
// the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is heap and stack in use.
func memory() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

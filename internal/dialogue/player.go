package dialogue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/goniec-mail/goniec/internal/crlf"
)

const (
	defaultTimeout = 30 * time.Second
	maxLine        = 1 << 20
)

// Side is a role in a dialogue.
type Side uint8

// The sides. The zero value plays the client against a server under test.
const (
	Client Side = iota
	Server
)

// Target is what a dialogue is played with.
type Target struct {
	// Dial opens a connection. Playing the server it returns our end of a connection that the client under test makes.
	Dial func(ctx context.Context) (net.Conn, error)
	// Play is the side that the file plays.
	Play Side
	// TLS is used by <TLS>. Playing the client with nil, any certificate is accepted.
	TLS *tls.Config
	// Hooks are the functions that "! name args" calls. An error fails the dialogue.
	Hooks map[string]func(args ...string) error
	// Timeout limits each read and write. Zero means 30 seconds.
	Timeout time.Duration
}

// failure is a dialogue that went otherwise than written.
type failure struct {
	script     *script
	step       step
	want, got  string
	transcript []string
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s:%d:\nexpected  %s\ngot       %s\nthe dialogue so far:\n    %s",
		f.script.name, f.step.line, f.want, f.got, strings.Join(f.transcript, "\n    "))
}

// player plays one script.
type player struct {
	script     *script
	target     Target
	conns      map[int]*conn
	vars       map[string]string
	transcript []string
	update     bool // take what comes for exact lines
	updated    bool // something else came
}

type conn struct {
	net.Conn
	r *crlf.Reader
}

// play plays s with target.
func play(s *script, target Target, update bool) (p *player, err error) {
	p = &player{script: s, target: target, conns: map[int]*conn{}, vars: map[string]string{}, update: update}
	if p.target.Timeout == 0 {
		p.target.Timeout = defaultTimeout
	}
	defer p.close()
	for _, st := range s.steps {
		if err := p.step(st); err != nil {
			return p, err
		}
	}
	return p, p.leftOver()
}

func (p *player) close() {
	for _, c := range p.conns {
		_ = c.Close()
	}
}

// leftOver fails when a reply that has come was not asked for.
func (p *player) leftOver() error {
	for n, c := range p.conns {
		if c.r.Buffered() > 0 {
			last := p.script.steps[len(p.script.steps)-1]
			last.conn = n
			return p.fail(last, "the end of the dialogue", strconv.Quote(string(c.r.Peek())))
		}
	}
	return nil
}

func (p *player) fail(st step, want, got string) error {
	return &failure{p.script, st, want, got, p.transcript}
}

// note adds a line to the transcript.
func (p *player) note(st step, text string) {
	p.transcript = append(p.transcript, st.prefix()+text)
}

func (p *player) step(st step) error {
	var err error
	switch {
	case st.side == '!':
		err = p.hook(st)
	case (st.side == 'C') == (p.target.Play == Client):
		err = p.send(st)
	default:
		err = p.expect(st)
	}
	if f := (*failure)(nil); err == nil || errors.As(err, &f) {
		return err
	}
	return p.fail(st, st.prefix()+st.text, err.Error())
}

func (p *player) hook(st step) error {
	p.note(st, st.text)
	var words []string
	for _, w := range strings.Fields(st.text) {
		w, _, err := unescape(w, p.vars)
		if err != nil {
			return err
		}
		words = append(words, w)
	}
	if len(words) == 0 || p.target.Hooks[words[0]] == nil {
		return fmt.Errorf("no such hook")
	}
	return p.target.Hooks[words[0]](words[1:]...)
}

// conn returns connection n, which it opens if need be.
func (p *player) conn(n int) (*conn, error) {
	if c := p.conns[n]; c != nil {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.target.Timeout)
	defer cancel()
	nc, err := p.target.Dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("no connection: %w", err)
	}
	c := &conn{nc, crlf.NewReader(nc)}
	p.conns[n] = c
	return c, nil
}

// send plays a line of our side.
func (p *player) send(st step) error {
	c, err := p.conn(st.conn)
	if err != nil {
		return err
	}
	if words := st.directive(); words != nil {
		p.note(st, st.text)
		return p.act(c, st, words)
	}
	text, cut, err := unescape(st.text, p.vars)
	if err != nil {
		return err
	}
	p.note(st, escape(text))
	if !cut {
		text += "\r\n"
	}
	return p.write(c, text)
}

func (p *player) write(c net.Conn, text string) error {
	_ = c.SetWriteDeadline(time.Now().Add(p.target.Timeout))
	_, err := io.WriteString(c, text)
	return err
}

// act carries out a directive of our side.
func (p *player) act(c *conn, st step, words []string) error {
	switch words[0] {
	case "CONNECT":
		return nil // conn has done it
	case "TLS":
		return p.startTLS(c)
	case "CLOSE":
		delete(p.conns, st.conn)
		return c.Close()
	case "HALFCLOSE":
		half, ok := c.Conn.(interface{ CloseWrite() error })
		if !ok {
			return fmt.Errorf("%T cannot be closed for writing", c.Conn)
		}
		return half.CloseWrite()
	case "RESET":
		return p.reset(c, st)
	case "PAUSE":
		d, err := duration(words)
		time.Sleep(d)
		return err
	case "REPEAT":
		return p.repeat(c, words)
	case "PLAIN":
		return p.plain(c, strings.Join(words[1:], " "))
	}
	return fmt.Errorf("the other side's directive")
}

func (p *player) startTLS(c *conn) error {
	if c.r.Buffered() > 0 {
		return fmt.Errorf("plaintext %q before TLS", c.r.Peek())
	}
	config := p.target.TLS
	if config == nil && p.target.Play == Client {
		config = &tls.Config{InsecureSkipVerify: true}
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.target.Timeout)
	defer cancel()
	_ = c.SetDeadline(time.Time{}) // the context limits the handshake
	secure := tls.Client(c.Conn, config)
	if p.target.Play == Server {
		secure = tls.Server(c.Conn, config)
	}
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	c.Conn = secure
	c.r.Reset(secure)
	return nil
}

func (p *player) reset(c *conn, st step) error {
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return fmt.Errorf("%T cannot be reset", c.Conn)
	}
	delete(p.conns, st.conn)
	if err := tcp.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// plain sends text below TLS.
func (p *player) plain(c *conn, text string) error {
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return fmt.Errorf("the connection does not use TLS")
	}
	text, _, err := unescape(text, p.vars)
	if err != nil {
		return err
	}
	return p.write(secure.NetConn(), text)
}

// repeat sends text many times, in writes of a moderate size.
func (p *player) repeat(c *conn, words []string) error {
	if len(words) < 3 {
		return fmt.Errorf("REPEAT needs a count and a text")
	}
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	text, _, err := unescape(words[2], p.vars)
	if err != nil {
		return err
	}
	if text == "" || n < 0 {
		return fmt.Errorf("REPEAT of nothing")
	}
	for step := max(1, 32<<10/len(text)); n > 0; n -= step {
		if err := p.write(c, strings.Repeat(text, min(n, step))); err != nil {
			return err
		}
	}
	return nil
}

func duration(words []string) (time.Duration, error) {
	if len(words) != 2 {
		return 0, fmt.Errorf("%s needs a duration", words[0])
	}
	return time.ParseDuration(words[1])
}

// expect plays a line of the other side.
func (p *player) expect(st step) error {
	c, err := p.conn(st.conn)
	if err != nil {
		return err
	}
	words := st.directive()
	if words != nil && words[0] == "NOTHING" {
		return p.expectNothing(c, st, words)
	}
	got, err := p.readLine(c)
	if err != nil {
		return p.expectEnd(st, words, err)
	}
	p.note(st, escape(got))
	if words != nil {
		return p.fail(st, st.prefix()+st.text, st.prefix()+escape(got))
	}
	if pattern, ok := strings.CutPrefix(st.text, "~ "); ok {
		return p.match(st, pattern, got)
	}
	want, _, err := unescape(st.text, p.vars)
	if err != nil {
		return err
	}
	if got != want {
		return p.differs(st, escape(got))
	}
	return nil
}

// readLine returns a line of the peer. What a session would refuse (a bare LF, say) may be expected here, so it is not an error.
func (p *player) readLine(c *conn) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(p.target.Timeout)) // fails when the peer has closed a net.Pipe; so will the read
	line, err := c.r.ReadLine(maxLine)
	switch err {
	case crlf.ErrBareCR, crlf.ErrBareLF, crlf.ErrNUL:
		err = nil
	case nil:
	default:
		if c.r.Buffered() > 0 {
			err = fmt.Errorf("%q and then %w", c.r.Peek(), err)
		}
	}
	return string(line), err
}

// expectEnd judges an error that came instead of a line.
func (p *player) expectEnd(st step, words []string, err error) error {
	if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	p.note(st, "<EOF>")
	switch {
	case words != nil && words[0] == "EOF":
		return nil
	case words == nil && !strings.HasPrefix(st.text, "~ "):
		return p.differs(st, "<EOF>")
	}
	return err
}

// expectNothing waits for nothing.
func (p *player) expectNothing(c *conn, st step, words []string) error {
	d, err := duration(words)
	if err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(d))
	switch err := c.r.Wait(); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.note(st, st.text)
		return nil
	case err != nil:
		return err
	}
	line, err := p.readLine(c)
	if err != nil {
		return err
	}
	p.note(st, escape(line))
	return p.fail(st, st.prefix()+st.text, st.prefix()+escape(line))
}

// match compares a line with a pattern and keeps what it captures.
func (p *player) match(st step, pattern, got string) error {
	re, err := compile(pattern, p.vars)
	if err != nil {
		return err
	}
	m := re.FindStringSubmatch(got)
	if m == nil {
		return p.fail(st, st.prefix()+st.text, st.prefix()+escape(got))
	}
	for i, name := range re.SubexpNames() {
		if name != "" {
			p.vars[name] = m[i]
		}
	}
	return nil
}

// differs fails an exact line, or rewrites it.
func (p *player) differs(st step, got string) error {
	if !p.update {
		return p.fail(st, st.prefix()+st.text, st.prefix()+got)
	}
	p.script.lines[st.line-1] = st.prefix() + got
	p.updated = true
	return nil
}

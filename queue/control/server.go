package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// Server serves a control socket. Queue is required. Set the fields before use.
type Server struct {
	Queue Hands
	// Admins are uids that may do everything, beside root and the uid of this process.
	Admins []uint32
	// Submit is asked to take a submission instead of Queue.Enqueue: to check the sender against the
	// user, say. nil = Queue.Enqueue; the envelope's Origin.User is "uid:" and the number of the user.
	Submit func(ctx context.Context, uid uint32, env *goniec.Envelope, msg io.Reader, o queue.Options) (queue.ID, error)
	// MaxMessageBytes limits a submission. 0 = 50 MiB, negative = no limit.
	MaxMessageBytes int64
	// Timeout is how long a read or write may take. 0 = 1 minute.
	Timeout time.Duration
	// MaxConns is how many connections are served at a time; more wait. 0 = 64.
	MaxConns int
	Logger   *slog.Logger // nil = silent

	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]struct{}
	closed bool
	// users counts connections by uid, but for admins; strangers is their sum.
	users     map[uint32]int
	strangers int
	wg        sync.WaitGroup
	ctx       context.Context
	cancel    context.CancelFunc
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("control: server closed")

// Listen makes the socket at path, open to all users: the Server asks the kernel who they are. A left-over
// of a dead process is replaced; a socket that somebody serves is an error.
func Listen(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen %s: another process serves this control socket", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Serve serves connections until Shutdown or Close; it returns ErrServerClosed then.
func (s *Server) Serve(l net.Listener) error {
	if !s.begin(l) {
		_ = l.Close()
		return ErrServerClosed
	}
	slots := make(chan struct{}, orInt(s.MaxConns, 64))
	for {
		slots <- struct{}{}
		c, err := l.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrServerClosed
			}
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				<-slots
				continue
			}
			return err
		}
		if !s.track(c) {
			_ = c.Close()
			return ErrServerClosed
		}
		go func() {
			defer func() { <-slots }()
			defer s.untrack(c)
			s.serve(c)
		}()
	}
}

func orInt[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (s *Server) begin(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.l, s.conns = l, map[net.Conn]struct{}{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return true
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) untrack(c net.Conn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.wg.Done()
}

// Shutdown stops listening and waits for requests under way until ctx ends; then they are cut off, and
// ctx's error comes back.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	if s.l != nil {
		_ = s.l.Close()
	}
	cancel := s.cancel
	s.mu.Unlock()
	if cancel == nil {
		return nil
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		cancel()
		return nil
	case <-ctx.Done():
	}
	cancel()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

// Close is Shutdown without patience.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// deadlineConn gives each read and write its time.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
}

func (c *deadlineConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *deadlineConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// serve answers one request.
func (s *Server) serve(raw net.Conn) {
	c := &deadlineConn{raw, orInt(s.Timeout, time.Minute)}
	w := bufio.NewWriter(c)
	err := s.guarded(raw, c, w)
	if err == nil {
		err = writeLine(w, response{Done: true})
	} else {
		err = writeLine(w, response{Error: toWire(err)})
	}
	if flushErr := w.Flush(); err == nil && flushErr != nil && s.Logger != nil {
		s.Logger.Debug("control: answer not read", "err", flushErr)
	}
}

// guarded turns a panic into an error.
func (s *Server) guarded(raw net.Conn, c *deadlineConn, w *bufio.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if s.Logger != nil {
				s.Logger.Error("control: panic", "panic", p, "stack", string(debug.Stack()))
			}
			err = errors.New("internal error")
		}
	}()
	uid, err := peerUID(raw)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrForbidden, err)
	}
	leave, err := s.admit(uid)
	if err != nil {
		return err
	}
	defer leave()
	limit := maxRequest
	if !s.admin(uid) {
		limit = maxStranger
	}
	r := bufio.NewReader(c)
	line, err := readLine(r, limit)
	if err != nil {
		return err
	}
	var req request
	if err := json.Unmarshal(line, &req); err != nil {
		return fmt.Errorf("control: request: %w", err)
	}
	if err := s.authorize(uid, req.Op); err != nil {
		return err
	}
	if s.Logger != nil {
		s.Logger.Info("control", "op", req.Op, "uid", uid, "id", string(req.ID), "dest", req.Dest)
	}
	return s.do(uid, &req, r, w)
}

// readLine reads a line of bounded length.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, errors.New("control: request is too long")
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// authorize is the one place where rights are decided.
func (s *Server) authorize(uid uint32, op string) error {
	if op == "submit" || s.admin(uid) {
		return nil
	}
	return ErrForbidden
}

// admin reports whether a user may do everything.
func (s *Server) admin(uid uint32) bool {
	return uid == 0 || int(uid) == os.Getuid() || slices.Contains(s.Admins, uid)
}

// admit counts a connection of a user. Others than admins get a quarter of MaxConns each, and three quarters together, so that nobody
// keeps those out who look after the queue.
func (s *Server) admit(uid uint32) (leave func(), err error) {
	if s.admin(uid) {
		return func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := orInt(s.MaxConns, 64)
	if s.users[uid] >= max(limit/4, 1) || s.strangers >= max(limit*3/4, 1) {
		return nil, goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 2}, "too many connections to the queue, try again later")
	}
	if s.users == nil {
		s.users = map[uint32]int{}
	}
	s.users[uid]++
	s.strangers++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.strangers--
		if s.users[uid]--; s.users[uid] == 0 {
			delete(s.users, uid)
		}
	}, nil
}

// do carries a request out.
func (s *Server) do(uid uint32, req *request, body *bufio.Reader, w *bufio.Writer) error {
	q, ctx := s.Queue, s.ctx
	switch req.Op {
	case "list":
		return s.list(req, w)
	case "show":
		e, err := q.Show(ctx, req.ID)
		if err != nil {
			return err
		}
		return writeLine(w, fromEntry(e))
	case "past":
		for e, err := range q.Past(ctx, req.ID) {
			if err == nil {
				err = writeLine(w, response{Event: &e})
			}
			if err != nil {
				return err
			}
		}
		return nil
	case "cat":
		return q.Cat(ctx, req.ID, dataWriter{w})
	case "hold":
		return q.Hold(ctx, req.ID)
	case "release":
		return q.Release(ctx, req.ID)
	case "flush":
		return q.Flush(ctx, req.ID)
	case "flush-dest":
		return q.FlushDest(ctx, req.Dest)
	case "delete":
		return q.Delete(ctx, req.ID)
	case "expire":
		return q.Expire(ctx, req.ID)
	case "requeue":
		return q.Requeue(ctx, req.ID)
	case "submit":
		return s.submit(uid, req, body, w)
	}
	return fmt.Errorf("control: unknown request %q", req.Op)
}

func (s *Server) list(req *request, w *bufio.Writer) error {
	var f queue.Filter
	if req.Filter != nil {
		f = *req.Filter
	}
	first := true
	for e, err := range s.Queue.List(s.ctx, f) {
		if err == nil {
			err = writeLine(w, fromEntry(e))
		}
		if err == nil && first {
			first, err = false, w.Flush() // somebody is waiting to see something
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dataWriter sends a body in pieces.
type dataWriter struct{ w io.Writer }

func (d dataWriter) Write(p []byte) (int, error) {
	return len(p), writeLine(d.w, response{Data: p})
}

func (s *Server) submit(uid uint32, req *request, body io.Reader, w io.Writer) error {
	env, err := goniec.ParseEnvelope(req.Envelope)
	if err != nil {
		return err
	}
	env.Origin = goniec.Origin{User: fmt.Sprintf("uid:%d", uid), Protocol: "local"}
	env.Received, env.ID, env.AuthSender = time.Now(), "", ""
	if req.Options.Key != "" && !s.admin(uid) {
		// One user's keys must not make another's mail a repetition.
		req.Options.Key = fmt.Sprintf("%s/%s", env.Origin.User, req.Options.Key)
	}
	body = &frameReader{r: body}
	if limit := orInt(s.MaxMessageBytes, 50<<20); limit > 0 {
		body = &limitReader{body, limit}
	}
	submit := s.Submit
	if submit == nil {
		submit = func(ctx context.Context, _ uint32, env *goniec.Envelope, msg io.Reader, o queue.Options) (queue.ID, error) {
			return s.Queue.Enqueue(ctx, env, msg, o)
		}
	}
	repeated := false
	req.Options.Repeated = &repeated
	id, err := submit(s.ctx, uid, env, body, req.Options)
	if err != nil {
		return err
	}
	return writeLine(w, response{ID: id, Repeated: repeated})
}

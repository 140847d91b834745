package netserver

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// acceptLoop runs until the server stops or l is beyond repair. An error that may pass (no file descriptor is left, say) is
// waited out in growing steps, so that a storm of them costs neither the server nor the processor.
func (l *listener) acceptLoop() error {
	var delay time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			l.admit(nc)
			continue
		case l.srv.ShuttingDown():
			return ErrServerClosed
		case !mayPass(err):
			return err
		}
		delay = min(max(2*delay, minAcceptDelay), maxAcceptDelay)
		l.cfg.Logger.Error("accept failed; trying again", "err", err, "delay", delay, "local", l.Addr().String())
		if !l.srv.sleep(delay) {
			return ErrServerClosed
		}
	}
}

// mayPass tells an error of the moment from a listener that is gone. accept(2) lets network errors of the new connection
// through, so any error number counts as passing unless it says that l itself is wrong.
func mayPass(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return false
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP:
			return false
		}
		return true
	}
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// sleep reports false when the server stopped meanwhile.
func (s *Server) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.Done():
		return false
	}
}

// admit starts a goroutine for nc, or turns it away.
func (l *listener) admit(nc net.Conn) {
	c, err := l.srv.add(l, nc)
	if err != nil {
		l.refuse(nc, err)
		return
	}
	go c.serve()
}

// add applies the limits and registers the connection. A trusted proxy's own address is not limited: its clients' are,
// once its header is read.
func (s *Server) add(l *listener, nc net.Conn) (*Conn, error) {
	peer := addrPort(nc.RemoteAddr())
	proxied := contains(l.cfg.ProxyFrom, peer.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil, ErrServerClosed
	}
	if over(len(s.conns), l.cfg.MaxConns) {
		return nil, ErrTooManyConns
	}
	var key netip.Addr
	if !proxied {
		var err error
		if key, err = s.claimIP(&l.cfg, peer.Addr()); err != nil {
			return nil, err
		}
	}
	c := newConn(l, nc, key, proxied)
	s.conns[c] = struct{}{}
	s.active.Store(int64(len(s.conns)))
	s.accepted.Add(1)
	return c, nil
}

// refuse says one line and closes. A new socket's buffer always has room for a line, so this does not hold up the loop;
// the deadline is for listeners that are no sockets.
func (l *listener) refuse(nc net.Conn, why error) {
	defer nc.Close()
	if errors.Is(why, ErrServerClosed) {
		return
	}
	l.srv.refused.Add(1)
	if total, ok := l.srv.noteRefusal(time.Now()); ok {
		l.cfg.Logger.Warn("connection refused", "err", why, "remote", addrString(nc.RemoteAddr()), "refused", total)
	}
	if l.cfg.Refusal == nil || l.wrap || isTLS(nc) {
		return
	}
	if line := l.cfg.Refusal(why); line != "" {
		_ = nc.SetWriteDeadline(time.Now().Add(refuseTimeout))
		_, _ = io.WriteString(nc, line)
	}
}

package smtptest

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/smtp"
)

// fault is one thing to go wrong.
type fault struct {
	status *goniec.Status // answer this
	stall  time.Duration  // after so long
	drop   bool           // hang up
}

// FailNext makes the server answer with status the next time that a connection reaches the stage.
func (s *Server) FailNext(stage smtp.Stage, status *goniec.Status) {
	s.add(stage, fault{status: status})
}

// StallNext makes the server wait the next time that a connection reaches the stage, and go on as if nothing had happened.
func (s *Server) StallNext(stage smtp.Stage, d time.Duration) { s.add(stage, fault{stall: d}) }

// DropNext makes the server hang up the next time that a connection reaches the stage, without a word.
func (s *Server) DropNext(stage smtp.Stage) { s.add(stage, fault{drop: true}) }

func (s *Server) add(stage smtp.Stage, f fault) {
	switch stage {
	case smtp.StageBanner, smtp.StageEHLO, smtp.StageTLS, smtp.StageAuth, smtp.StageMail, smtp.StageRcpt, smtp.StageData, smtp.StageText:
	default:
		if s.t == nil {
			panic(fmt.Sprintf("smtptest: no fault can be had at stage %q", stage))
		}
		s.t.Helper()
		s.t.Fatalf("smtptest: no fault can be had at stage %q", stage)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[stage] = append(s.faults[stage], f)
}

// errDropped ends a session whose connection is gone.
var errDropped = goniec.NewStatus(421, goniec.EnhancedCode{4, 3, 0}, "dropped by request")

// fault carries out the next fault of a stage for the connection of peer.
func (s *Server) fault(ctx context.Context, stage smtp.Stage, peer string) error {
	s.mu.Lock()
	var f fault
	if list := s.faults[stage]; len(list) > 0 {
		f, s.faults[stage] = list[0], list[1:]
	}
	conn := s.conns[peer]
	if f.drop {
		s.note(peer, "(dropped by request)")
	}
	s.mu.Unlock()
	switch {
	case f.status != nil:
		return f.status
	case f.drop:
		if conn != nil {
			_ = conn.Close()
		}
		return errDropped
	case f.stall > 0:
		select {
		case <-time.After(f.stall):
		case <-ctx.Done():
		}
	}
	return nil
}

// listener knows the connections, so that they can be dropped below TLS.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	peer := c.RemoteAddr().String()
	l.s.names[peer] = len(l.s.names) + 1
	l.s.conns[peer] = c
	return &conn{c, l.s, peer}, nil
}

type conn struct {
	net.Conn
	s    *Server
	peer string
}

func (c *conn) Close() error {
	c.s.mu.Lock()
	delete(c.s.conns, c.peer)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

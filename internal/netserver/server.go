package netserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Server accepts and keeps connections. The zero value is ready; all methods are safe for concurrent use. It must not be
// copied.
type Server struct {
	mu        sync.Mutex
	stopping  bool
	done      chan struct{} // closed when stopping; made on first use
	gone      chan struct{} // closed when stopping and no connection is left
	ready     chan struct{} // closed when the first listener serves
	listeners []*listener   // serving, in the order of the Serve calls
	conns     map[*Conn]struct{}
	perIP     map[netip.Addr]int
	rates     rateTable
	refusals  refusalLog

	active   atomic.Int64 // len(conns), for Load without the lock
	accepted atomic.Int64
	refused  atomic.Int64
	panics   atomic.Int64
}

// listener is one Serve call: what its connections share.
type listener struct {
	net.Listener
	srv  *Server
	cfg  Config
	tls  *tls.Config // nil without TLSConfig
	wrap bool        // implicit TLS
	base context.Context
}

// Stats are counters since the server was made, and the number of connections now.
type Stats struct {
	Conns    int   // open now
	Accepted int64 // handed to a handler's goroutine
	Refused  int64 // turned away by a limit
	Panics   int64 // contained at a connection's edge, or given to Conn.Recovered
}

// Stats returns the server's counters.
func (s *Server) Stats() Stats {
	return Stats{int(s.active.Load()), s.accepted.Load(), s.refused.Load(), s.panics.Load()}
}

// Serve accepts connections from l until Shutdown or Close, and then returns ErrServerClosed; any other return is an error of
// l that waiting does not mend. It closes l in every case. Calls for several listeners may run at once.
func (s *Server) Serve(l net.Listener, cfg *Config) error { return s.serve(l, cfg, false) }

// ServeTLS is Serve for implicit TLS: each connection begins with a handshake. It needs cfg.TLSConfig.
func (s *Server) ServeTLS(l net.Listener, cfg *Config) error { return s.serve(l, cfg, true) }

// ListenAndServe listens on addr (see Listen) and serves.
func (s *Server) ListenAndServe(addr string, cfg *Config) error {
	return s.listenAndServe(addr, cfg, s.Serve)
}

// ListenAndServeTLS listens on addr (see Listen) and serves with implicit TLS.
func (s *Server) ListenAndServeTLS(addr string, cfg *Config) error {
	return s.listenAndServe(addr, cfg, s.ServeTLS)
}

func (s *Server) listenAndServe(addr string, cfg *Config, serve func(net.Listener, *Config) error) error {
	if s.ShuttingDown() {
		return ErrServerClosed
	}
	l, err := Listen(addr)
	if err != nil {
		return err
	}
	return serve(l, cfg)
}

func (s *Server) serve(nl net.Listener, cfg *Config, implicitTLS bool) error {
	l := &listener{Listener: nl, srv: s, cfg: cfg.withDefaults(), wrap: implicitTLS}
	defer l.Close() // a second close, after Shutdown's, does no harm
	l.tls = tlsConfig(cfg.TLSConfig, cfg.NextProtos)
	if implicitTLS && l.tls == nil {
		return ErrNoTLS
	}
	l.base = l.cfg.BaseContext(nl)
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	defer context.AfterFunc(l.base, func() { s.Close() })()
	return l.acceptLoop()
}

func (s *Server) addListener(l *listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if s.stopping {
		return false
	}
	s.listeners = append(s.listeners, l)
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
	return true
}

func (s *Server) removeListener(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = slices.DeleteFunc(s.listeners, func(x *listener) bool { return x == l })
}

// init makes what the zero value lacks. The caller holds mu.
func (s *Server) init() {
	if s.done != nil {
		return
	}
	s.done, s.gone, s.ready = make(chan struct{}), make(chan struct{}), make(chan struct{})
	s.conns, s.perIP = make(map[*Conn]struct{}), make(map[netip.Addr]int)
}

// Ready is closed when the first listener accepts connections, so that Addr can be asked.
func (s *Server) Ready() <-chan struct{} { return s.channel(&s.ready) }

// Done is closed when Shutdown or Close is called.
func (s *Server) Done() <-chan struct{} { return s.channel(&s.done) }

func (s *Server) channel(c *chan struct{}) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	return *c
}

// ShuttingDown reports whether Shutdown or Close was called.
func (s *Server) ShuttingDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// Addr is the bound address of the listener that has served longest, or nil when none serves.
func (s *Server) Addr() net.Addr {
	if all := s.Addrs(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Addrs are the bound addresses of all listeners that serve, in the order of the Serve calls.
func (s *Server) Addrs() []net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		addrs[i] = l.Addr()
	}
	return addrs
}

// Shutdown stops the server in order: listeners are closed, connections that are still being set up too, idle handlers are
// woken to take leave, active ones may finish their unit of work. It returns nil when all have left. When ctx ends first,
// the rest are ended as by Close and ctx's error is returned.
//
// Before Serve it makes every later Serve return ErrServerClosed.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.stop()
	for _, c := range s.live() {
		c.drain()
	}
	select {
	case <-s.gone:
		return err
	default:
	}
	select {
	case <-s.gone:
		return err
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.end(), err)
	}
}

// Close closes all listeners and connections, cancels the connections' contexts with cause ErrServerClosed, and waits a
// second for the handlers to leave; an error says how many did not. It must not be called from a handler.
func (s *Server) Close() error {
	err := s.stop()
	return errors.Join(s.end(), err)
}

// stop refuses new connections, once. From its return on, conns only shrinks.
func (s *Server) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	if s.stopping {
		return nil
	}
	s.stopping = true
	close(s.done)
	if len(s.conns) == 0 {
		close(s.gone)
	}
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// live is a snapshot, so that nothing foreign runs under mu.
func (s *Server) live() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// end closes what is left and waits for the handlers, but not for ever.
func (s *Server) end() error {
	for _, c := range s.live() {
		c.cancel(ErrServerClosed)
		c.sock.Close()
	}
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-s.gone:
		return nil
	case <-timer.C:
		return fmt.Errorf("%d handlers still run %v after their connections were closed", s.active.Load(), closeGrace)
	}
}

// remove forgets a connection whose handler has returned.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseIP(c.key)
	delete(s.conns, c)
	s.active.Store(int64(len(s.conns)))
	if s.stopping && len(s.conns) == 0 {
		close(s.gone)
	}
}

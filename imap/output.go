package imap

import (
	"sync"

	"github.com/goniec-mail/goniec/internal/netserver"
)

// output is what a session writes to. Small replies go to the connection at once: the system's buffer takes them. Of a large
// one, a piece is written while the session makes the next one, or reads and runs the next command (RFC 9051 §5.5). So a
// client has at most two pieces, and what the session gathers for the third, to take in before its commands have to wait.
type output struct {
	net  *netserver.Conn
	late *lateWriter // nil: there was no large reply yet
}

// latePiece is how much is written at a time while the session goes on, and how much may wait for that.
const latePiece = 64 << 10

// minLate is what is worth another goroutine. Less is written late when more is being written.
const minLate = 16 << 10

// Write implements io.Writer. It has taken p in when it returns; the error may be one of what was written before.
func (o *output) Write(p []byte) (int, error) {
	if o.late == nil {
		if len(p) < minLate {
			return o.net.Write(p)
		}
		o.late = newLateWriter(o.net)
	}
	if len(p) < minLate && o.late.idle() {
		return o.net.Write(p)
	}
	return o.late.Write(p)
}

// wait returns when all is written.
func (o *output) wait() error {
	if o.late == nil {
		return nil
	}
	return o.late.wait()
}

// lateWriter writes what its owner has handed over, in a goroutine that exists for as long as there is something. After an error
// nothing more is written, and the connection is closed: its owner may be waiting for input.
type lateWriter struct {
	net *netserver.Conn

	mu      sync.Mutex
	moved   sync.Cond // waiting was taken, or running has ended
	running bool
	waiting *latePieceBuffer // nil: nothing waits
	err     error
}

// latePieceBuffer is the first n octets of b.
type latePieceBuffer struct {
	n int
	b [latePiece]byte
}

// latePieces holds *latePieceBuffer: free memory, not state.
var latePieces = sync.Pool{New: func() any { return new(latePieceBuffer) }}

func newLateWriter(nc *netserver.Conn) *lateWriter {
	l := &lateWriter{net: nc}
	l.moved.L = &l.mu
	return l
}

// Write implements io.Writer. It blocks while a whole piece waits.
func (l *lateWriter) Write(p []byte) (written int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		for l.err == nil && l.waiting != nil && l.waiting.n == latePiece {
			l.moved.Wait()
		}
		if l.err != nil {
			return written, l.err
		}
		n := l.add(p)
		written += n
		p = p[n:]
	}
	return written, nil
}

// add lets what there is room for of p wait. l.mu is held.
func (l *lateWriter) add(p []byte) int {
	if l.waiting == nil {
		l.waiting = latePieces.Get().(*latePieceBuffer)
		l.waiting.n = 0
	}
	n := copy(l.waiting.b[l.waiting.n:], p)
	l.waiting.n += n
	if !l.running {
		l.running = true
		go l.run()
	}
	return n
}

func (l *lateWriter) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting != nil && l.err == nil {
		piece := l.waiting
		l.waiting = nil
		l.moved.Broadcast()
		l.mu.Unlock()
		_, err := l.net.Write(piece.b[:piece.n])
		latePieces.Put(piece)
		if err != nil {
			_ = l.net.Close()
		}
		l.mu.Lock()
		l.err = err
	}
	l.running = false
	l.moved.Broadcast()
}

// idle reports whether nothing is being written and there was no error.
func (l *lateWriter) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.running && l.err == nil
}

// wait returns when all is written.
func (l *lateWriter) wait() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.running {
		l.moved.Wait()
	}
	return l.err
}

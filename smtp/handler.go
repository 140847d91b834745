package smtp

import (
	"context"
	"io"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// Handler makes a Session for each client that connects. It is asked before the banner; its error refuses the client
// (RFC 5321 §3.1: 554, or 421 for a temporary one) and closes the connection. Handlers must be safe for concurrent use.
type Handler interface {
	NewSession(ctx context.Context, c *Conn) (Session, error)
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, c *Conn) (Session, error)

// NewSession calls f.
func (f HandlerFunc) NewSession(ctx context.Context, c *Conn) (Session, error) { return f(ctx, c) }

// Session judges and takes one client's mail. Its methods are called by one goroutine, in the order of the protocol. An error
// is the reply: a *goniec.Status as it stands, anything else as 451 4.3.0 with an id that is in the log too. A Status with
// code 421 also ends the connection.
//
// env belongs to the server, which fills it stage by stage and uses it again for the next transaction: a Session may read
// it until Reset, or until Data returned nil, and keeps nothing of it.
//
// ctx is the connection's. It ends when the server closes or a stage takes longer than it may (ErrStageTimeout, see Conn.Deadline),
// and then the connection ends too.
type Session interface {
	// Mail accepts the sender of a new transaction, env.From with its parameters.
	Mail(ctx context.Context, env *goniec.Envelope) error

	// Rcpt accepts a recipient, before it joins env.To.
	Rcpt(ctx context.Context, env *goniec.Envelope, to *goniec.Recipient) error

	// Data takes responsibility for the message, as goniec.Deliverer does. msg is the message in network form behind
	// the Received field that the server adds; the client is asked for it (354) by the first Read, so that an error before
	// that refuses the command itself. Data may return early: the server drains the rest within limits. Read fails when the
	// client sends what the server does not accept, or too much, or goes away; that reply then stands whatever Data returns.
	Data(ctx context.Context, env *goniec.Envelope, msg io.Reader) error

	// Reset is called exactly once for each accepted Mail that does not end in Data returning nil, after a panic too.
	// cause says why: ErrReset for RSET and the like, else what Data returned or what ended the connection.
	Reset(env *goniec.Envelope, cause error)

	// Close is called exactly once when the connection ends. cause is nil after QUIT.
	Close(cause error)
}

// Wrapper is a Session around another one. Middleware embeds the inner Session, overrides the stages it cares for and has this
// method, so that optional stages of the inner one are found (see As).
type Wrapper interface {
	Session
	Unwrap() Session
}

// Wrapped is a Session that passes every stage on: embed it in a middleware's session and override what you need.
type Wrapped struct{ Session }

// Unwrap returns the inner Session.
func (w Wrapped) Unwrap() Session { return w.Session }

// As returns the outermost session of s and what it wraps that is a T.
func As[T any](s Session) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(Wrapper)
		if !ok {
			break
		}
		s = w.Unwrap()
	}
	var none T
	return none, false
}

// HeloChecker is an optional stage of a Session: EHLO, HELO or LHLO with the name the client gives itself. The outermost one
// is asked; it asks the inner one by CheckHelo.
type HeloChecker interface {
	Helo(ctx context.Context, name string) error
}

// CheckHelo asks the outermost HeloChecker of s, and accepts when there is none.
func CheckHelo(ctx context.Context, s Session, name string) error {
	if h, ok := As[HeloChecker](s); ok {
		return h.Helo(ctx, name)
	}
	return nil
}

// AuthChecker is an optional stage of a Session: a client that has proven who it is. An error refuses it all the same. The
// outermost one is asked; it asks the inner one by CheckAuth.
type AuthChecker interface {
	Auth(ctx context.Context, id auth.Identity) error
}

// CheckAuth asks the outermost AuthChecker of s, and accepts when there is none.
func CheckAuth(ctx context.Context, s Session, id auth.Identity) error {
	if a, ok := As[AuthChecker](s); ok {
		return a.Auth(ctx, id)
	}
	return nil
}

// Verifier is an optional stage of a Session: VRFY. nil answers 250 with the argument; without a Verifier, and where it
// returns errors.ErrUnsupported, the answer is 252, which tells nobody which addresses exist (RFC 5321 §7.3).
type Verifier interface {
	Verify(ctx context.Context, address string) error
}

// Extender is an optional stage of a Session: which ESMTP extensions are offered. It gets the lines of the EHLO reply that the server can keep
// by itself, and returns those to offer: some left out, or with one added whose promise the Session keeps, of
// BINARYMIME (RFC 3030), DSN (RFC 3461), REQUIRETLS (RFC 8689; offered only in TLS), DELIVERBY (RFC 2852), FUTURERELEASE with its
// two limits (RFC 4865), MT-PRIORITY (RFC 6710) and RRVS (RFC 7293). Other additions are dropped: the server does not know them.
// The parameters of an extension that is not offered are refused with 555 5.5.4.
//
// The outermost Extender is asked; it asks the inner one by ExtensionsOf.
type Extender interface {
	Extensions(offered []string) []string
}

// ExtensionsOf asks the outermost Extender of s, and returns offered when there is none.
func ExtensionsOf(s Session, offered []string) []string {
	if e, ok := As[Extender](s); ok {
		return e.Extensions(offered)
	}
	return offered
}

// Middleware puts a policy around a Handler.
type Middleware func(Handler) Handler

// Chain puts middleware around h. The first one is the outermost: it judges first.
func Chain(h Handler, m ...Middleware) Handler {
	for i := len(m) - 1; i >= 0; i-- {
		h = m[i](h)
	}
	return h
}

// WrapSession makes a Middleware of a function that wraps each Session.
func WrapSession(wrap func(c *Conn, s Session) Session) Middleware {
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, c *Conn) (Session, error) {
			s, err := next.NewSession(ctx, c)
			if err != nil {
				return nil, err
			}
			return wrap(c, s), nil
		})
	}
}

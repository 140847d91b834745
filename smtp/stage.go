package smtp

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goniec-mail/goniec"
)

// Stage is the step of a client's session at which something failed.
type Stage string

// The stages, in their order.
const (
	StageConnect Stage = "connect"  // dialling
	StageBanner  Stage = "greeting" // waiting for the server's 220
	StageEHLO    Stage = "EHLO"     // EHLO, HELO or LHLO
	StageTLS     Stage = "STARTTLS" // STARTTLS and the handshake, implicit TLS too
	StageAuth    Stage = "AUTH"
	StageMail    Stage = "MAIL"
	StageRcpt    Stage = "RCPT"
	StageData    Stage = "DATA" // the command
	StageText    Stage = "the message"
	StageIdle    Stage = "idle" // between messages: RSET, NOOP
)

// StageError is what went wrong between a client and one server, and when. The server's reply, if there is one, is in Err, and the
// *goniec.Status in its chain (see As).
type StageError struct {
	Stage Stage
	Host  string // name of the host as it was asked for; "" if only its address was known
	Addr  string // address of the connection, "" before there is one

	// Sent tells that the outcome is ambiguous: the whole message was sent and no reply came, so the server may have taken it.
	// To send it again may make a duplicate, not to may lose it.
	Sent bool

	Err error

	own bool // a *goniec.Status in Err is our own finding, not the server's reply
}

// Permanent reports whether trying again later will not help: the server answered 5xx to the greeting or the transaction, or the
// message can not be sent in a form that the server takes. Failed connections, TLS and AUTH are temporary, even with a 5xx reply:
// they are mistakes of a configuration, which people mend, and no reason to return mail. So is an ambiguous outcome.
func (e *StageError) Permanent() bool {
	switch e.Stage {
	case StageConnect, StageTLS, StageAuth, StageIdle:
		return false
	}
	return !e.Sent && goniec.Permanent(e.Err)
}

// RemoteMTA names the server in reports and logs: its name, or its address where only that was known; ""
// before there was a connection, since nobody said anything then (RFC 3464 §2.3.5).
func (e *StageError) RemoteMTA() string {
	switch {
	case e.Addr == "":
		return ""
	case e.Host == "":
		return e.Addr
	}
	return e.Host
}

// RemoteReply returns what the server said, for reports. nil: it said nothing, or what ails is our own finding, such as a message that is
// larger than the server's SIZE: no words may be put into its mouth (RFC 3464 §2.3.6).
func (e *StageError) RemoteReply() *goniec.Status {
	var s *goniec.Status
	if e.own || !errors.As(e.Err, &s) {
		return nil
	}
	return s
}

// As gives errors.As, and with it goniec.StatusOf, a temporary *goniec.Status where the server gave none, so that whoever sent the mail
// learns more than "temporary failure"; and where its 5xx does not make the error permanent: what a smarthost says about our password is
// for the log, and no answer to whoever sent the mail.
func (e *StageError) As(target any) bool {
	t, ok := target.(**goniec.Status)
	var s *goniec.Status
	switch {
	case !ok || e.Permanent():
		return false
	case !errors.As(e.Err, &s) && e.own: // a message that can not be read, say
		return false
	case s == nil:
		*t = e.lost().WithCause(e.Err)
		return true
	case s.Temporary():
		return false
	}
	*t = &goniec.Status{Code: 451, Enhanced: goniec.EnhancedCode{4, 4, 0}, Text: "the next host does not take the message now", Err: e.Err}
	return true
}

// lost says what a session that ended without a reply came to, without the private words of the cause (RFC 3463 §3.5).
func (e *StageError) lost() *goniec.Status {
	var timeout interface{ Timeout() bool }
	late := errors.As(e.Err, &timeout) && timeout.Timeout()
	switch {
	case e.Stage == StageConnect && (e.Host == "" || strings.HasPrefix(e.Host, unixPrefix)): // a path is nobody's business
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 1}, "no connection to the next host")
	case e.Stage == StageConnect:
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 1}, "no connection to "+e.Host)
	case e.Stage == StageTLS:
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 0}, "no safe connection by TLS")
	case e.Stage == StageAuth:
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 0}, "login failed")
	case late:
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 2}, "no answer in time at "+string(e.Stage))
	}
	return goniec.NewStatus(451, goniec.EnhancedCode{4, 4, 2}, "connection lost at "+string(e.Stage))
}

// Unwrap returns the cause.
func (e *StageError) Unwrap() error { return e.Err }

// Error names the host, what it said or what else happened, and the stage:
//
//	mx2.example.org[203.0.113.9:25] said 451 4.7.1 greylisted at RCPT
func (e *StageError) Error() string {
	peer := e.peer()
	var s *goniec.Status
	switch {
	case e.Sent:
		return fmt.Sprintf("%s did not answer the message, which it may have taken: %v", peer, e.Err)
	case !e.own && errors.As(e.Err, &s) && s == e.Err && s.Err == nil:
		return fmt.Sprintf("%s said %s at %s", peer, s.Reply(), e.Stage)
	}
	return fmt.Sprintf("%s at %s: %v", peer, e.Stage, e.Err)
}

func (e *StageError) peer() string {
	switch {
	case e.Addr == "":
		return e.Host
	case e.Host == "" || strings.HasPrefix(e.Host, unixPrefix):
		return "[" + e.Addr + "]"
	}
	return e.Host + "[" + e.Addr + "]"
}

var (
	// ErrInjected says that a server sent more than its reply to STARTTLS before TLS began: somebody on the way put in what
	// was to be taken for the server's words under TLS.
	ErrInjected = errors.New("smtp: data behind the reply to STARTTLS: somebody may have tampered with the connection")

	// ErrNoTLS says that TLS is required and the server does not offer it.
	ErrNoTLS = errors.New("smtp: server does not offer STARTTLS, which is required here")

	// ErrClosed says that a Client or a Pool was closed, or broke off earlier.
	ErrClosed = errors.New("smtp: client is closed")
)

// errServerGone is EOF in words.
var errServerGone = fmt.Errorf("server closed the connection: %w", io.ErrUnexpectedEOF)

// settled reports whether a server has spoken about a message or a recipient, so that another host or another attempt now is
// out of place. What it did not get to (no connection, no TLS, no AUTH, a session that broke off before the message was sent) and
// what it can not do (errors.ErrUnsupported), another host may do better.
func settled(err error) bool {
	var e *StageError
	if !errors.As(err, &e) {
		return true
	}
	if e.Sent {
		return true
	}
	var s *goniec.Status
	switch e.Stage {
	case StageConnect, StageBanner, StageEHLO, StageTLS, StageAuth, StageIdle:
		return false
	}
	return errors.As(e.Err, &s) && s.Code != 421 && !errors.Is(e.Err, errors.ErrUnsupported)
}

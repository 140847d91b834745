package auth

import (
	"errors"
	"fmt"

	"github.com/goniec-mail/goniec"
)

// The verdicts of an authentication. Test for them with errors.Is; each also gives its reply
// through errors.As as a fresh *goniec.Status, and StatusOf does so for any error. IMAP and POP3
// map the codes to their own (535 is [AUTHENTICATIONFAILED] and [AUTH], 538 is
// [PRIVACYREQUIRED], 454 is [UNAVAILABLE] and [SYS/TEMP]).
var (
	// ErrCredentials says that the user is unknown, disabled, or not proven to be who they say,
	// or may not act as somebody else. One error for all, so that nobody learns which it was.
	ErrCredentials error = &verdict{535, goniec.EnhancedCode{5, 7, 8}, "authentication credentials invalid", ""}

	// ErrMalformed says that a response is not base64 or not what the mechanism's grammar wants.
	ErrMalformed error = &verdict{501, goniec.EnhancedCode{5, 5, 2}, "cannot decode authentication response", ""}

	// ErrTooLong says that a response is longer than MaxLine (RFC 4954 §4).
	ErrTooLong error = &verdict{500, goniec.EnhancedCode{5, 5, 6}, "authentication exchange line is too long", ""}

	// ErrCanceled says that the client ended the exchange with "*".
	ErrCanceled error = &verdict{501, goniec.EnhancedCode{5, 0, 0}, "authentication canceled", ""}

	// ErrUnknownMechanism says that the mechanism is not among those offered.
	ErrUnknownMechanism error = &verdict{504, goniec.EnhancedCode{5, 5, 4}, "authentication mechanism not supported", ""}

	// ErrEncryptionRequired says that the mechanism would show the password to the network. Its text, which is for the
	// log, says what an administrator can do; the reply does not.
	ErrEncryptionRequired error = &verdict{
		538,
		goniec.EnhancedCode{5, 7, 11},
		"encryption required for requested authentication mechanism",
		"the connection is not encrypted: configure TLS, or allow insecure AUTH for tests on loopback",
	}

	// ErrUnavailable says that nobody could tell whether the credentials are right: a back end is
	// down, a file unreadable, the machine overloaded. It is not a wrong password. See Unavailable.
	ErrUnavailable error = &verdict{454, goniec.EnhancedCode{4, 7, 0}, "temporary authentication failure", ""}

	// ErrTooManyFailures is the Guard's refusal: the server gives this reply and closes.
	ErrTooManyFailures error = &verdict{421, goniec.EnhancedCode{4, 7, 0}, "too many authentication failures, try again later", ""}
)

// verdict is an error that carries a reply but no pointer to one that an importer could edit.
type verdict struct {
	code     int
	enhanced goniec.EnhancedCode
	text     string
	hint     string // for the log only
}

// Error implements error.
func (v *verdict) Error() string {
	if v.hint != "" {
		return v.text + ": " + v.hint
	}
	return v.text
}

// Permanent is what goniec.Permanent asks.
func (v *verdict) Permanent() bool { return v.code >= 500 }

// As makes errors.As find a *goniec.Status.
func (v *verdict) As(target any) bool {
	s, ok := target.(**goniec.Status)
	if ok {
		*s = goniec.NewStatus(v.code, v.enhanced, v.text)
	}
	return ok
}

// Unavailable wraps the error of a back end as ErrUnavailable: 454 4.7.0 for the peer, err for the log.
func Unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }

// refuse is ErrCredentials with a cause for the log.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCredentials, fmt.Errorf(format, args...))
}

// malformed is ErrMalformed with a cause for the log.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
}

// StatusOf returns the reply for the outcome of an authentication: nil for nil, the Status in
// the chain of err, else 454 4.7.0 with err as the private cause. An error that nobody classified
// is never taken for a wrong password.
func StatusOf(err error) *goniec.Status {
	if err == nil {
		return nil
	}
	var s *goniec.Status
	if !errors.As(err, &s) || s == nil || s.Code < 400 || s.Code > 599 {
		errors.As(ErrUnavailable, &s)
	}
	if s.Err == nil && error(s) != err {
		s = s.WithCause(err)
	}
	return s
}

// Denied reports whether err is a judgement on the credentials (a 5xx reply), which a guard counts
// and a chain of authenticators passes by, and not temporary trouble.
func Denied(err error) bool { return err != nil && StatusOf(err).Code >= 500 }

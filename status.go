package goniec

import (
	"errors"
	"fmt"
	"strings"
)

// EnhancedCode is an enhanced mail system status code (RFC 3463): class, subject, detail.
// The zero value means that there is none; a reply is then written without one.
type EnhancedCode [3]uint16

// String returns the code as "5.1.1", or "" for the zero value.
func (c EnhancedCode) String() string {
	if c == (EnhancedCode{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
}

// Status is a reply of the mail system: what the peer may see (Code, Enhanced, Text), and the
// private cause for the log (Err). A back end returns one to choose the reply; a client returns
// the one that the peer sent. Code is 200 to 599 (RFC 5321 §4.2); other protocols map it by its
// class and enhanced code. A Status is a value to be read: never edit one that you did not make.
type Status struct {
	Code     int          // reply code; 4xx is temporary, 5xx permanent
	Enhanced EnhancedCode // zero: none
	Text     string       // human text; lines are separated by "\n"; no CR
	Err      error        // private cause: goes to the log, never to the peer; may be nil
}

// NewStatus returns a Status with a reply code, its enhanced code and text, as in
// NewStatus(550, EnhancedCode{5, 1, 1}, "no such user").
func NewStatus(code int, enhanced EnhancedCode, text string) *Status {
	return &Status{Code: code, Enhanced: enhanced, Text: text}
}

// WithCause returns a copy of s whose private cause is err.
func (s *Status) WithCause(err error) *Status {
	c := *s
	c.Err = err
	return &c
}

// Error returns the reply, with the private cause behind it. It is meant for logs: a server sends
// Reply to its peer instead.
func (s *Status) Error() string {
	if s.Err == nil {
		return s.Reply()
	}
	return s.Reply() + ": " + s.Err.Error()
}

// Reply returns the reply on one line, without the private cause: "550 5.1.1 no such user".
func (s *Status) Reply() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", s.Code)
	if e := s.Enhanced.String(); e != "" {
		b.WriteString(" " + e)
	}
	if s.Text != "" {
		b.WriteString(" " + strings.ReplaceAll(s.Text, "\n", " / "))
	}
	return b.String()
}

// Unwrap returns the private cause.
func (s *Status) Unwrap() error { return s.Err }

// Temporary reports whether the reply asks to try again: any code that is not 5xx or 2xx.
func (s *Status) Temporary() bool { return s.Code < 200 || s.Code >= 300 && s.Code < 500 }

// Permanent reports whether err says that trying again will not help: a Status with a 5xx code is
// in its chain, or an error with a method Permanent() bool that returns true (a client's stage
// error may know better than the reply code). Everything else that is not nil is temporary,
// unknown errors above all: mail must not bounce because a disk was full.
// RcptErrors are permanent when every failed recipient is.
func Permanent(err error) bool {
	if err == nil {
		return false
	}
	var p interface{ Permanent() bool }
	if errors.As(err, &p) {
		return p.Permanent()
	}
	return false
}

// Temporary reports whether err is not nil and not Permanent.
func Temporary(err error) bool { return err != nil && !Permanent(err) }

// Permanent reports whether the reply code is 5xx.
func (s *Status) Permanent() bool { return s.Code >= 500 && s.Code < 600 }

// StatusOf returns the reply to give for err: nil for nil; the first Status in its chain whose
// code is an error; else 451 4.3.0 with err as the private cause, since an unknown error is temporary.
// For RcptErrors it is the mildest failure (any temporary one wins), as one reply must speak for all.
func StatusOf(err error) *Status {
	if err == nil {
		return nil
	}
	var re RcptErrors
	if errors.As(err, &re) {
		if s := re.mildest(); s != nil {
			return s
		}
	}
	var s *Status
	if errors.As(err, &s) && s != nil && s.Code >= 400 && s.Code < 600 {
		return s
	}
	return &Status{Code: 451, Enhanced: EnhancedCode{4, 3, 0}, Text: "temporary failure, try again later", Err: err}
}

// RcptErrors is one outcome for each recipient of an envelope, in the order of Envelope.To: nil
// means that the Deliverer took care of it. Return it through Err, never the slice itself: a nil
// RcptErrors in an error is not nil.
type RcptErrors []error

// Err returns nil when no recipient failed, and e otherwise.
func (e RcptErrors) Err() error {
	for _, err := range e {
		if err != nil {
			return e
		}
	}
	return nil
}

// Failed returns how many recipients failed.
func (e RcptErrors) Failed() int {
	n := 0
	for _, err := range e {
		if err != nil {
			n++
		}
	}
	return n
}

// Error tells how many failed and the mildest failure.
func (e RcptErrors) Error() string {
	return fmt.Sprintf("%d of %d recipients failed: %v", e.Failed(), len(e), e.mildest())
}

// Permanent reports whether at least one recipient failed and all failures are permanent.
func (e RcptErrors) Permanent() bool {
	failed := false
	for _, err := range e {
		if Temporary(err) {
			return false
		}
		failed = failed || err != nil
	}
	return failed
}

// mildest returns the failure that one reply for all recipients must show: any temporary one wins.
func (e RcptErrors) mildest() *Status {
	var worst *Status
	for _, err := range e {
		s := StatusOf(err)
		switch {
		case s == nil:
		case s.Temporary():
			return s
		case worst == nil:
			worst = s
		}
	}
	return worst
}

// Outcomes spreads the result of a Deliverer over n recipients: RcptErrors of length n as they
// are, any other error (nil too) n times. RcptErrors of a wrong length are a programming error of
// the Deliverer and count as an unknown, hence temporary, failure of all: no recipient may be
// taken for delivered by mistake.
func Outcomes(err error, n int) RcptErrors {
	var re RcptErrors
	if errors.As(err, &re) {
		if len(re) == n {
			return re
		}
		err = fmt.Errorf("deliverer returned %d outcomes for %d recipients", len(re), n)
	}
	out := make(RcptErrors, n)
	for i := range out {
		out[i] = err
	}
	return out
}

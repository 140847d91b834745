package wire

import (
	"errors"
	"fmt"

	"github.com/goniec-mail/goniec/internal/crlf"
)

// Error is a fault of what the peer sent. Other errors of a Decoder come from the connection.
type Error struct {
	Text string
	// TooBig marks a limit that was passed, as opposed to bad grammar (RFC 7889: [TOOBIG]).
	TooBig bool
	// Fatal says that nobody knows where the next command begins: close the connection.
	Fatal bool
}

// Error returns Text: it may be shown to the peer.
func (e *Error) Error() string { return e.Text }

func syntax(format string, args ...any) *Error { return &Error{Text: fmt.Sprintf(format, args...)} }

func tooBig(text string) *Error { return &Error{Text: text, TooBig: true} }

// lineFault makes an Error of what crlf.Reader says of a line; other errors pass.
func lineFault(err error) error {
	var fault crlf.Error
	switch {
	case !errors.As(err, &fault):
		return err
	case fault == crlf.ErrLineTooLong || fault == crlf.ErrSkipLimit:
		// The end of the line was not kept, so that a literal announced there is not known.
		return &Error{Text: "line is too long", TooBig: true, Fatal: true}
	}
	return &Error{Text: fault.Error()}
}

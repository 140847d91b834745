package crlf

// Error is a fault of the text that the peer sent, or that the caller wants to send. Compare with ==, errors.Is or errors.As.
type Error uint8

// The faults. For a Reader all but ErrSkipLimit, and for a DotReader all but ErrDrainLimit, leave the stream in step: the faulty
// line or message has been, or can be, consumed to its end, and the session goes on after an error reply.
const (
	// ErrBareLF: an LF that does not follow a CR. RFC 5321 §2.3.8 forbids it; taking it for a line end is how mail is smuggled.
	ErrBareLF Error = iota + 1
	// ErrBareCR: a CR that no LF follows.
	ErrBareCR
	// ErrNUL: a command line with a NUL octet.
	ErrNUL
	// ErrLineTooLong: a line longer than its limit.
	ErrLineTooLong
	// ErrTooLarge: a message larger than its limit. The rest of it is still to be drained.
	ErrTooLarge
	// ErrSkipLimit: a line too long even to be skipped. The connection has to be closed.
	ErrSkipLimit
	// ErrDrainLimit: a message too long even to be drained. The connection has to be closed.
	ErrDrainLimit
)

var errorTexts = [...]string{
	ErrBareLF:      "line feed without carriage return",
	ErrBareCR:      "carriage return without line feed",
	ErrNUL:         "NUL octet in line",
	ErrLineTooLong: "line too long",
	ErrTooLarge:    "message too large",
	ErrSkipLimit:   "line without end",
	ErrDrainLimit:  "message without end",
}

// Error implements error. The text may be shown to the peer.
func (e Error) Error() string {
	if int(e) < len(errorTexts) && e != 0 {
		return errorTexts[e]
	}
	return "malformed text"
}

// InStep reports whether the session can go on after the fault was answered.
func (e Error) InStep() bool { return e != ErrSkipLimit && e != ErrDrainLimit }

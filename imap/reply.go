package imap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// status is the word of a status response (RFC 9051 §7.1).
type status string

const (
	statusOK  status = "OK"
	statusNO  status = "NO"
	statusBAD status = "BAD"
)

// reply is the tagged end of a command. As an error it is a refusal; the session goes on.
type reply struct {
	status status
	code   string // response code without brackets, "" = none
	text   string
	err    error // for the log
	bye    bool  // the session ends after it
}

func (r *reply) Error() string {
	if r.err != nil {
		return r.text + ": " + r.err.Error()
	}
	return r.text
}

func (r *reply) Unwrap() error { return r.err }

// no refuses a command that was understood.
func no(code, format string, args ...any) error {
	return &reply{status: statusNO, code: code, text: fmt.Sprintf(format, args...)}
}

// bad refuses a command that was not.
func bad(format string, args ...any) error {
	return &reply{status: statusBAD, text: fmt.Sprintf(format, args...)}
}

// errQuit ends a session after its reply was written.
var errQuit = errors.New("logout")

// storeErrors says how the errors of stores are told to clients (RFC 5530, RFC 9051 §7.1).
// "Absent" and "forbidden" share a text where a store uses ErrNotFound for both (I13).
func storeErrors() []struct {
	err        error
	code, text string
} {
	return []struct {
		err        error
		code, text string
	}{
		{mailbox.ErrNotFound, "NONEXISTENT", "no such mailbox"},
		{mailbox.ErrExists, "ALREADYEXISTS", "mailbox exists"},
		{mailbox.ErrCannot, "CANNOT", "not possible with this mailbox"},
		{mailbox.ErrName, "CANNOT", "mailbox name can not be used"},
		{mailbox.ErrReadOnly, "NOPERM", "mailbox is read-only"},
		{mailbox.ErrForbidden, "NOPERM", "permission denied"},
		{mailbox.ErrKeyword, "CANNOT", "keyword can not be used"},
		{mailbox.ErrKeywordLimit, "LIMIT", "mailbox can not take another keyword"},
		{mailbox.ErrOverQuota, "OVERQUOTA", "quota exceeded"},
		{mailbox.ErrTooLarge, "TOOBIG", "message is too large"},
		{mailbox.ErrGone, "EXPUNGEISSUED", "some messages were expunged"},
		{mailbox.ErrInUse, "INUSE", "mailbox is in use"},
		{mailbox.ErrACLLimit, "LIMIT", "access control list is too long"},
		{mailbox.ErrIdentifier, "CANNOT", "identifier can not be used"},
		{mailbox.ErrUIDRange, "LIMIT", "mailbox has used up its UIDs"},
		{mailbox.ErrCriteria, "LIMIT", "search is too complex"},
		{errors.ErrUnsupported, "CANNOT", "the store can not do this"},
	}
}

// failed makes a reply of a store's error. What is unknown is temporary, and its text stays in
// the log, under an id that the client is told.
func failed(err error) error {
	var r *reply
	if errors.As(err, &r) {
		return r
	}
	for _, e := range storeErrors() {
		if errors.Is(err, e.err) {
			return no(e.code, "%s", e.text)
		}
	}
	var s *goniec.Status
	if errors.As(err, &s) {
		code := "UNAVAILABLE"
		if s.Permanent() {
			code = "CANNOT"
		}
		return &reply{status: statusNO, code: code, text: oneLine(s.Text), err: err}
	}
	id := goniec.NewID()
	return &reply{status: statusNO, code: "UNAVAILABLE", text: "temporary failure " + id + ", try again later", err: fmt.Errorf("%s: %w", id, err)}
}

// tryCreate is failed for a destination: a client offers to make it (RFC 9051 §7.1 TRYCREATE).
func tryCreate(err error) error {
	if errors.Is(err, mailbox.ErrNotFound) {
		return no("TRYCREATE", "no such mailbox")
	}
	return failed(err)
}

// authFailed makes a reply of a failed login (RFC 5530).
func authFailed(err error) error {
	s := auth.StatusOf(err)
	r := &reply{status: statusNO, code: "AUTHENTICATIONFAILED", text: oneLine(s.Text), err: err}
	switch {
	case s.Code == 501 || s.Code == 500: // RFC 9051 §6.2.2: canceled or malformed is BAD
		r.status, r.code = statusBAD, ""
	case s.Code == 504:
		r.code = "CANNOT"
	case s.Code == 538:
		r.code = "PRIVACYREQUIRED"
	case s.Temporary():
		r.code = "UNAVAILABLE"
	}
	r.bye = s.Code == 421
	return r
}

// oneLine makes text of a back end safe inside a reply.
func oneLine(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c >= 0x7F {
			b[i] = ' '
		}
	}
	return string(b[:min(len(b), 500)])
}

// grammar makes a reply of the Decoder's error. Other errors are the connection's.
func grammar(err error) error {
	var e *wire.Error
	switch {
	case !errors.As(err, &e):
		return err
	case wire.BadName(err):
		return no("CANNOT", "%s", e.Text)
	case e.TooBig:
		return &reply{status: statusNO, code: "TOOBIG", text: e.Text, bye: e.Fatal}
	}
	return &reply{status: statusBAD, text: oneLine(e.Text), bye: e.Fatal}
}

// untagged writes an untagged status response.
func (c *conn) untagged(s string, code, text string) {
	c.enc.Raw("* ")
	c.enc.Raw(s)
	c.enc.SP()
	c.statusText(code, text)
}

func (c *conn) statusText(code, text string) {
	if code != "" {
		c.enc.Raw("[")
		c.enc.Raw(code)
		c.enc.Raw("] ")
	}
	c.enc.Raw(text)
	c.enc.CRLF()
}

// tagged writes the end of the command.
func (c *conn) tagged(r *reply) {
	c.enc.Raw(c.tag)
	c.enc.SP()
	c.enc.Raw(string(r.status))
	c.enc.SP()
	c.statusText(r.code, r.text)
}

// bye announces the end of the session, and why.
func (c *conn) bye(code, text string) { c.untagged("BYE", code, text) }

// logFailure records a refusal that has a private cause.
func (c *conn) logFailure(ctx context.Context, verb string, r *reply) {
	if r.err == nil || errors.Is(r.err, errQuit) {
		return
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "command failed", slog.String("remote", c.net.RemoteAddr().String()),
		slog.String("user", c.user), slog.String("command", verb), slog.String("error", r.err.Error()))
}

package smtp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goniec-mail/goniec"
)

// Limits of ESMTP parameters.
const (
	maxParams = 32  // parameters of one command
	maxEnvID  = 100 // octets of ENVID as xtext (RFC 3461 §4.4)
	maxORcpt  = 500 // octets of ORCPT (RFC 3461 §4.2)
)

// mailParam is one parameter of MAIL: how it is read into an Envelope and how it is written from one.
type mailParam struct {
	name  string
	ext   extension
	parse func(env *goniec.Envelope, value string, now time.Time) error
	// format appends the value; ok is false when the envelope has none. A parameter without value appends nothing.
	format func(b []byte, env *goniec.Envelope, now time.Time) (_ []byte, ok bool)
}

// mailParams are the parameters of MAIL that this package knows.
var mailParams = [...]mailParam{
	{"SIZE", extSize, parseSize, formatSize},
	{"BODY", ext8BitMIME, parseBody, formatBody},
	{"SMTPUTF8", extSMTPUTF8, parseUTF8, func(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) { return b, env.UTF8 }},
	{"AUTH", extAuth, parseAuthSender, formatAuthSender},
	{"RET", extDSN, parseRet, formatRet},
	{"ENVID", extDSN, parseEnvID, formatEnvID},
	{"REQUIRETLS", extRequireTLS, parseRequireTLS, func(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) { return b, env.RequireTLS }},
	{"BY", extDeliverBy, parseBy, formatBy},
	{"HOLDFOR", extFutureRelease, parseHoldFor, formatHoldFor},
	{"HOLDUNTIL", extFutureRelease, parseHoldUntil, nil}, // HOLDFOR is written: it needs no common clock
	{"MT-PRIORITY", extMTPriority, parsePriority, formatPriority},
}

// rcptParam is one parameter of RCPT.
type rcptParam struct {
	name   string
	ext    extension
	parse  func(to *goniec.Recipient, value string) error
	format func(b []byte, to *goniec.Recipient) (_ []byte, ok bool)
}

// rcptParams are the parameters of RCPT that this package knows.
var rcptParams = [...]rcptParam{
	{"NOTIFY", extDSN, parseNotify, formatNotify},
	{"ORCPT", extDSN, parseORcpt, formatORcpt},
	{"RRVS", extRRVS, parseRRVS, formatRRVS},
}

// errNoParam says that a parameter is unknown or belongs to an extension that was not offered (RFC 5321 §4.1.1.11: 555).
var errNoParam = errors.New("parameter not recognised")

// parseMailParams reads the parameters behind a reverse-path into env. Times are relative to now.
func parseMailParams(s string, env *goniec.Envelope, offered extension, now time.Time) error {
	var seen uint32
	return eachParam(s, func(name, value string) error {
		for i, p := range mailParams {
			if !strings.EqualFold(name, p.name) {
				continue
			}
			if !offered.has(p.ext) {
				return paramError(name, errNoParam)
			}
			if err := once(&seen, i); err != nil {
				return paramError(name, err)
			}
			// RFC 3030 §3: BODY=BINARYMIME needs its own extension.
			if err := p.parse(env, value, now); err != nil {
				return paramError(name, err)
			}
			if env.Body == goniec.BodyBinaryMIME && !offered.has(extBinaryMIME) {
				return paramError(name, errNoParam)
			}
			return nil
		}
		return paramError(name, errNoParam)
	})
}

// parseRcptParams reads the parameters behind a forward-path into to.
func parseRcptParams(s string, to *goniec.Recipient, offered extension) error {
	var seen uint32
	return eachParam(s, func(name, value string) error {
		for i, p := range rcptParams {
			if !strings.EqualFold(name, p.name) {
				continue
			}
			if !offered.has(p.ext) {
				return paramError(name, errNoParam)
			}
			if err := once(&seen, i); err != nil {
				return paramError(name, err)
			}
			if err := p.parse(to, value); err != nil {
				return paramError(name, err)
			}
			return nil
		}
		return paramError(name, errNoParam)
	})
}

// appendMailParams appends " NAME=value" for everything in env that the peer offered to take. What it did not offer is
// left out: whether mail may go without is for the caller to decide first.
func appendMailParams(b []byte, env *goniec.Envelope, offered extension, now time.Time) []byte {
	for _, p := range mailParams {
		if p.format == nil || !offered.has(p.ext) {
			continue
		}
		start := len(b)
		b = append(append(b, ' '), p.name...)
		named := len(b)
		b = append(b, '=')
		var ok bool
		if b, ok = p.format(b, env, now); !ok {
			b = b[:start]
		} else if len(b) == named+1 {
			b = b[:named]
		}
	}
	return b
}

// appendRcptParams is appendMailParams for a recipient.
func appendRcptParams(b []byte, to *goniec.Recipient, offered extension) []byte {
	for _, p := range rcptParams {
		if !offered.has(p.ext) {
			continue
		}
		start := len(b)
		b = append(append(append(b, ' '), p.name...), '=')
		var ok bool
		if b, ok = p.format(b, to); !ok {
			b = b[:start]
		}
	}
	return b
}

// eachParam splits esmtp-params (RFC 5321 §4.1.2, with the UTF-8 of RFC 6531 §3.3): each is preceded by spaces.
func eachParam(s string, f func(name, value string) error) error {
	for n := 0; ; n++ {
		if s == "" {
			return nil
		}
		if s[0] != ' ' {
			return fmt.Errorf("no space before %q", clip(s, 40))
		}
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return nil // trailing spaces are common and mean nothing
		}
		if n == maxParams {
			return fmt.Errorf("more than %d parameters", maxParams)
		}
		word := s
		if i := strings.IndexByte(s, ' '); i >= 0 {
			word = s[:i]
		}
		s = s[len(word):]
		name, value, assigned := strings.Cut(word, "=")
		if !isKeyword(name) || assigned && !isParamValue(value) {
			return fmt.Errorf("%q is no parameter", clip(word, 40))
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
}

// isKeyword reports whether s is an esmtp-keyword.
func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && (c != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

// isParamValue reports whether s is an esmtp-value, which has no "=".
func isParamValue(s string) bool {
	return s != "" && !strings.Contains(s, "=") && !hasControl(s) && utf8.ValidString(s)
}

// once refuses a parameter that was there before: two hops could take different ones.
func once(seen *uint32, i int) error {
	if *seen&(1<<i) != 0 {
		return errors.New("given twice")
	}
	*seen |= 1 << i
	return nil
}

// paramError names the parameter, which isKeyword has found harmless.
func paramError(name string, err error) error {
	return fmt.Errorf("%s: %w", clip(strings.ToUpper(name), 40), err)
}

var errParamValue = errors.New("bad value")

// noValue is for the parameters without one.
func noValue(value string) error {
	if value != "" {
		return errors.New("takes no value")
	}
	return nil
}

// SIZE (RFC 1870 §5): size-value = 1*20DIGIT. What does not fit an int64 is the largest one: too large for any limit.
func parseSize(env *goniec.Envelope, value string, _ time.Time) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) || len(value) > 20 || strings.HasPrefix(value, "+") {
		return errParamValue
	}
	env.Size = int64(min(n, 1<<63-1))
	return nil
}

func formatSize(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	return strconv.AppendInt(b, env.Size, 10), env.Size > 0
}

// BODY (RFC 6152 §3, RFC 3030 §3).
func parseBody(env *goniec.Envelope, value string, _ time.Time) error {
	for _, t := range [...]goniec.BodyType{goniec.Body7Bit, goniec.Body8BitMIME, goniec.BodyBinaryMIME} {
		if strings.EqualFold(value, t.String()) {
			env.Body = t
			return nil
		}
	}
	return errParamValue
}

func formatBody(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	return append(b, env.Body.String()...), env.Body != goniec.Body7Bit
}

// SMTPUTF8 (RFC 6531 §3.4).
func parseUTF8(env *goniec.Envelope, value string, _ time.Time) error {
	env.UTF8 = true
	return noValue(value)
}

// AUTH (RFC 4954 §5): a mailbox as xtext, or <>.
func parseAuthSender(env *goniec.Envelope, value string, _ time.Time) error {
	if value == "<>" {
		env.AuthSender = value
		return nil
	}
	s, err := decodeXtext(value)
	if err != nil {
		return err
	}
	if _, err := goniec.ParseAddress(s); err != nil {
		return errParamValue
	}
	env.AuthSender = s
	return nil
}

func formatAuthSender(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	if env.AuthSender == "<>" {
		return append(b, env.AuthSender...), true
	}
	return appendXtext(b, env.AuthSender), env.AuthSender != ""
}

// RET (RFC 3461 §4.3).
func parseRet(env *goniec.Envelope, value string, _ time.Time) error {
	for _, r := range [...]goniec.Ret{goniec.RetFull, goniec.RetHdrs} {
		if strings.EqualFold(value, r.String()) {
			env.Ret = r
			return nil
		}
	}
	return errParamValue
}

func formatRet(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	return append(b, env.Ret.String()...), env.Ret != goniec.RetUnset
}

// ENVID (RFC 3461 §4.4).
func parseEnvID(env *goniec.Envelope, value string, _ time.Time) (err error) {
	if len(value) > maxEnvID {
		return errParamValue
	}
	env.EnvID, err = decodeXtext(value)
	return err
}

func formatEnvID(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	return appendXtext(b, env.EnvID), env.EnvID != ""
}

// REQUIRETLS (RFC 8689 §4.1).
func parseRequireTLS(env *goniec.Envelope, value string, _ time.Time) error {
	env.RequireTLS = true
	return noValue(value)
}

// maxDecimals is the largest number of seconds in BY and HOLDFOR: nine digits.
const maxDecimals = 999_999_999

// BY (RFC 2852 §4): by-time ";" by-mode [by-trace].
func parseBy(env *goniec.Envelope, value string, now time.Time) error {
	seconds, mode, _ := strings.Cut(value, ";")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n > maxDecimals || n < -maxDecimals || strings.HasPrefix(seconds, "+") {
		return errParamValue
	}
	mode = strings.ToUpper(mode)
	by := goniec.DeliverBy{Deadline: now.Add(time.Duration(n) * time.Second), Return: strings.HasPrefix(mode, "R")}
	switch mode {
	case "N", "R":
	case "NT", "RT":
		by.Trace = true
	default:
		return errParamValue
	}
	// RFC 2852 §4: mode R with a time of zero or below is an error.
	if by.Return && n <= 0 {
		return errParamValue
	}
	env.DeliverBy = &by
	return nil
}

func formatBy(b []byte, env *goniec.Envelope, now time.Time) ([]byte, bool) {
	by := env.DeliverBy
	if by == nil {
		return b, false
	}
	n := int64(by.Deadline.Sub(now) / time.Second)
	if by.Return {
		n = max(n, 1) // the caller returns messages whose time is over; a rounded-down second must not make it an error
	}
	b = strconv.AppendInt(b, min(max(n, -maxDecimals), maxDecimals), 10)
	b = append(b, ';')
	if by.Return {
		b = append(b, 'R')
	} else {
		b = append(b, 'N')
	}
	if by.Trace {
		b = append(b, 'T')
	}
	return b, true
}

// errHeldTwice refuses HOLDFOR beside HOLDUNTIL (RFC 4865 §4).
var errHeldTwice = errors.New("HOLDFOR and HOLDUNTIL exclude each other")

// HOLDFOR (RFC 4865 §5): seconds, without leading zero.
func parseHoldFor(env *goniec.Envelope, value string, now time.Time) error {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < 1 || n > maxDecimals || !isDigit(value[0]) || value[0] == '0' {
		return errParamValue
	}
	if !env.HoldUntil.IsZero() {
		return errHeldTwice
	}
	env.HoldUntil = now.Add(time.Duration(n) * time.Second)
	return nil
}

func formatHoldFor(b []byte, env *goniec.Envelope, now time.Time) ([]byte, bool) {
	n := int64(env.HoldUntil.Sub(now) / time.Second)
	return strconv.AppendInt(b, min(n, maxDecimals), 10), !env.HoldUntil.IsZero() && n > 0
}

// HOLDUNTIL (RFC 4865 §5): a date-time of RFC 3339 in its Internet form.
func parseHoldUntil(env *goniec.Envelope, value string, _ time.Time) error {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return errParamValue
	}
	if !env.HoldUntil.IsZero() {
		return errHeldTwice
	}
	env.HoldUntil = t
	return nil
}

// MT-PRIORITY (RFC 6710 §4): -9 to 9.
func parsePriority(env *goniec.Envelope, value string, _ time.Time) error {
	digits := strings.TrimPrefix(value, "-")
	if len(digits) != 1 || !isDigit(digits[0]) {
		return errParamValue
	}
	env.Priority = int8(digits[0] - '0')
	if len(value) == 2 {
		env.Priority = -env.Priority
	}
	return nil
}

func formatPriority(b []byte, env *goniec.Envelope, _ time.Time) ([]byte, bool) {
	return strconv.AppendInt(b, int64(env.Priority), 10), env.Priority != 0
}

// NOTIFY (RFC 3461 §4.1): NEVER, or a list of the others.
func parseNotify(to *goniec.Recipient, value string) error {
	for word := range strings.SplitSeq(value, ",") {
		bit := notifyBit(word)
		if bit == 0 || to.Notify&bit != 0 {
			return errParamValue
		}
		to.Notify |= bit
	}
	if to.Notify&goniec.NotifyNever != 0 && to.Notify != goniec.NotifyNever {
		return errParamValue
	}
	return nil
}

func notifyBit(word string) goniec.Notify {
	for _, n := range [...]goniec.Notify{goniec.NotifySuccess, goniec.NotifyFailure, goniec.NotifyDelay, goniec.NotifyNever} {
		if strings.EqualFold(word, n.String()) {
			return n
		}
	}
	return 0
}

func formatNotify(b []byte, to *goniec.Recipient) ([]byte, bool) {
	return append(b, to.Notify.String()...), to.Notify != 0
}

// ORCPT (RFC 3461 §4.2): addr-type ";" xtext, or the forms of RFC 6533 §3 for the type utf-8.
func parseORcpt(to *goniec.Recipient, value string) (err error) {
	kind, addr, ok := strings.Cut(value, ";")
	if !ok || !isKeyword(kind) || addr == "" || len(value) > maxORcpt {
		return errParamValue
	}
	if strings.EqualFold(kind, "utf-8") {
		addr, err = decodeUTF8Addr(addr)
	} else {
		addr, err = decodeXtext(addr)
	}
	to.ORcpt = goniec.ORcpt{Type: kind, Address: addr}
	return err
}

func formatORcpt(b []byte, to *goniec.Recipient) ([]byte, bool) {
	if to.ORcpt.Type == "" || !isKeyword(to.ORcpt.Type) {
		return b, false
	}
	b = append(append(b, to.ORcpt.Type...), ';')
	if strings.EqualFold(to.ORcpt.Type, "utf-8") {
		return appendUTF8Addr(b, to.ORcpt.Address), true
	}
	return appendXtext(b, to.ORcpt.Address), true
}

// RRVS (RFC 7293 §3.1): a date-time, optionally ";C" or ";R", which concern servers without the extension.
func parseRRVS(to *goniec.Recipient, value string) error {
	stamp, action, more := strings.Cut(value, ";")
	t, err := time.Parse(time.RFC3339, stamp)
	if err != nil || more && !strings.EqualFold(action, "C") && !strings.EqualFold(action, "R") {
		return errParamValue
	}
	to.ValidSince = t
	return nil
}

func formatRRVS(b []byte, to *goniec.Recipient) ([]byte, bool) {
	return to.ValidSince.UTC().AppendFormat(b, time.RFC3339), !to.ValidSince.IsZero()
}

package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec"
)

// plan compares envelope and message with what the server offers, and decides on the commands. Nothing is written: what the
// server can not take is refused here.
func (t *transaction) plan(ctx context.Context) error {
	if err := checkEnvelope(t.env); err != nil {
		return goniec.NewStatus(501, goniec.EnhancedCode{5, 5, 4}, "envelope is not valid").WithCause(err)
	}
	t.mail = *t.env
	for _, step := range [...]func(context.Context) error{t.planText, t.planUTF8, t.planPromises, t.planSize} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	t.planRcpts()
	return nil
}

// planText settles BODY and the form of the message (RFC 6152 §3, RFC 3030 §3).
func (t *transaction) planText(ctx context.Context) error {
	c, p := t.c, t.p
	if t.mail.Body == goniec.BodyBinaryMIME {
		if c.offered.has(extBinaryMIME | extChunking) {
			t.binary = true
			_, err := p.keep(ctx) // BDAT wants the size
			return err
		}
		return t.planUnbinary(ctx)
	}
	if p.whole {
		if err := t.planWhole(ctx); err != nil {
			return err
		}
	}
	return t.planEightBit(ctx)
}

// planUnbinary sends a message that was declared binary to a server that takes none.
func (t *transaction) planUnbinary(ctx context.Context) error {
	f, err := t.p.learn(ctx)
	if err != nil {
		return err
	}
	t.mail.Body = goniec.Body8BitMIME
	if f.binary {
		to := goniec.Body8BitMIME
		if !t.c.offered.has(ext8BitMIME) {
			to = goniec.Body7Bit
		}
		if err := t.p.convert(ctx, t.c.d, to); err != nil {
			return err
		}
	}
	return t.planEightBit(ctx)
}

// planWhole looks at a message that is all in memory: line ends are judged before anything is written.
func (t *transaction) planWhole(ctx context.Context) error {
	f, err := t.p.learn(ctx)
	if err != nil {
		return err
	}
	if f.bare && t.c.d.normalises() {
		if err := t.p.normalise(); err != nil {
			return err
		}
		f, err = t.p.learn(ctx)
	} else if f.bare {
		return errBareText
	}
	if f.body8 && t.mail.Body == goniec.Body7Bit {
		t.mail.Body = goniec.Body8BitMIME
	}
	return err
}

// errBareText refuses what a server further on could take for the end of the message (S03).
var errBareText = goniec.NewStatus(554, goniec.EnhancedCode{5, 6, 0}, "message has a bare CR or LF")

// planEightBit makes sure that a server without 8BITMIME gets 7-bit text.
func (t *transaction) planEightBit(ctx context.Context) error {
	if t.c.offered.has(ext8BitMIME) {
		return nil
	}
	f, err := t.p.learn(ctx)
	if err != nil {
		return err
	}
	t.mail.Body = goniec.Body7Bit
	if f.body8 {
		return t.p.convert(ctx, t.c.d, goniec.Body7Bit)
	}
	return nil
}

// planUTF8 settles SMTPUTF8 (RFC 6531 §3.2). Without it a message whose addresses and header are ASCII may go, and a domain may go
// as its A-label, which is the same domain. Nothing else is made fit (P06).
func (t *transaction) planUTF8(ctx context.Context) error {
	needed := t.env.UTF8 || !t.env.From.IsASCII()
	for i := range t.env.To {
		needed = needed || !t.env.To[i].Address.IsASCII()
	}
	t.mail.UTF8 = needed
	if !needed || t.c.offered.has(extSMTPUTF8) {
		return nil
	}
	t.mail.UTF8 = false
	var ok bool
	if t.mail.From, ok = asciiAddress(t.env.From); !ok {
		return errUTF8Address()
	}
	if !t.env.UTF8 {
		return nil
	}
	f, err := t.p.learn(ctx)
	if err == nil && f.header8 {
		err = cannot(554, goniec.EnhancedCode{5, 6, 9}, "the header needs SMTPUTF8, which the next host does not offer")
	}
	return err
}

func errUTF8Address() error {
	return cannot(553, goniec.EnhancedCode{5, 6, 7}, "the address needs SMTPUTF8, which the next host does not offer")
}

// asciiAddress returns an address with its domain as A-labels, if its local part is ASCII.
func asciiAddress(a goniec.Address) (goniec.Address, bool) {
	if a.IsASCII() {
		return a, true
	}
	b, err := goniec.NewAddress(a.Local(), a.ASCIIDomain())
	return b, err == nil && b.IsASCII()
}

// planPromises settles the extensions that promise something: those which may be left out are, and named in Result.Dropped;
// for the others a server without them is the wrong one.
func (t *transaction) planPromises(context.Context) error {
	c, m := t.c, &t.mail
	if m.RequireTLS && !(c.verified() && c.offered.has(extRequireTLS)) {
		return cannot(550, goniec.EnhancedCode{5, 7, 30}, "REQUIRETLS is needed, and the next host does not offer it over verified TLS")
	}
	if m.HoldUntil.After(t.now) && !c.offered.has(extFutureRelease) {
		return cannot(554, goniec.EnhancedCode{5, 3, 3}, "the message is to be held, and the next host does not offer FUTURERELEASE")
	}
	if err := t.planDeliverBy(); err != nil {
		return err
	}
	if !c.authed {
		m.AuthSender = "" // RFC 4954 §5: only for a server that knows who we are
	}
	dsn := m.Ret != goniec.RetUnset || m.EnvID != ""
	for i := range t.env.To {
		dsn = dsn || t.env.To[i].Notify != 0 || t.env.To[i].ORcpt.Type != ""
	}
	t.drop(dsn, extDSN)
	t.drop(m.Priority != 0, extMTPriority)
	t.res.DSN = c.offered.has(extDSN)
	return nil
}

// planDeliverBy settles BY (RFC 2852 §4): mode R must not reach a server that does not know it.
func (t *transaction) planDeliverBy() error {
	by := t.mail.DeliverBy
	if by == nil {
		return nil
	}
	offered := t.c.offered.has(extDeliverBy)
	if by.Return && !by.Deadline.After(t.now) {
		return goniec.NewStatus(554, goniec.EnhancedCode{5, 4, 7}, "the time for delivery is over")
	}
	if by.Return && !offered {
		return cannot(554, goniec.EnhancedCode{5, 3, 3}, "the message is due at a time, and the next host does not offer DELIVERBY")
	}
	t.drop(true, extDeliverBy)
	return nil
}

// drop notes an extension that was wanted and is not offered.
func (t *transaction) drop(wanted bool, ext extension) {
	if !wanted || t.c.offered.has(ext) {
		return
	}
	for i, name := range extensionNames {
		if ext == 1<<i {
			t.res.Dropped = append(t.res.Dropped, name)
		}
	}
}

// planSize refuses what is larger than the server takes (RFC 1870 §6.1), and declares the size.
func (t *transaction) planSize(context.Context) error {
	n := t.p.size()
	if n >= 0 {
		t.mail.Size = n
	}
	if limit := t.c.MaxMessageBytes(); limit > 0 && t.mail.Size > limit {
		return goniec.NewStatus(552, goniec.EnhancedCode{5, 3, 4}, fmt.Sprintf("message of %d octets is larger than the %d that the next host takes", t.mail.Size, limit))
	}
	return nil
}

// planRcpts decides which recipients are announced.
func (t *transaction) planRcpts() {
	limit := t.c.limit("RCPTMAX") // RFC 9422 §5.2
	for i := range t.env.To {
		to := t.env.To[i]
		var ok bool
		var err error
		switch to.Address, ok = asciiAddressUnless(t.mail.UTF8, to.Address); {
		case !ok:
			err = errUTF8Address()
		case !to.ValidSince.IsZero() && !t.c.offered.has(extRRVS):
			// RFC 7293: the new owner of an old address must not get this mail; without the check he could.
			err = cannot(550, goniec.EnhancedCode{5, 7, 19}, "the recipient's age is to be checked, and the next host does not offer RRVS")
		case limit > 0 && len(t.rcpts) >= limit:
			err = goniec.NewStatus(452, goniec.EnhancedCode{4, 5, 3}, "the next host takes fewer recipients in one message")
		default:
			t.rcpts = append(t.rcpts, i)
			continue
		}
		t.decide(i, nil, t.c.found(StageRcpt, err))
	}
}

func asciiAddressUnless(utf8 bool, a goniec.Address) (goniec.Address, bool) {
	if utf8 {
		return a, true
	}
	return asciiAddress(a)
}

// checkEnvelope refuses an envelope that can not be written as commands (P02).
func checkEnvelope(env *goniec.Envelope) error {
	if len(env.To) == 0 {
		return errors.New("no recipient")
	}
	if !isPrintable(env.EnvID) || len(appendXtext(nil, env.EnvID)) > maxEnvID {
		return errors.New("EnvID is not printable ASCII of at most 100 octets (RFC 3461 §4.4)")
	}
	if s := env.AuthSender; s != "" && s != "<>" {
		if _, err := goniec.ParseAddress(s); err != nil {
			return fmt.Errorf("AuthSender: %w", err)
		}
	}
	switch {
	case env.Priority < -9 || env.Priority > 9:
		return errors.New("priority is not within -9 to 9 (RFC 6710 §4)")
	case env.Ret > goniec.RetHdrs:
		return errors.New("unknown Ret")
	case env.Body > goniec.BodyBinaryMIME:
		return errors.New("unknown Body")
	case env.Size < 0:
		return errors.New("negative size")
	}
	for i := range env.To {
		if err := checkRecipient(&env.To[i]); err != nil {
			return fmt.Errorf("recipient %d: %w", i+1, err)
		}
	}
	return nil
}

func checkRecipient(to *goniec.Recipient) error {
	if to.Address.IsZero() {
		return errors.New("no address")
	}
	all := goniec.NotifySuccess | goniec.NotifyFailure | goniec.NotifyDelay | goniec.NotifyNever
	if to.Notify&^all != 0 || to.Notify&goniec.NotifyNever != 0 && to.Notify != goniec.NotifyNever {
		return errors.New("NOTIFY is not valid (RFC 3461 §4.1)")
	}
	o := to.ORcpt
	if o == (goniec.ORcpt{}) {
		return nil
	}
	utf8 := strings.EqualFold(o.Type, "utf-8")
	if !isKeyword(o.Type) || o.Address == "" || hasControl(o.Address) || !utf8 && !isPrintable(o.Address) {
		return errors.New("ORCPT is not valid (RFC 3461 §4.2)")
	}
	if b, _ := formatORcpt(nil, to); len(b) > maxORcpt {
		return fmt.Errorf("ORCPT is longer than %d octets", maxORcpt)
	}
	return nil
}

// isPrintable reports whether s is printable ASCII.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

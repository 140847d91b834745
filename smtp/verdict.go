package smtp

import (
	"context"
	"errors"
	"fmt"

	"github.com/goniec-mail/goniec"
)

// verdict is how a message's transfer ended.
type verdict struct {
	err     error           // of the Session
	fault   error           // of the message or the connection; stands above the Session's
	taken   bool            // Data returned nil
	spooled *goniec.Spooled // the message, for Bounce; nil = not kept
}

func (v *verdict) close() {
	if v.spooled != nil {
		_ = v.spooled.Close()
	}
}

// conclude answers the end of a message, and the transaction is over.
func (c *conn) conclude(v *verdict) {
	err := v.err
	if v.fault != nil {
		err = v.fault
	}
	if err != nil {
		c.checkOutcomes(err)
	}
	switch {
	case errors.Is(v.fault, errChunksEnded): // the command that ended it is still to be answered
	case v.fault != nil && goniec.StatusOf(v.fault).Code == 421:
		c.cutOff(v.fault)
	case c.set.dialect.EachRcpt && c.body.begun && c.body.src.last():
		c.replyEach(err)
	case err == nil:
		c.replyTaken()
	default:
		c.replyFailed(v, err)
	}
	if err == nil {
		c.junk = 0
	}
	c.logTransaction(err)
	if c.failed = err != nil; v.taken {
		c.state = greeted
		c.forget()
		return
	}
	c.abandon(err)
}

// cutOff ends a connection that broke or stalled within a message: a reply to it would be for nobody, or out of step.
func (c *conn) cutOff(fault error) {
	s := goniec.StatusOf(fault)
	c.closing, c.cause = true, fault
	if !c.parted && (s.Err == nil || !lost(s.Err)) {
		c.refuse(fault)
	}
}

// checkOutcomes reports a Deliverer whose RcptErrors have a wrong length; goniec.Outcomes then takes all for failed.
func (c *conn) checkOutcomes(err error) {
	var re goniec.RcptErrors
	if errors.As(err, &re) && len(re) != len(c.env.To) {
		c.log.Error("deliverer returned a wrong number of outcomes", keyID, c.env.ID, "outcomes", len(re), "recipients", len(c.env.To))
	}
}

func (c *conn) replyTaken() {
	c.say("250 2.0.0 OK id=")
	c.say(c.env.ID)
	c.say("\r\n")
}

// replyEach is LMTP's answer: one reply for each recipient, in the order of RCPT (RFC 2033 §4.2). A chunk in the midst of a
// message has one (§4.3).
func (c *conn) replyEach(err error) {
	for i, e := range goniec.Outcomes(err, len(c.env.To)) {
		if e != nil {
			c.refuse(e)
			continue
		}
		c.say("250 2.1.5 ")
		c.scratch = appendText(c.scratch[:0], c.env.To[i].Address.Path())
		_, _ = c.w.Write(c.scratch)
		c.say(" OK id=")
		c.say(c.env.ID)
		c.say("\r\n")
	}
}

// replyFailed is SMTP's one answer when something failed.
func (c *conn) replyFailed(v *verdict, err error) {
	var re goniec.RcptErrors
	if v.fault != nil || !errors.As(err, &re) {
		c.refuse(err)
		return
	}
	outcomes := goniec.Outcomes(err, len(c.env.To))
	if outcomes.Failed() == len(outcomes) {
		c.refuse(outcomes) // the mildest of them: any temporary one wins
		return
	}
	c.replyMixed(v, outcomes)
}

// replyMixed answers for recipients of whom some got the message. 250 is right only if the others are taken care of, which is
// Bounce's part. Without it the message must come again: a temporary error makes duplicates, a permanent one would be false for
// those who have it.
func (c *conn) replyMixed(v *verdict, outcomes goniec.RcptErrors) {
	if c.set.Bounce == nil || v.spooled == nil {
		c.refuse(mixedStatus(outcomes))
		return
	}
	rest := c.env.Clone()
	rest.To = rest.To[:0]
	for i, e := range outcomes {
		if e != nil {
			rest.To = append(rest.To, c.env.To[i])
		}
	}
	err := c.ask(func(ctx context.Context) error { return c.set.Bounce.Deliver(ctx, rest, goniec.NewReader(v.spooled)) })
	if err != nil {
		c.log.Error("Bounce did not take the failed recipients", keyID, c.env.ID, keyErr, err)
		c.refuse(mixedStatus(outcomes))
		return
	}
	c.replyTaken()
}

// mixedStatus is a temporary reply for outcomes of which some are good.
func mixedStatus(outcomes goniec.RcptErrors) error {
	return &goniec.Status{
		Code: 451, Enhanced: goniec.EnhancedCode{4, 3, 0},
		Text: fmt.Sprintf("%d of %d recipients failed, try again later", outcomes.Failed(), len(outcomes)),
		Err:  errors.New(outcomes.Error()), // not the outcomes themselves: their mildest would be taken for the reply
	}
}

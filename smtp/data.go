package smtp

import (
	"context"
	"io"

	"github.com/goniec-mail/goniec"
)

// data is DATA (RFC 5321 §4.1.1.4).
func (c *conn) data(string) (reply, error) {
	// RFC 3030 §3: binary content needs BDAT.
	if c.env.Body == goniec.BodyBinaryMIME {
		return "", c.fault(503, goniec.EnhancedCode{5, 5, 1}, "BODY=BINARYMIME needs BDAT")
	}
	if err := c.mayTransfer(); err != nil {
		return "", err
	}
	c.body.dots.c = c
	c.transfer(&c.body.dots)
	return "", nil
}

// mayTransfer reports whether a message may come now. If it may, it counts as in flight, and transfer must follow.
func (c *conn) mayTransfer() error {
	if len(c.env.To) == 0 {
		if c.tried > 0 { // a client that pipelines could not know
			code := 554 // RFC 5321 §3.3
			if c.set.dialect.EachRcpt {
				code = 503 // RFC 2033 §4.2
			}
			return c.countRefused(goniec.NewStatus(code, goniec.EnhancedCode{5, 5, 1}, "no valid recipients"))
		}
		return c.fault(503, goniec.EnhancedCode{5, 5, 1}, "send RCPT first")
	}
	if over(c.set.inFlight.Add(1), int64(c.set.MaxInFlight)) {
		c.set.inFlight.Add(-1)
		return goniec.NewStatus(451, goniec.EnhancedCode{4, 3, 2}, "busy, try again later")
	}
	return nil
}

// transfer takes the message of the open transaction from src to the Session and replies. This is the one way from a
// Deliverer's word to ours: 250 is written only where Data returned nil, or Bounce took what failed.
func (c *conn) transfer(src source) {
	defer c.set.inFlight.Add(-1)
	c.body.start(c, src)
	v := verdict{}
	v.err = c.ask(func(ctx context.Context) error { return c.deliver(ctx, &v) })
	if v.taken = v.err == nil; v.err == nil {
		c.open = false
	}
	v.fault = c.body.close(v.err == nil)
	c.endStage()
	c.conclude(&v)
	v.close()
}

// deliver calls the Session, with a message that can be read twice where a mixed outcome needs that.
func (c *conn) deliver(ctx context.Context, v *verdict) (err error) {
	if c.set.Bounce == nil || c.set.dialect.EachRcpt || len(c.env.To) < 2 {
		return c.session.Data(ctx, &c.env, &c.body)
	}
	v.spooled, err = goniec.Spool(ctx, &c.body, -1) // the body itself is limited
	if err != nil {
		return err
	}
	return c.session.Data(ctx, &c.env, goniec.NewReader(v.spooled))
}

var _ io.WriterTo = (*body)(nil)

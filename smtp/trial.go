package smtp

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
)

// Recording is a client's session as it was, or as one thinks it up, for trying a policy.
type Recording struct {
	Remote, Local netip.AddrPort
	Hostname      string // the server's name; "" means the machine's
	Helo          string
	TLS           *tls.ConnectionState
	User          string // authenticated user; "" = none
	From          goniec.Address
	To            []goniec.Address
	Message       string // in network form
}

// Step is what became of one stage of a Recording.
type Step struct {
	Stage   string         // "connect", "helo", "auth", "mail", "rcpt", "data"
	Subject string         // the name or address in question
	Reply   *goniec.Status // nil: accepted
}

// Try plays a recorded session to a Handler without network or server, and tells each stage's verdict: so a policy can be tried on
// yesterday's mail. It stops at a refusal that would stop a client; a refused recipient does not. Panics are the caller's.
func Try(ctx context.Context, h Handler, rec Recording) []Step {
	t := &trial{ctx: ctx, rec: rec}
	t.play(h)
	return t.steps
}

type trial struct {
	ctx   context.Context
	rec   Recording
	steps []Step
}

// did records a stage and reports whether it was accepted.
func (t *trial) did(stage, subject string, err error) bool {
	t.steps = append(t.steps, Step{stage, subject, goniec.StatusOf(err)})
	return err == nil
}

func (t *trial) play(h Handler) {
	c := t.conn()
	s, err := h.NewSession(t.ctx, c)
	if !t.did("connect", c.remote.String(), err) {
		return
	}
	defer s.Close(nil)
	if t.begin(c, s) {
		t.mail(c, s)
	}
}

// conn is a Conn without connection.
func (t *trial) conn() *Conn {
	set := (&Server{Hostname: t.rec.Hostname}).settings(smtpDialect())
	return &Conn{set: set, log: set.log, remote: t.rec.Remote, local: t.rec.Local, tls: t.rec.TLS, extended: true}
}

// begin is EHLO and AUTH.
func (t *trial) begin(c *Conn, s Session) bool {
	if !t.did("helo", t.rec.Helo, CheckHelo(t.ctx, s, t.rec.Helo)) {
		return false
	}
	c.helo = t.rec.Helo
	if t.rec.User == "" {
		return true
	}
	id := auth.Identity{User: t.rec.User}
	if !t.did("auth", t.rec.User, CheckAuth(t.ctx, s, id)) {
		return false
	}
	c.identity, c.authenticated = id, true
	return true
}

// mail is the transaction.
func (t *trial) mail(c *Conn, s Session) {
	engine := &conn{Conn: *c}
	engine.env = goniec.Envelope{ID: goniec.NewID(), From: t.rec.From, Size: int64(len(t.rec.Message))}
	engine.fillOrigin()
	env := &engine.env
	if !t.did("mail", t.rec.From.Path(), s.Mail(t.ctx, env)) {
		return
	}
	for _, a := range t.rec.To {
		to := goniec.Recipient{Address: a}
		if t.did("rcpt", a.Path(), s.Rcpt(t.ctx, env, &to)) {
			env.To = append(env.To, to)
		}
	}
	if len(env.To) == 0 {
		s.Reset(env, ErrReset)
		return
	}
	err := s.Data(t.ctx, env, strings.NewReader(t.rec.Message))
	if !t.did("data", env.ID, err) {
		s.Reset(env, err)
	}
}

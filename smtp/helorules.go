package smtp

import (
	"context"
	"net/netip"
	"strings"

	"github.com/goniec-mail/goniec"
)

// HeloRules refuses mail from clients whose HELO name is a lie that no honest server tells: 550 5.7.1. The verdict is given at MAIL, and
// not to authenticated clients: user agents seldom know their name. RFC 5321 §4.1.4 forbids to refuse mail merely because the name
// does not lead back to the client; that is not checked here.
type HeloRules struct {
	// Own are further names and addresses of ours. A stranger who gives one of them, or Server.Hostname, as his is refused.
	Own []string
	// RequireFQDN refuses names without a dot (RFC 5321 §2.3.5).
	RequireFQDN bool
	// CheckLiteral refuses an address literal that is not the client's address, and an address without brackets.
	CheckLiteral bool
}

// Middleware judges HELO names.
func (h *HeloRules) Middleware() Middleware {
	return WrapSession(func(c *Conn, s Session) Session { return &heloSession{Wrapped: Wrapped{s}, c: c, h: h} })
}

type heloSession struct {
	Wrapped
	c *Conn
	h *HeloRules
}

func (s *heloSession) Mail(ctx context.Context, env *goniec.Envelope) error {
	if _, ok := s.c.Identity(); !ok {
		if why := s.h.judge(s.c); why != "" {
			return goniec.NewStatus(550, goniec.EnhancedCode{5, 7, 1}, why)
		}
	}
	return s.Session.Mail(ctx, env)
}

// judge returns what is wrong with the client's name.
func (h *HeloRules) judge(c *Conn) string {
	name := c.Helo()
	for _, own := range append([]string{c.Hostname()}, h.Own...) {
		if goniec.SameDomain(own, name) && !c.Remote().Addr().IsLoopback() {
			return "your HELO name is mine"
		}
	}
	literal, isLiteral := strings.CutPrefix(name, "[")
	switch {
	case isLiteral && h.CheckLiteral:
		literal = strings.TrimSuffix(literal, "]")
		if len(literal) > 5 && strings.EqualFold(literal[:5], "IPv6:") {
			literal = literal[5:]
		}
		if ip, err := netip.ParseAddr(literal); err != nil || ip.Unmap() != c.Remote().Addr().Unmap() {
			return "your HELO address is not yours"
		}
	case isLiteral:
	case h.CheckLiteral && isAddr(name):
		return "an address in HELO needs brackets"
	case h.RequireFQDN && !strings.Contains(strings.TrimSuffix(name, "."), "."):
		return "your HELO name is not fully qualified"
	}
	return ""
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

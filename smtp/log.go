package smtp

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goniec-mail/goniec"
)

// The keys of log records.
const (
	keyProtocol = "protocol"
	keyRemote   = "remote"
	keyID       = "id"
	keyFrom     = "from"
	keyTo       = "to"
	keyRcpts    = "nrcpt"
	keySize     = "size"
	keyHelo     = "helo"
	keyUser     = "user"
	keyTLS      = "tls"
	keyReply    = "reply"
	keyErr      = "err"
	keyTime     = "time_ms"
)

// Limits of what a record says.
const (
	maxLogText  = 512 // octets of one attribute's text
	maxLogRcpts = 5   // recipients named in a record
)

// logText makes text from outside fit for a log of one line a record: cut, and quoted where it holds something that does not
// print, as a terminal's escape sequences and the marks that turn the direction of writing.
func logText(s string) string {
	s = clip(s, maxLogText)
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return s
	}
	return strconv.QuoteToASCII(s)
}

func levelOf(s *goniec.Status) slog.Level {
	if s != nil && s.Err != nil && s.Temporary() {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// replyAttr is the reply with its private cause.
func replyAttr(s *goniec.Status) slog.Attr { return slog.String(keyReply, logText(s.Error())) }

func rcptAttr(a goniec.Address) slog.Attr { return slog.String(keyTo, logText(a.String())) }

// logRefusal records a command that the Session refused.
func (c *conn) logRefusal(what string, err error, more ...slog.Attr) {
	s := goniec.StatusOf(err)
	if !c.log.Enabled(c.ctx, levelOf(s)) {
		return
	}
	attrs := append([]slog.Attr{slog.String(keyID, c.env.ID), slog.String(keyFrom, logText(c.env.From.String())), replyAttr(s)}, more...)
	c.log.LogAttrs(context.WithoutCancel(c.ctx), levelOf(s), what, attrs...)
}

// logTransaction writes the one record of a transaction that ends with a message.
func (c *conn) logTransaction(err error) {
	s := goniec.StatusOf(err)
	level := levelOf(s)
	if !c.log.Enabled(c.ctx, level) {
		return
	}
	what := "accepted"
	switch {
	case s != nil && s.Temporary():
		what = "deferred"
	case s != nil:
		what = "refused"
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String(keyID, c.env.ID), slog.String(keyFrom, logText(c.env.From.String())),
		slog.String(keyTo, c.logRcpts()), slog.Int(keyRcpts, len(c.env.To)), slog.Int64(keySize, c.body.size()),
		slog.String(keyHelo, logText(c.helo)))
	if c.env.Origin.TLSVersion != "" {
		attrs = append(attrs, slog.String(keyTLS, c.env.Origin.TLSVersion))
	}
	if s != nil {
		attrs = append(attrs, replyAttr(s))
	}
	attrs = append(attrs, slog.Int64(keyTime, time.Since(c.env.Received).Milliseconds()))
	c.log.LogAttrs(context.WithoutCancel(c.ctx), level, what, attrs...)
}

// abandonAndLog ends a transaction that the client gave up.
func (c *conn) abandonAndLog(cause error) {
	if c.open && c.log.Enabled(c.ctx, slog.LevelInfo) {
		c.log.LogAttrs(context.WithoutCancel(c.ctx), slog.LevelInfo, "given up", slog.String(keyID, c.env.ID),
			slog.String(keyFrom, logText(c.env.From.String())), slog.Int(keyRcpts, len(c.env.To)), slog.String(keyErr, errText(cause)))
	}
	c.abandon(cause)
}

// errText is an error for the log; there is none when the client just left.
func errText(err error) string {
	if err == nil {
		return "the client left"
	}
	return logText(err.Error())
}

// logRcpts names the first recipients.
func (c *conn) logRcpts() string {
	var b strings.Builder
	for i, to := range c.env.To {
		if i == maxLogRcpts {
			b.WriteString(",…")
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(to.Address.String())
	}
	return logText(b.String())
}

// size is the message's length as the client sent it.
func (b *body) size() int64 {
	if b.src == nil {
		return 0
	}
	return b.src.size()
}

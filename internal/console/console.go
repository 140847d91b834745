// Package console writes log records as people read them in a terminal: the time of day, the
// message, then key=value, on one line of bounded length.
package console

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxField cuts what a hostile peer may have put into a field, in octets.
const maxField = 1024

// Handler is a slog.Handler. It is safe for concurrent use.
type Handler struct {
	out    *output
	prefix string // attributes of With, ready to print
	group  string
}

type output struct {
	mu sync.Mutex
	w  io.Writer
}

// NewHandler returns a Handler that writes records of level Info and above to w.
func NewHandler(w io.Writer) *Handler { return &Handler{out: &output{w: w}} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// Handle implements slog.Handler.
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	b.WriteString(r.Time.Format(time.TimeOnly))
	b.WriteByte(' ')
	if r.Level >= slog.LevelWarn {
		b.WriteString(r.Level.String() + " ")
	}
	b.WriteString(r.Message)
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, h.group, a)
		return true
	})
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(b.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b bytes.Buffer
	for _, a := range attrs {
		appendAttr(&b, h.group, a)
	}
	return &Handler{h.out, h.prefix + b.String(), h.group}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &Handler{h.out, h.prefix, h.group + name + "."}
}

// appendAttr writes " key=value"; empty values are left out.
func appendAttr(b *bytes.Buffer, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, in := range v.Group() {
			appendAttr(b, group, in)
		}
		return
	}
	text := v.String()
	if v.Kind() == slog.KindDuration {
		text = v.Duration().Round(100 * time.Microsecond).String()
	}
	if text == "" {
		return
	}
	if len(text) > maxField {
		text = text[:maxField] + "…"
	}
	b.WriteString(" " + group + a.Key + "=")
	if strings.ContainsFunc(text, quoted) {
		text = strconv.Quote(text)
	}
	b.WriteString(text)
}

// quoted tells runes that would end a field or play tricks on a terminal.
func quoted(r rune) bool { return r == ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) }

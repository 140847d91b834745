package smtp

import (
	"bytes"
	"io"
	"strings"
)

// TraceLine is a line of a dialogue.
type TraceLine struct {
	Server bool   // the server said it, else the client
	Text   string // without CRLF; as it was on the wire, but for credentials, which are "***"
}

// String returns the line as in a dialogue file: "C: EHLO client.example".
func (l TraceLine) String() string {
	if l.Server {
		return "S: " + l.Text
	}
	return "C: " + l.Text
}

const masked = "***"

// traceIn traces a command. The initial response of AUTH is a credential; so could be what comes with an unknown verb, when a
// client is out of step within an exchange.
func (c *conn) traceIn(verb, line []byte) {
	if c.set.Trace == nil {
		return
	}
	text := string(line)
	switch {
	case string(verb) == "AUTH":
		if words := strings.SplitN(text, " ", 3); len(words) == 3 {
			text = words[0] + " " + words[1] + " " + masked
		}
	case verb == nil || c.lookUp(string(verb)) == nil:
		text = masked
	}
	c.traceLine(TraceLine{Text: text})
}

func (c *conn) traceLine(l TraceLine) {
	if c.set.Trace != nil {
		c.set.Trace(&c.Conn, l)
	}
}

// traced returns w, with what is written to it traced if that is wanted.
func (c *conn) traced(set *settings, w io.Writer) io.Writer {
	if set.Trace == nil {
		return w
	}
	return &traceWriter{c, w}
}

type traceWriter struct {
	c *conn
	w io.Writer
}

// Write traces what leaves in one write, which is whole lines.
func (t *traceWriter) Write(p []byte) (int, error) {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(p, crlfBytes), crlfBytes) {
		t.c.traceLine(TraceLine{Server: true, Text: string(line)})
	}
	return t.w.Write(p)
}

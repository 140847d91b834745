package main

import (
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/smtp"
)

// tellRefusals is the Trace of a server that tells the postmaster of clients that are refused by policy (X.7.Y) or break the
// protocol (X.5.Y), if those classes are on (RFC 3463 §3.6, §3.8).
func tellRefusals(q *queue.Queue) func(*smtp.Conn, smtp.TraceLine) {
	if q.Notices&(queue.NoticePolicy|queue.NoticeProtocol) == 0 {
		return nil
	}
	return func(c *smtp.Conn, l smtp.TraceLine) {
		if class := refusal(l); class != 0 {
			q.Notice(class, fmt.Sprintf("%s was told %s", c.Peer(), l.Text))
		}
	}
}

// refusal sorts a reply such as "550 5.7.1 relaying denied" into a class; 0 = none of these.
func refusal(l smtp.TraceLine) queue.Notices {
	code, rest, _ := strings.Cut(l.Text, " ")
	if !l.Server || len(code) != 3 || code[0] != '4' && code[0] != '5' {
		return 0
	}
	switch parts := strings.SplitN(rest, ".", 3); {
	case len(parts) < 3:
	case parts[1] == "7":
		return queue.NoticePolicy
	case parts[1] == "5":
		return queue.NoticeProtocol
	}
	return 0
}

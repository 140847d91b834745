package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/mime"
	"github.com/goniec-mail/goniec/queue"
)

// WriteMailq writes a listing in the manner of mailq and postqueue -p: queue ID with "*" for active and "!"
// for held (and "#" for corrupt), size, arrival, sender, and for each destination the reason in brackets before its
// open recipients. loc is the time zone shown; nil = local.
func WriteMailq(w io.Writer, entries iter.Seq2[queue.Entry, error], loc *time.Location) error {
	if loc == nil {
		loc = time.Local
	}
	out := bufio.NewWriter(w)
	count, size := 0, int64(0)
	for e, err := range entries {
		if err != nil {
			_ = out.Flush()
			return err
		}
		if count == 0 {
			fmt.Fprintf(out, "%-15s %8s %-24s %s\n", "-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------")
		}
		count++
		size += e.Size
		writeEntry(out, &e, loc)
	}
	switch count {
	case 0:
		fmt.Fprintln(out, "Mail queue is empty")
	case 1:
		fmt.Fprintf(out, "-- %d Kbytes in 1 Request.\n", (size+1023)/1024)
	default:
		fmt.Fprintf(out, "-- %d Kbytes in %d Requests.\n", (size+1023)/1024, count)
	}
	return out.Flush()
}

const mailqIndent = 41

func writeEntry(out io.Writer, e *queue.Entry, loc *time.Location) {
	mark := map[queue.State]string{queue.StateActive: "*", queue.StateHold: "!", queue.StateCorrupt: "#"}[e.State()]
	sender := "(unreadable)"
	if e.Envelope != nil {
		if sender = e.Envelope.From.String(); sender == "" {
			sender = "MAILER-DAEMON"
		}
	}
	fmt.Fprintf(out, "%-15s %8d %-24s %s\n", string(e.ID)+mark, e.Size, e.Since.In(loc).Format("Mon Jan _2 15:04:05 2006"), mime.Display(sender))
	for _, j := range e.Jobs {
		last := ""
		for i, r := range j.Rcpts {
			if i < len(j.Reasons) && j.Reasons[i] != "" && j.Reasons[i] != last {
				last = j.Reasons[i]
				fmt.Fprintf(out, "%*s\n", mailqIndent+len([]rune(last))+2, "("+mime.Display(last)+")")
			}
			if e.Envelope != nil && r < len(e.Envelope.To) {
				fmt.Fprintf(out, "%s%s\n", strings.Repeat(" ", mailqIndent), mime.Display(e.Envelope.To[r].Address.String()))
			}
		}
	}
	fmt.Fprintln(out)
}

// jsonEntry is the line of WriteJSON, in the manner of postqueue -j.
type jsonEntry struct {
	QueueName   string     `json:"queue_name"`
	QueueID     queue.ID   `json:"queue_id"`
	ArrivalTime int64      `json:"arrival_time"`
	MessageSize int64      `json:"message_size"`
	Sender      string     `json:"sender"`
	Recipients  []jsonRcpt `json:"recipients"`
}

type jsonRcpt struct {
	Address     string `json:"address"`
	DelayReason string `json:"delay_reason,omitempty"`
	Destination string `json:"destination"`
	Attempts    int    `json:"attempts"`
	NextAttempt int64  `json:"next_attempt,omitempty"`
}

// WriteJSON writes one JSON object a line for each entry.
func WriteJSON(w io.Writer, entries iter.Seq2[queue.Entry, error]) error {
	enc := json.NewEncoder(w)
	for e, err := range entries {
		if err != nil {
			return err
		}
		x := jsonEntry{QueueName: e.State().String(), QueueID: e.ID, ArrivalTime: e.Since.Unix(), MessageSize: e.Size}
		if e.Envelope != nil {
			x.Sender = e.Envelope.From.String()
		}
		for _, j := range e.Jobs {
			for i, r := range j.Rcpts {
				rcpt := jsonRcpt{Destination: j.Dest, Attempts: j.Attempts, NextAttempt: j.Due.Unix()}
				if e.Envelope != nil && r < len(e.Envelope.To) {
					rcpt.Address = e.Envelope.To[r].Address.String()
				}
				if i < len(j.Reasons) {
					rcpt.DelayReason = j.Reasons[i]
				}
				x.Recipients = append(x.Recipients, rcpt)
			}
		}
		if err := enc.Encode(x); err != nil {
			return err
		}
	}
	return nil
}

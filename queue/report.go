package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

// Report is what ReportText makes its text of.
type Report struct {
	Action   string // failed, delayed, delivered, relayed (RFC 3464 §2.3.3)
	Host     string // who reports
	ID       ID     // of the message
	Envelope *goniec.Envelope
	Arrived  time.Time
	GiveUp   time.Time // of delayed
	Rcpts    []ReportRcpt
}

// ReportRcpt is one recipient of a Report.
type ReportRcpt struct {
	Address goniec.Address
	Status  goniec.EnhancedCode
	Reason  string // one line
}

// ReportText is the text of reports unless Queue.ReportText says another.
func ReportText(r *Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at host %s.\n\n", r.Host)
	switch r.Action {
	case "failed":
		b.WriteString("Your message could not be delivered to one or more recipients.\nNo further attempts will be made.\n")
	case "delayed":
		fmt.Fprintf(&b, "Your message could not be delivered so far. THIS IS A WARNING ONLY:\nyou need not send it again. Attempts go on until %s.\n",
			mime.FormatDate(r.GiveUp))
	case "relayed":
		b.WriteString("Your message was passed on to another server.\nThis may be the last that you hear of it.\n")
	default:
		b.WriteString("Your message was delivered to these recipients.\n")
	}
	for _, x := range r.Rcpts {
		fmt.Fprintf(&b, "\n<%s>", x.Address)
		if x.Reason != "" {
			fmt.Fprintf(&b, ": %s", x.Reason)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nThe message has the queue ID %s and arrived %s.\n", r.ID, mime.FormatDate(r.Arrived))
	return b.String()
}

// reports makes the messages that the outcomes cause: one for each action.
func (a *attempt) reports(body Body, late bool) []Message {
	byAction := map[string][]outcome{}
	for _, o := range a.outcomes {
		if action := a.action(&o, late); action != "" {
			byAction[action] = append(byAction[action], o)
		}
	}
	var out []Message
	for _, action := range []string{"failed", "delayed", "relayed", "delivered"} {
		rcpts := byAction[action]
		if len(rcpts) == 0 {
			continue
		}
		if m := a.q.report(a, action, rcpts, body); m != nil {
			out = append(out, *m)
			a.toldDelay = a.toldDelay || action == "delayed"
		}
	}
	return out
}

// action decides whether the sender is told of an outcome (RFC 3461 §5.2), and as what.
func (a *attempt) action(o *outcome, late bool) string {
	n := o.to.Notify
	never := n&goniec.NotifyNever != 0
	switch o.kind {
	case Failed, Expired:
		// Of what nobody may be told the sender is not; but see report for messages from <>.
		if !never && (n == 0 || n&goniec.NotifyFailure != 0) {
			return "failed"
		}
	case Deferred:
		if late && !never && (n == 0 || n&goniec.NotifyDelay != 0) {
			return "delayed"
		}
	case Delivered:
		asked := n&goniec.NotifySuccess != 0 && !o.info.DSN
		switch {
		case never:
		case o.info.Relayed && (asked || a.trailEnds(o)):
			return "relayed"
		case asked && !o.info.Relayed:
			return "delivered"
		}
	}
	return ""
}

// trailEnds reports whether the sender is owed word that the mail went to another server, whatever NOTIFY says but NEVER: in mode N when
// that one will not tell of a delay (RFC 2852 §4.1.4.2), and at each step when a trace was asked for (§4.1.4).
func (a *attempt) trailEnds(o *outcome) bool {
	by := a.l.Envelope.DeliverBy
	return by != nil && (by.Trace || !by.Return && !o.info.DeliverBy)
}

// report makes one report, nil if there is nobody to get it.
func (q *Queue) report(a *attempt, action string, rcpts []outcome, body Body) *Message {
	l := a.l
	to := l.Envelope.From
	kind := KindReport
	if to.IsZero() {
		// RFC 5321 §4.5.5: never to <>. A bounce that bounces goes to the postmaster, if there is one, and if
		// it is not a notice of ours that bounced.
		q.o.logger.Warn("double bounce", "id", string(l.ID), "action", action, "to", rcpts[0].to.Address.String(), "reason", shownReason(rcpts[0].reason))
		if action != "failed" || q.Postmaster.IsZero() || l.Kind == KindNotice || rcpts[0].to.Address.Key() == q.Postmaster.Key() {
			return nil
		}
		to, kind = q.Postmaster, KindNotice
	}
	id := reportID(l, action, rcpts)
	msg, err := q.writeReport(a, action, rcpts, body, to, id)
	if err != nil {
		q.o.logger.Error("queue: report could not be made", "id", string(l.ID), "err", err)
		return nil
	}
	env := &goniec.Envelope{
		ID: goniec.NewID(), To: goniec.Recipients(to), Received: q.wall(), Size: int64(len(msg)),
		UTF8: !to.IsASCII() || !isASCII(msg[:headerEnd(msg)]),
	}
	if !isASCII(msg) {
		env.Body = goniec.Body8BitMIME
	}
	return &Message{
		Envelope: env, Groups: q.groups(env, nil), Body: bytes.NewReader(msg), Key: "report/" + id, Kind: kind, Since: q.now(),
	}
}

// reportID is the same whenever the same report is made again, so that it is stored once. Of two messages that have one ID, the
// second after the first has gone, each has its own.
func reportID(l *Lease, action string, rcpts []outcome) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %s", l.ID, l.Since.Unix(), action)
	for _, o := range rcpts {
		fmt.Fprintf(h, " %d %q", o.rcpt, o.to.Address.String())
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}

// writeReport writes the message (RFC 3464, RFC 3461 §6). It is small: of a large original only the header goes back.
func (q *Queue) writeReport(a *attempt, action string, rcpts []outcome, body Body, to goniec.Address, id string) ([]byte, error) {
	l := a.l
	from := mime.Addresses{{Name: "Mail Delivery System", Local: "MAILER-DAEMON", Domain: q.o.host}}
	auto, err := mime.NewField("Auto-Submitted", "auto-replied") // RFC 3834 §5.1
	if err != nil {
		return nil, err
	}
	entity, err := q.dsn(a, action, rcpts, body).Entity()
	if err != nil {
		return nil, err
	}
	m := &mime.Message{
		From: from, To: mime.Addresses{{Local: to.Local(), Domain: to.Domain()}}, Subject: subject(action),
		Date: q.wall(), MessageID: id + "@" + q.o.host, Fields: []mime.Field{auto}, Body: entity, Now: q.wall,
	}
	if to.Domain() == "" {
		m.To[0].Domain = q.o.host
	}
	if id := originalID(l, body); id != "" {
		m.References, m.InReplyTo = []string{id}, []string{id}
	}
	var out bytes.Buffer
	_, err = m.WriteTo(&out)
	return out.Bytes(), err
}

func subject(action string) string {
	switch action {
	case "failed":
		return "Undelivered Mail Returned to Sender"
	case "delayed":
		return "Delayed Mail (still being retried)"
	}
	return "Successful Mail Delivery Report"
}

// originalID is the message id of the original, "" if it has none that is safe to repeat.
func originalID(_ *Lease, body Body) string {
	r := mime.NewReader(goniec.NewReader(body), mime.Options{MaxHeaderBytes: 1 << 20})
	defer r.Close()
	if _, err := r.Next(); err != nil {
		return ""
	}
	ids := mime.ParseMessageIDs(r.Header().Value("Message-ID"))
	if len(ids) != 1 || len(ids[0]) > 250 {
		return ""
	}
	if _, err := mime.FormatMessageIDs(ids[0]); err != nil {
		return ""
	}
	return ids[0]
}

// dsn makes the fields for programs and the text.
func (q *Queue) dsn(a *attempt, action string, rcpts []outcome, body Body) *mime.DSN {
	l := a.l
	env := l.Envelope
	r := &Report{Action: action, Host: q.o.host, ID: l.ID, Envelope: env, Arrived: l.Since, GiveUp: a.expiry()}
	d := &mime.DSN{
		EnvelopeID: clean(env.EnvID), ReportingMTA: mime.Typed{Value: q.o.host}, ArrivalDate: l.Since,
		Original: body, HeadersOnly: q.headersOnly(env, l.Size, action),
	}
	if env.Origin.Helo != "" {
		d.ReceivedFromMTA = mime.Typed{Value: clean(env.Origin.Helo)}
	}
	for _, o := range rcpts {
		x := q.dsnRcpt(a, action, &o)
		d.Recipients = append(d.Recipients, x)
		code := goniec.EnhancedCode{}
		for i, part := range strings.SplitN(x.Status, ".", 3) {
			n, _ := strconv.Atoi(part)
			code[i] = uint16(n)
		}
		reason := publicReason(o.reason)
		if o.kind == Expired {
			reason = strings.TrimSuffix("delivery time expired; the last reason was: "+reason, "; the last reason was: ")
		}
		r.Rcpts = append(r.Rcpts, ReportRcpt{Address: o.to.Address, Status: code, Reason: reason})
	}
	if plain(env, rcpts) {
		d.ReceivedFromMTA.Value = onlyASCII(d.ReceivedFromMTA.Value)
		for i := range d.Recipients {
			x := &d.Recipients[i]
			x.RemoteMTA.Value, x.Diagnostic.Value = onlyASCII(x.RemoteMTA.Value), onlyASCII(x.Diagnostic.Value)
		}
	}
	if err := q.guard("ReportText", a.l.Kind, func() error { d.Text = q.o.text(r); return nil }); err != nil {
		d.Text = ReportText(r)
	}
	return d
}

// plain reports whether sender and recipients are ASCII. They get the form of RFC 3464, which every program reads, though a server
// answered in its own language: RFC 6533's is for those who write such addresses. The text for people has the reply as it was.
func plain(env *goniec.Envelope, rcpts []outcome) bool {
	for _, o := range rcpts {
		if !o.to.Address.IsASCII() || !isASCII(o.to.ORcpt.Address) {
			return false
		}
	}
	return env.From.IsASCII()
}

// onlyASCII replaces what is not.
func onlyASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

// headersOnly follows RET (RFC 3461 §4.3); it speaks of failures only, others return the header.
func (q *Queue) headersOnly(env *goniec.Envelope, size int64, action string) bool {
	return env.Ret == goniec.RetHdrs || action != "failed" || size > q.o.maxReturn
}

func (q *Queue) dsnRcpt(a *attempt, action string, o *outcome) mime.DSNRecipient {
	x := mime.DSNRecipient{
		FinalRecipient: mime.Typed{Value: o.to.Address.String()}, Action: action, Status: dsnStatus(action, o),
		FinalLogID: string(a.l.ID),
	}
	if a.why == "" { // else it was another time, or never
		x.LastAttempt = q.wall()
	}
	if or := o.to.ORcpt; or.Type != "" && or.Address != "" {
		x.OriginalRecipient = mime.Typed{Type: clean(or.Type), Value: clean(or.Address)}
	}
	x.RemoteMTA.Value = clean(remoteOf(o.err))
	if o.info.RemoteMTA != "" {
		x.RemoteMTA.Value = clean(o.info.RemoteMTA)
	}
	if o.reason != "" {
		x.Diagnostic.Value = publicReason(o.reason)
		if s := goniec.StatusOf(o.err); s != nil {
			x.Diagnostic.Value = s.Reply()
		}
	}
	if x.Diagnostic.Value != "" && (x.RemoteMTA.Value == "" || !said(o.err)) {
		x.Diagnostic.Type = "X-Goniec" // RFC 3464 §2.3.6: "smtp" is for what a remote server said
	}
	if action == "delayed" {
		x.WillRetryUntil = a.expiry()
	}
	return x
}

// dsnStatus is the status code, whose class must fit the action (RFC 3463 §2).
func dsnStatus(action string, o *outcome) string {
	class := map[string]uint16{"failed": 5, "delayed": 4}[action]
	switch {
	case class == 0:
		return "2.0.0"
	case o.kind == Expired:
		return "5.4.7" // delivery time expired
	}
	if s := goniec.StatusOf(o.err); s != nil && s.Enhanced[0] == class {
		return s.Enhanced.String()
	}
	// Without an attempt there is only the text of the last one: "mx said 451 4.7.1 wait".
	for word := range strings.FieldsSeq(publicReason(o.reason)) {
		if isEnhanced(word) && word[0] == byte('0'+class) {
			return word
		}
	}
	return fmt.Sprintf("%d.0.0", class)
}

// isEnhanced recognises an enhanced status code in a text.
func isEnhanced(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 {
		return false
	}
	for _, p := range parts {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 999 || len(p) > 3 {
			return false
		}
	}
	return true
}

// clean makes one safe line of a value that a client gave.
func clean(s string) string { return oneLine(s) }

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// headerEnd is where a message's header ends.
func headerEnd(msg []byte) int {
	if i := bytes.Index(msg, []byte("\r\n\r\n")); i >= 0 {
		return i
	}
	return len(msg)
}

package mime

import (
	"strings"
	"time"
)

// A DSN is a delivery status notification (RFC 3464, RFC 6533). Whom it goes to, when and with
// which text is for the sender to decide; this is its form.
type DSN struct {
	// Text is the part for people.
	Text string
	// EnvelopeID is the ENVID that the sender gave (decoded from xtext), "" if none.
	EnvelopeID string
	// ReportingMTA is who reports; required. An empty Type means "dns".
	ReportingMTA Typed
	// DSNGateway and ReceivedFromMTA are left out where they are zero.
	DSNGateway, ReceivedFromMTA Typed
	// ArrivalDate is when the message came; zero leaves it out.
	ArrivalDate time.Time
	// Recipients are what the report is about; at least one.
	Recipients []DSNRecipient
	// Original is the message (RET=FULL) or its header (RET=HDRS); nil sends nothing back. With
	// HeadersOnly only the header of Original is sent, whatever it holds.
	Original    Content
	HeadersOnly bool
}

// A DSNRecipient is what happened for one recipient.
type DSNRecipient struct {
	// OriginalRecipient is the ORCPT of the sender, zero if none.
	OriginalRecipient Typed
	// FinalRecipient is the address that was tried; required. An empty Type means "rfc822", or
	// "utf-8" where the address has more than ASCII.
	FinalRecipient Typed
	// Action is failed, delayed, delivered, relayed or expanded; required.
	Action string
	// Status is the enhanced status code, such as 5.1.1; required.
	Status string
	// RemoteMTA said so; zero if no other server was asked. An empty Type means "dns".
	RemoteMTA Typed
	// Diagnostic is what it said. Any text will do: control characters are replaced and at most
	// 800 octets are written. An empty Type means "smtp".
	Diagnostic Typed
	// LastAttempt, WillRetryUntil and FinalLogID are left out where they are zero.
	LastAttempt, WillRetryUntil time.Time
	FinalLogID                  string
}

// orType fills in a default type.
func (t Typed) orType(typ string) Typed {
	if t.Value != "" && t.Type == "" {
		t.Type = typ
	}
	return t
}

// Entity makes the body of the notification, for Message.Body. The error is a *ValueError for a
// required field that is missing or a value with control characters.
func (d *DSN) Entity() (*Entity, error) {
	r, err := d.Report()
	if err != nil {
		return nil, err
	}
	return r.Entity()
}

// Report makes the general form of the notification.
func (d *DSN) Report() (*Report, error) {
	r := &Report{Type: "delivery-status", Text: d.Text, Original: d.Original, HeadersOnly: d.HeadersOnly}
	var w groupWriter
	w.add("Original-Envelope-Id", d.EnvelopeID)
	w.typed("Reporting-MTA", d.ReportingMTA.orType("dns"))
	w.typed("DSN-Gateway", d.DSNGateway.orType("dns"))
	w.typed("Received-From-MTA", d.ReceivedFromMTA.orType("dns"))
	w.add("Arrival-Date", dateOrNone(d.ArrivalDate))
	if d.ReportingMTA.Value == "" || len(d.Recipients) == 0 {
		return nil, &ValueError{What: "DSN", Reason: "Reporting-MTA and at least one recipient are required"}
	}
	r.Groups = append(r.Groups, &w.h)
	for i := range d.Recipients {
		g, err := d.Recipients[i].group()
		if err != nil {
			return nil, err
		}
		r.Groups = append(r.Groups, g)
	}
	return r, w.err
}

func dateOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return FormatDate(t)
}

func (x *DSNRecipient) group() (*Header, error) {
	switch {
	case x.FinalRecipient.Value == "":
		return nil, &ValueError{What: "Final-Recipient", Reason: "missing"}
	case !isToken(x.Action):
		return nil, &ValueError{What: "Action", Reason: "missing or malformed"}
	case !isStatus(x.Status):
		return nil, &ValueError{What: "Status", Reason: "want three numbers with dots between, such as 5.1.1"}
	}
	typ := "rfc822"
	if !isASCII(x.FinalRecipient.Value) {
		typ = "utf-8" // RFC 6533 §3
	}
	var w groupWriter
	w.typed("Original-Recipient", x.OriginalRecipient)
	w.typed("Final-Recipient", x.FinalRecipient.orType(typ))
	w.add("Action", x.Action)
	w.add("Status", x.Status)
	w.typed("Remote-MTA", x.RemoteMTA.orType("dns"))
	diag := x.Diagnostic.orType("smtp")
	diag.Value = diagnostic(diag.Value)
	if diag.Value != "" {
		w.typed("Diagnostic-Code", diag)
	}
	w.add("Last-Attempt-Date", dateOrNone(x.LastAttempt))
	w.add("Final-Log-ID", x.FinalLogID)
	w.add("Will-Retry-Until", dateOrNone(x.WillRetryUntil))
	return &w.h, w.err
}

// isStatus reports whether s is an enhanced status code (RFC 3463 §2).
func isStatus(s string) bool {
	class, rest, ok := strings.Cut(s, ".")
	subject, detail, ok2 := strings.Cut(rest, ".")
	return ok && ok2 && (class == "2" || class == "4" || class == "5") && isNumber(subject) && isNumber(detail)
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// ReadDSN reads a delivery status notification: see ReadReport. What is missing or malformed is
// zero; a notification without a group for a recipient has no Recipients. The error is
// ErrNotReport, or one of reading.
func (s *Structure) ReadDSN(c Content) (*DSN, error) {
	r, err := s.ReadReport(c)
	if err != nil {
		return nil, err
	}
	return r.DSN()
}

// DSN reads the report as a delivery status notification.
func (r *Report) DSN() (*DSN, error) {
	if r.Type != "delivery-status" {
		return nil, ErrNotReport
	}
	d := &DSN{Text: r.Text, Original: r.Original, HeadersOnly: r.HeadersOnly}
	for i, g := range r.Groups {
		if _, isRecipient := g.Lookup("Final-Recipient"); !isRecipient && i == 0 {
			d.message(g)
			continue
		}
		d.Recipients = append(d.Recipients, readRecipient(g))
	}
	return d, nil
}

// message reads the fields of the message.
func (d *DSN) message(g *Header) {
	d.EnvelopeID = g.Value("Original-Envelope-Id")
	d.ReportingMTA = parseTyped(g.Value("Reporting-MTA"))
	d.DSNGateway = parseTyped(g.Value("DSN-Gateway"))
	d.ReceivedFromMTA = parseTyped(g.Value("Received-From-MTA"))
	d.ArrivalDate = readDate(g, "Arrival-Date")
}

func readDate(g *Header, name string) time.Time {
	t, err := ParseDate(g.Value(name))
	if err != nil {
		return time.Time{}
	}
	return t
}

// firstWord cuts what many write after a value: "5.1.1 (no such user)".
func firstWord(v string) string {
	x := lexer{s: v}
	x.skipCFWS()
	return x.until(endOfWord)
}

func readRecipient(g *Header) DSNRecipient {
	return DSNRecipient{
		OriginalRecipient: parseTyped(g.Value("Original-Recipient")),
		FinalRecipient:    parseTyped(g.Value("Final-Recipient")),
		Action:            strings.ToLower(g.Value("Action")),
		Status:            firstWord(g.Value("Status")),
		RemoteMTA:         parseTyped(g.Value("Remote-MTA")),
		Diagnostic:        parseTyped(g.Value("Diagnostic-Code")),
		LastAttempt:       readDate(g, "Last-Attempt-Date"),
		WillRetryUntil:    readDate(g, "Will-Retry-Until"),
		FinalLogID:        g.Value("Final-Log-ID"),
	}
}

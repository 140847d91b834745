package mime

import (
	"strconv"
	"time"
)

// A Feedback is a feedback report in the Abuse Reporting Format (ARF, RFC 5965).
type Feedback struct {
	// Text is the part for people.
	Text string
	// Type is abuse, fraud, virus, not-spam, auth-failure or other; required.
	Type string
	// UserAgent is the program that reports; required.
	UserAgent string
	// Version of the format; 0 means 1.
	Version int
	// EnvelopeID, MailFrom, ArrivalDate, ReportingMTA and SourceIP are left out where they are
	// zero.
	EnvelopeID, MailFrom string
	ArrivalDate          time.Time
	ReportingMTA         Typed
	SourceIP             string
	// Incidents is how many messages the report stands for; 0 leaves it out, which means 1.
	Incidents int
	// RcptTo, Domains, URIs and AuthResults may have any number of values.
	RcptTo, Domains, URIs, AuthResults []string
	// Original and HeadersOnly: see DSN.
	Original    Content
	HeadersOnly bool
}

// Entity makes the body of the report, for Message.Body. The error is a *ValueError.
func (f *Feedback) Entity() (*Entity, error) {
	if !isToken(f.Type) || f.UserAgent == "" || f.Version < 0 || f.Incidents < 0 {
		return nil, &ValueError{What: "feedback report", Reason: "Feedback-Type and User-Agent are required"}
	}
	var w groupWriter
	w.add("Feedback-Type", f.Type)
	w.add("User-Agent", f.UserAgent)
	w.add("Version", strconv.Itoa(max(f.Version, 1)))
	w.add("Original-Envelope-Id", f.EnvelopeID)
	w.add("Original-Mail-From", f.MailFrom)
	w.add("Arrival-Date", dateOrNone(f.ArrivalDate))
	w.typed("Reporting-MTA", f.ReportingMTA.orType("dns"))
	w.add("Source-IP", f.SourceIP)
	if f.Incidents > 0 {
		w.add("Incidents", strconv.Itoa(f.Incidents))
	}
	f.each(func(name string, values *[]string) {
		for _, v := range *values {
			w.add(name, v)
		}
	})
	if w.err != nil {
		return nil, w.err
	}
	r := Report{Type: "feedback-report", Text: f.Text, Groups: []*Header{&w.h}, Original: f.Original, HeadersOnly: f.HeadersOnly}
	return r.Entity()
}

// each names the fields that may repeat.
func (f *Feedback) each(do func(name string, values *[]string)) {
	do("Original-Rcpt-To", &f.RcptTo)
	do("Reported-Domain", &f.Domains)
	do("Reported-URI", &f.URIs)
	do("Authentication-Results", &f.AuthResults)
}

// ReadFeedback reads a feedback report: see ReadReport.
func (s *Structure) ReadFeedback(c Content) (*Feedback, error) {
	r, err := s.ReadReport(c)
	if err != nil {
		return nil, err
	}
	return r.Feedback()
}

// Feedback reads the report as a feedback report.
func (r *Report) Feedback() (*Feedback, error) {
	if r.Type != "feedback-report" || len(r.Groups) == 0 {
		return nil, ErrNotReport
	}
	g := r.Groups[0]
	f := &Feedback{
		Text:         r.Text,
		Type:         g.Value("Feedback-Type"),
		UserAgent:    g.Value("User-Agent"),
		EnvelopeID:   g.Value("Original-Envelope-Id"),
		MailFrom:     g.Value("Original-Mail-From"),
		ArrivalDate:  readDate(g, "Arrival-Date"),
		ReportingMTA: parseTyped(g.Value("Reporting-MTA")),
		SourceIP:     firstWord(g.Value("Source-IP")),
		Original:     r.Original,
		HeadersOnly:  r.HeadersOnly,
	}
	if f.ArrivalDate.IsZero() {
		f.ArrivalDate = readDate(g, "Received-Date") // the name before RFC 5965 was done
	}
	f.Version, _ = strconv.Atoi(firstWord(g.Value("Version"))) // zero where there is no number
	f.Incidents, _ = strconv.Atoi(firstWord(g.Value("Incidents")))
	f.each(func(name string, values *[]string) {
		for _, field := range g.Fields(name) {
			*values = append(*values, field.Value())
		}
	})
	return f, nil
}

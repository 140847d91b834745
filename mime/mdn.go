package mime

import "strings"

// An MDN is a message disposition notification (RFC 8098): what a reader's program did with a
// message. Whether one may be sent at all is for that program to decide (RFC 8098 §2.1).
type MDN struct {
	// Text is the part for people.
	Text string
	// ReportingUA names the program: "host; product". "" leaves it out.
	ReportingUA string
	// Gateway and OriginalRecipient are left out where they are zero.
	Gateway, OriginalRecipient Typed
	// FinalRecipient is whose program it is; required. An empty Type means "rfc822", or "utf-8"
	// where the address has more than ASCII.
	FinalRecipient Typed
	// OriginalMessageID is the id of the message, without angle brackets.
	OriginalMessageID string
	// Disposition says what happened; required.
	Disposition MDNDisposition
	// Errors are the Error fields.
	Errors []string
	// Original and HeadersOnly: see DSN.
	Original    Content
	HeadersOnly bool
}

// An MDNDisposition is "action-mode/sending-mode; type/modifier" (RFC 8098 §3.2.6).
type MDNDisposition struct {
	ActionMode  string   // manual-action or automatic-action
	SendingMode string   // MDN-sent-manually or MDN-sent-automatically
	Type        string   // displayed, deleted, dispatched or processed
	Modifiers   []string // error, or others
}

// String returns the disposition as it is written.
func (d MDNDisposition) String() string {
	s := d.ActionMode + "/" + d.SendingMode + "; " + d.Type
	if len(d.Modifiers) > 0 {
		s += "/" + strings.Join(d.Modifiers, ",")
	}
	return s
}

func (d MDNDisposition) valid() bool {
	for _, m := range d.Modifiers {
		if !isToken(m) {
			return false
		}
	}
	return isToken(d.ActionMode) && isToken(d.SendingMode) && isToken(d.Type)
}

// Entity makes the body of the notification, for Message.Body. The error is a *ValueError.
func (m *MDN) Entity() (*Entity, error) {
	var w groupWriter
	if m.FinalRecipient.Value == "" || !m.Disposition.valid() {
		return nil, &ValueError{What: "MDN", Reason: "Final-Recipient and a complete Disposition are required"}
	}
	typ := "rfc822"
	if !isASCII(m.FinalRecipient.Value) {
		typ = "utf-8"
	}
	w.add("Reporting-UA", m.ReportingUA)
	w.typed("MDN-Gateway", m.Gateway)
	w.typed("Original-Recipient", m.OriginalRecipient)
	w.typed("Final-Recipient", m.FinalRecipient.orType(typ))
	if m.OriginalMessageID != "" {
		id, err := FormatMessageIDs(m.OriginalMessageID)
		if err != nil {
			return nil, err
		}
		w.add("Original-Message-ID", id)
	}
	w.add("Disposition", m.Disposition.String())
	for _, e := range m.Errors {
		w.add("Error", e)
	}
	if w.err != nil {
		return nil, w.err
	}
	r := Report{Type: "disposition-notification", Text: m.Text, Groups: []*Header{&w.h}, Original: m.Original, HeadersOnly: m.HeadersOnly}
	return r.Entity()
}

// ReadMDN reads a message disposition notification: see ReadReport.
func (s *Structure) ReadMDN(c Content) (*MDN, error) {
	r, err := s.ReadReport(c)
	if err != nil {
		return nil, err
	}
	return r.MDN()
}

// MDN reads the report as a message disposition notification.
func (r *Report) MDN() (*MDN, error) {
	if r.Type != "disposition-notification" || len(r.Groups) == 0 {
		return nil, ErrNotReport
	}
	g := r.Groups[0]
	m := &MDN{
		Text:              r.Text,
		ReportingUA:       g.Value("Reporting-UA"),
		Gateway:           parseTyped(g.Value("MDN-Gateway")),
		OriginalRecipient: parseTyped(g.Value("Original-Recipient")),
		FinalRecipient:    parseTyped(g.Value("Final-Recipient")),
		Disposition:       parseMDNDisposition(g.Value("Disposition")),
		Original:          r.Original,
		HeadersOnly:       r.HeadersOnly,
	}
	if ids := g.MessageIDs("Original-Message-ID"); len(ids) > 0 {
		m.OriginalMessageID = ids[0]
	}
	for _, f := range g.Fields("Error") {
		m.Errors = append(m.Errors, f.Value())
	}
	return m, nil
}

func parseMDNDisposition(v string) MDNDisposition {
	modes, what, _ := strings.Cut(v, ";")
	action, sending, _ := strings.Cut(modes, "/")
	typ, mods, hasMods := strings.Cut(what, "/")
	d := MDNDisposition{
		ActionMode:  strings.TrimSpace(action),
		SendingMode: strings.TrimSpace(sending),
		Type:        strings.ToLower(strings.TrimSpace(typ)),
	}
	if hasMods {
		for m := range strings.SplitSeq(mods, ",") {
			d.Modifiers = append(d.Modifiers, strings.TrimSpace(m))
		}
	}
	return d
}

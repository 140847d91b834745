package mime

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const bounced = "From: ada@example.org\r\nSubject: lost\r\n\r\nThe body.\r\n"

func testDSN() *DSN {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &DSN{
		Text:            "Your message could not be delivered.\r\n",
		EnvelopeID:      "QQ314159",
		ReportingMTA:    Typed{Type: "dns", Value: "mx.example.org"},
		ReceivedFromMTA: Typed{Type: "dns", Value: "client.example.org"},
		ArrivalDate:     at,
		Recipients: []DSNRecipient{
			{
				OriginalRecipient: Typed{"rfc822", "bob@old.example"},
				FinalRecipient:    Typed{"rfc822", "bob@example.com"},
				Action:            "failed",
				Status:            "5.1.1",
				RemoteMTA:         Typed{"dns", "mx.example.com"},
				Diagnostic:        Typed{"smtp", "550 5.1.1 no such user"},
				LastAttempt:       at,
				FinalLogID:        "K7Q2",
			},
			{FinalRecipient: Typed{"rfc822", "carol@example.com"}, Action: "delayed", Status: "4.4.1", WillRetryUntil: at.Add(time.Hour)},
		},
		Original: strings.NewReader(bounced),
	}
}

func writeReport(t testing.TB, e *Entity, err error) (string, *Structure) {
	t.Helper()
	require.NoError(t, err)
	m := testMessage()
	m.Body = e
	msg := write(t, m)
	return msg, parse(t, msg, Options{Strict: true})
}

func TestDSNRoundTrip(t *testing.T) {
	for _, headersOnly := range []bool{false, true} {
		d := testDSN()
		d.HeadersOnly = headersOnly
		e, err := d.Entity()
		msg, s := writeReport(t, e, err)
		require.Equal(t, "report", s.Parts[0].Type.Subtype)
		require.Equal(t, "delivery-status", s.Parts[0].Type.Params.Get("report-type"))
		require.Contains(t, msg, "\r\nReporting-MTA: dns; mx.example.org\r\n")
		require.Contains(t, msg, "\r\n\r\nOriginal-Recipient: rfc822; bob@old.example\r\n")

		got, err := s.ReadDSN(strings.NewReader(msg))
		require.NoError(t, err)
		original, err := io.ReadAll(io.NewSectionReader(got.Original, 0, got.Original.Size()))
		require.NoError(t, err)
		if headersOnly {
			require.Equal(t, "From: ada@example.org\r\nSubject: lost\r\n", string(original))
		} else {
			require.Equal(t, bounced, string(original))
		}
		require.Equal(t, headersOnly, got.HeadersOnly)
		got.Original, d.Original = nil, nil
		require.Equal(t, d, got)
		_, err = s.ReadMDN(strings.NewReader(msg))
		require.ErrorIs(t, err, ErrNotReport)
		_, err = s.ReadFeedback(strings.NewReader(msg))
		require.ErrorIs(t, err, ErrNotReport)
	}
}

func TestDSNDefaultsAndRequired(t *testing.T) {
	d := &DSN{
		ReportingMTA: Typed{Value: "mx.example.org"},
		Recipients:   []DSNRecipient{{FinalRecipient: Typed{Value: "bob@example.com"}, Action: "failed", Status: "5.0.0", Diagnostic: Typed{Value: "550 no"}}},
	}
	e, err := d.Entity()
	msg, _ := writeReport(t, e, err)
	require.Contains(t, msg, "Reporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; bob@example.com\r\nAction: failed\r\nStatus: 5.0.0\r\nDiagnostic-Code: smtp; 550 no\r\n")
	for name, spoil := range map[string]func(*DSN){
		"mta": func(d *DSN) { d.ReportingMTA = Typed{} }, "none": func(d *DSN) { d.Recipients = nil },
		"recipient": func(d *DSN) { d.Recipients[0].FinalRecipient = Typed{} },
		"action":    func(d *DSN) { d.Recipients[0].Action = "" },
		"status":    func(d *DSN) { d.Recipients[0].Status = "550" },
		"class":     func(d *DSN) { d.Recipients[0].Status = "1.0.0" },
		"type":      func(d *DSN) { d.Recipients[0].RemoteMTA = Typed{"d ns", "x"} },
		"injection": func(d *DSN) { d.Recipients[0].FinalRecipient.Value = "a@b\r\nAction: delivered" },
		"envid":     func(d *DSN) { d.EnvelopeID = "a\nb" },
	} {
		d := testDSN()
		spoil(d)
		_, err := d.Entity()
		var ve *ValueError
		require.ErrorAs(t, err, &ve, name)
	}
}

// TestL02_RemoteTextInDSN: whatever a remote server said, the report is valid and its lines are short.
func TestL02_RemoteTextInDSN(t *testing.T) {
	for _, said := range []string{
		strings.Repeat("550-line\r\n", 6400), "550 a\r\nAction: delivered\r\n\r\nFinal-Recipient: x", "550 \x1b[2J \u202e \x00", strings.Repeat("x", 64<<10), "550 gr\xfc\xdfe", "550 Grüße",
	} {
		d := testDSN()
		d.Recipients[0].Diagnostic.Value = said
		e, err := d.Entity()
		msg, s := writeReport(t, e, err)
		got, err := s.ReadDSN(strings.NewReader(msg))
		require.NoError(t, err)
		require.Len(t, got.Recipients, 2)
		require.Equal(t, "failed", got.Recipients[0].Action)
		require.LessOrEqual(t, len(got.Recipients[0].Diagnostic.Value), maxDiagnostic+3)
		require.Equal(t, Display(got.Recipients[0].Diagnostic.Value), got.Recipients[0].Diagnostic.Value)
		for line := range strings.SplitSeq(msg, "\r\n") {
			require.LessOrEqual(t, len(line), maxLineOctets)
		}
	}
}

// TestInternationalDSN is RFC 6533: other types where there is more than ASCII.
func TestInternationalDSN(t *testing.T) {
	d := testDSN()
	d.Recipients[0].FinalRecipient = Typed{Value: "jürgen@exämple.org"}
	d.Original = strings.NewReader("From: jürgen@exämple.org\r\n\r\nx\r\n")
	e, err := d.Entity()
	msg, s := writeReport(t, e, err)
	require.Equal(t, "[] multipart/report\n[1] text/plain\n[2] message/global-delivery-status\n[3] message/global\n[3.1] text/plain\n", types(s))
	got, err := s.ReadDSN(strings.NewReader(msg))
	require.NoError(t, err)
	require.Equal(t, Typed{"utf-8", "jürgen@exämple.org"}, got.Recipients[0].FinalRecipient)
	d.HeadersOnly = true
	e, err = d.Entity()
	_, s = writeReport(t, e, err)
	require.Equal(t, "message/global-headers", s.Parts[3].Type.String())
	d.Original = strings.NewReader("From: j\xfcrgen@example.org\r\n\r\nx\r\n") // raw 8-bit: no UTF-8, so an ordinary message
	e, err = d.Entity()
	_, s = writeReport(t, e, err)
	require.Equal(t, "text/rfc822-headers", s.Parts[3].Type.String())
}

// TestReadForeignDSN is about what other servers write: no multipart/alternative is alike.
func TestReadForeignDSN(t *testing.T) {
	msg := crlf(`
Content-Type: multipart/report; boundary=b; report-type=Delivery-Status

--b
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain

for people
--a--
--b
Content-Type: message/delivery-status
Content-Transfer-Encoding: base64

UmVwb3J0aW5nLU1UQTogbXguZXhhbXBsZS5vcmcKCgpGaW5hbC1SZWNpcGllbnQ6IFJGQzgyMjsgYm9iQGV4YW1wbGUuY29tClN0YXR1czogNS4xLjEgKG5vIHN1Y2ggdXNlcikKQWN0aW9uOiBGYWlsZWQK
--b
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: quoted-printable

Subject: =3D
--b--
`)
	s := parse(t, msg, Options{})
	d, err := s.ReadDSN(strings.NewReader(msg))
	require.NoError(t, err)
	require.Equal(t, "for people", d.Text)
	require.Equal(t, Typed{"", "mx.example.org"}, d.ReportingMTA)
	require.Equal(t, []DSNRecipient{{FinalRecipient: Typed{"rfc822", "bob@example.com"}, Action: "failed", Status: "5.1.1"}}, d.Recipients)
	original, err := io.ReadAll(io.NewSectionReader(d.Original, 0, 100))
	require.NoError(t, err)
	require.Equal(t, "Subject: =", string(original))

	for _, none := range []string{"Subject: x\r\n\r\n", "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"} {
		_, err := parse(t, none, Options{}).ReadDSN(strings.NewReader(none))
		require.ErrorIs(t, err, ErrNotReport)
	}
}

func TestReportGroupLimit(t *testing.T) {
	d := testDSN()
	d.Recipients = nil
	for i := range MaxReportGroups - 1 {
		d.Recipients = append(d.Recipients, DSNRecipient{FinalRecipient: Typed{"rfc822", fmt.Sprintf("u%d@x", i)}, Action: "failed", Status: "5.0.0"})
	}
	for _, extra := range []int{0, 1} {
		for range extra {
			d.Recipients = append(d.Recipients, d.Recipients[0])
		}
		e, err := d.Entity()
		msg, s := writeReport(t, e, err)
		got, err := s.ReadDSN(strings.NewReader(msg))
		require.NoError(t, err)
		require.Len(t, got.Recipients, MaxReportGroups-1)
	}
}

func TestMDNRoundTrip(t *testing.T) {
	m := &MDN{
		Text:              "Read.\r\n",
		ReportingUA:       "host.example; Mailer 1.0",
		OriginalRecipient: Typed{"rfc822", "bob@old.example"},
		FinalRecipient:    Typed{"rfc822", "bob@example.com"},
		OriginalMessageID: "1@example.org",
		Disposition:       MDNDisposition{ActionMode: "manual-action", SendingMode: "MDN-sent-manually", Type: "displayed", Modifiers: []string{"error"}},
		Errors:            []string{"one", "two"},
	}
	e, err := m.Entity()
	msg, s := writeReport(t, e, err)
	require.Contains(t, msg, "\r\nDisposition: manual-action/MDN-sent-manually; displayed/error\r\n")
	got, err := s.ReadMDN(strings.NewReader(msg))
	require.NoError(t, err)
	require.Equal(t, m, got)
	for _, spoil := range []func(){
		func() { m.Errors = []string{"a\r\nb"} }, func() { m.OriginalMessageID = "a b" },
		func() { m.Disposition.Modifiers = []string{"a b"} }, func() { m.FinalRecipient = Typed{} },
	} {
		spoil()
		_, err = m.Entity()
		require.Error(t, err)
	}
}

func TestFeedbackRoundTrip(t *testing.T) {
	f := &Feedback{
		Text: "This is spam.\r\n", Type: "abuse", UserAgent: "SomeGenerator/1.0", Version: 1, EnvelopeID: "x", MailFrom: "<spammer@example.net>",
		ArrivalDate: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), ReportingMTA: Typed{"dns", "mail.example.com"}, SourceIP: "192.0.2.1", Incidents: 3,
		RcptTo: []string{"<user@example.com>", "<two@example.com>"}, Domains: []string{"example.net"}, URIs: []string{"http://example.net/"},
		AuthResults: []string{"mail.example.com; spf=fail"},
	}
	e, err := f.Entity()
	msg, s := writeReport(t, e, err)
	got, err := s.ReadFeedback(strings.NewReader(msg))
	require.NoError(t, err)
	require.Equal(t, f, got)
	f.URIs = []string{"a\nb"}
	_, err = f.Entity()
	require.Error(t, err)
	_, err = (&Feedback{}).Entity()
	require.Error(t, err)
	_, err = (&Report{Type: "made-up"}).Entity()
	require.Error(t, err)
}

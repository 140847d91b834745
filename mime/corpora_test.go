package mime

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// eachCorpusMessage calls do with every message of the corpora, also with its line ends as CRLF.
func eachCorpusMessage(t *testing.T, do func(t *testing.T, name string, msg string)) {
	root, names := corpusMessages(t)
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
		do(t, name, string(raw))
		lines := strings.ReplaceAll(string(raw), "\r\n", "\n")
		do(t, name+" (CRLF)", strings.ReplaceAll(lines, "\n", "\r\n"))
	}
}

// TestCorpora does with every message what FuzzParse does: tree, gaps, header round trip, serialised form; and what a server does.
func TestCorpora(t *testing.T) {
	n := 0
	eachCorpusMessage(t, func(t *testing.T, name, msg string) {
		s := parse(t, msg, Options{})
		require.Equal(t, msg, allEvents(msg, Options{}), name)
		c := strings.NewReader(msg)
		for i := range s.Parts {
			p := &s.Parts[i]
			h, err := s.Header(c, i)
			require.NoError(t, err)
			if p.BodyStart > p.HeaderStart {
				require.Equal(t, msg[p.HeaderStart:p.BodyStart], string(h.Bytes()), name)
			}
			for _, f := range h.All() {
				text := f.Text()
				require.True(t, utf8.ValidString(text))
				require.Equal(t, Display(text), text)
			}
			if p.Kind == Leaf {
				text, err := io.ReadAll(s.Text(c, i))
				require.NoError(t, err)
				require.True(t, utf8.Valid(text), name)
			}
		}
		r := NewReader(strings.NewReader(msg), Options{})
		_, bodies := readAllParts(t, r)
		require.Equal(t, s, r.Structure(), name)
		for i := range s.Parts {
			if p := &s.Parts[i]; p.Kind == Leaf {
				require.Equal(t, msg[p.BodyStart:p.BodyEnd], bodies[i], name)
			}
		}
		b, err := s.MarshalBinary()
		require.NoError(t, err)
		var again Structure
		require.NoError(t, again.UnmarshalBinary(b))
		require.Equal(t, s, &again)
		_, err = s.Preview(c, 0)
		require.NoError(t, err)
		n++
	})
	t.Logf("%d messages", n)
}

// TestCorporaDowngrade converts every message, and compares what is inside with what was.
func TestCorporaDowngrade(t *testing.T) {
	converted, refused := 0, 0
	eachCorpusMessage(t, func(t *testing.T, name, msg string) {
		r, err := Downgrade(strings.NewReader(msg), "7bit")
		if errors.Is(err, ErrCannotDowngrade) {
			refused++
			return
		}
		require.NoError(t, err, name)
		out, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, leaves(t, msg), leaves(t, string(out)), name)
		s := parse(t, string(out), Options{})
		class, err := Classify(bytes.NewReader(out[s.Parts[0].BodyStart:]))
		require.NoError(t, err)
		if strings.HasSuffix(name, "(CRLF)") && class != "7bit" {
			t.Errorf("%s: still %s", name, class)
		}
		converted++
	})
	t.Logf("%d converted or left as they are, %d refused", converted, refused)
}

// TestCorporaReports reads the reports of several programs.
func TestCorporaReports(t *testing.T) {
	root := peertest.Corpora(t)
	read := func(name string) (*Structure, Content) {
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
		return parse(t, string(raw), Options{}), bytes.NewReader(raw)
	}
	dsns := 0
	for _, name := range []string{
		"enmime/dsn/delayed_dsn.raw", "enmime/dsn/multi_recipient_dsn.raw", "enmime/dsn/simple_dsn.raw", "enmime/dsn/simple_dsn_with_html.raw",
		"enmime/dsn/dsn_with_multipart_alternative.raw", "flanker/messages/bounce/mailbox-full.eml", "flanker/messages/bounce/delayed.eml",
		"flanker/messages/bounce/no-mx.eml", "flanker/messages/bounce/zed.eml", "cpython-email/msg_16.txt", "cpython-email/msg_43.txt", "nodemailer-mailparser/delivery-status.eml",
	} {
		s, c := read(name)
		d, err := s.ReadDSN(c)
		require.NoError(t, err, name)
		require.NotEmpty(t, d.ReportingMTA.Value, name)
		require.NotEmpty(t, d.Recipients, name)
		require.NotEmpty(t, d.Text, name)
		for _, r := range d.Recipients {
			require.NotEmpty(t, r.FinalRecipient.Value, name)
			require.Contains(t, []string{"failed", "delayed"}, r.Action, name)
			require.True(t, isStatus(r.Status), "%s: %q", name, r.Status)
			dsns++
		}
	}
	t.Logf("%d recipients of delivery status notifications", dsns)
	s, c := read("flanker/messages/disposition-notification.eml")
	m, err := s.ReadMDN(c)
	require.NoError(t, err)
	require.Equal(t, "displayed", m.Disposition.Type)
	for _, n := range []string{"001", "002", "003", "004", "005"} {
		s, c := read("mail-auth/arf/" + n + ".eml")
		f, err := s.ReadFeedback(c)
		require.NoError(t, err)
		raw, err := os.ReadFile(filepath.Join(root, "mail-auth", "arf", n+".json"))
		require.NoError(t, err)
		var want struct {
			Type      string   `json:"feedback_type"`
			Auth      []string `json:"authentication_results"`
			Incidents int      `json:"incidents"`
			EnvID     *string  `json:"original_envelope_id"`
			MailFrom  *string  `json:"original_mail_from"`
			Domains   []string `json:"reported_domain"`
			SourceIP  *string  `json:"source_ip"`
			UserAgent string   `json:"user_agent"`
			Version   int      `json:"version"`
		}
		require.NoError(t, json.Unmarshal(raw, &want))
		require.Equal(t, strings.ToLower(want.Type), strings.ReplaceAll(strings.ToLower(f.Type), "-", ""), n)
		require.Equal(t, want.UserAgent, f.UserAgent, n)
		require.Equal(t, want.Version, f.Version, n)
		require.Equal(t, want.Incidents, max(f.Incidents, 1), n)
		require.Len(t, f.AuthResults, len(want.Auth), n)
		require.Equal(t, len(want.Domains), len(f.Domains), n)
		require.Equal(t, deref(want.SourceIP), f.SourceIP, n)
		require.Equal(t, deref(want.EnvID), f.EnvelopeID, n)
		require.Equal(t, deref(want.MailFrom), f.MailFrom, n)
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestCorporaOffsets compares byte offsets with those that another parser found, for LF and CRLF.
func TestCorporaOffsets(t *testing.T) {
	root := peertest.Corpora(t)
	names, err := filepath.Glob(filepath.Join(root, "mail-parser", "rfc", "*.eml"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	compared := 0
	for _, name := range names {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, ext := range []string{".json", ".crlf.json"} {
			msg := string(raw)
			if ext == ".crlf.json" {
				msg = strings.ReplaceAll(msg, "\n", "\r\n")
			}
			js, err := os.ReadFile(strings.TrimSuffix(name, ".eml") + ext)
			require.NoError(t, err)
			var want struct {
				Parts []struct {
					Header int64 `json:"offset_header"`
					Body   int64 `json:"offset_body"`
					End    int64 `json:"offset_end"`
				} `json:"parts"`
			}
			require.NoError(t, json.Unmarshal(js, &want))
			s := parse(t, msg, Options{})
			var got []*Part
			for i := range s.Parts {
				if !insideMessage(s, i) {
					got = append(got, &s.Parts[i])
				}
			}
			require.Len(t, got, len(want.Parts), name)
			for i, p := range want.Parts {
				if got[i].HeaderStart != p.Header || got[i].BodyStart != p.Body || got[i].BodyEnd != p.End {
					t.Errorf("%s%s part %d: %d %d %d, theirs %v", filepath.Base(name), ext, i, got[i].HeaderStart, got[i].BodyStart, got[i].BodyEnd, p)
				}
				compared++
			}
		}
	}
	t.Logf("%d parts", compared)
}

func insideMessage(s *Structure, i int) bool {
	for i = s.Parts[i].Parent; i >= 0; i = s.Parts[i].Parent {
		if s.Parts[i].Kind == Embedded {
			return true
		}
	}
	return false
}

// TestCorporaMailboxes reads lists of valid and invalid addresses.
func TestCorporaMailboxes(t *testing.T) {
	root := peertest.Corpora(t)
	for file, valid := range map[string]bool{"mailbox_valid.txt": true, "mailbox_invalid.txt": false} {
		f, err := os.Open(filepath.Join(root, "flanker", file))
		require.NoError(t, err)
		defer f.Close()
		n, wrong := 0, 0
		for sc := bufio.NewScanner(f); sc.Scan(); {
			line := sc.Text()
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			n++
			if _, err := ParseAddress(line); (err == nil) != valid {
				wrong++
				if valid || !beyondGrammar(line) {
					t.Errorf("%s: %q: %v", file, line, err)
				}
			}
		}
		t.Logf("%s: %d of %d otherwise", file, wrong, n)
	}
}

// beyondGrammar tells the addresses that RFC 5322 allows, and that list calls invalid for other reasons: a local part of quoted and plain pieces
// (obs-local-part), one of more than 64 octets (RFC 5321), a comment before a literal, and a label that is no valid A-label (IDNA).
func beyondGrammar(addr string) bool {
	local, domain, _ := strings.Cut(addr, "@")
	return strings.Contains(local, `"`) && len(local) > 2 || len(local) > 64 || strings.HasPrefix(domain, "xn--")
}

// TestPythonReadsWhatWeBuild builds messages of every kind, and compares what Python's email package and Parse make of them.
func TestPythonReadsWhatWeBuild(t *testing.T) {
	python := peertest.Need(t, "python3")
	long := strings.Repeat("Überlange Zeile ", 100)
	m := testMessage()
	m.Subject = "Grüße 日本 " + long
	m.Text = "Grüße\n" + long
	m.HTML = "<p>x</p>"
	m.Inline = []File{{Name: "p.png", Type: "image/png", ContentID: "c@x", Body: strings.NewReader("\x89PNG")}}
	name := strings.Repeat("ä", 60) + ".pdf"
	m.Attachments = []File{{Name: name, Body: strings.NewReader("%PDF")}, {Message: strings.NewReader("Subject: x\r\n\r\ny\r\n")}}
	dsn, err := testDSN().Entity()
	require.NoError(t, err)
	report := testMessage()
	report.Body = dsn
	dir := t.TempDir()
	for i, msg := range []string{write(t, m), write(t, report), write(t, testMessage())} {
		path := filepath.Join(dir, "m.eml")
		require.NoError(t, os.WriteFile(path, []byte(msg), 0o600))
		cmd := exec.Command(python, "testdata/oracle.py")
		cmd.Stdin = strings.NewReader(path + "\n")
		out, err := cmd.Output()
		require.NoError(t, err)
		var theirs struct {
			Parts     []oraclePart
			Subject   string
			From      []string
			Filenames []string
			Defects   []string
		}
		require.NoError(t, json.Unmarshal(out, &theirs))
		require.Equal(t, ourParts(t, []byte(msg)), theirs.Parts)
		require.Equal(t, "Ada <ada@example.org>", strings.Join(theirs.From, ","))
		require.Empty(t, theirs.Defects)
		if i == 0 {
			require.Equal(t, strings.TrimSpace(m.Subject), strings.TrimSpace(theirs.Subject))
			require.Contains(t, theirs.Filenames, name)
		}
	}
}

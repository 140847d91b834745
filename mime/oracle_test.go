package mime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// corpusMessages lists the messages of the corpora, relative to their folder.
func corpusMessages(t testing.TB) (root string, names []string) {
	root = peertest.Corpora(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		name := filepath.Base(path)
		switch filepath.Ext(name) {
		case ".eml", ".raw", ".msg":
			names = append(names, rel)
		case ".txt":
			if strings.HasPrefix(name, "msg_") {
				names = append(names, rel)
			}
		default:
			if strings.HasPrefix(rel, "zbateson-emails/emails/") && filepath.Ext(name) != ".md" {
				names = append(names, rel)
			}
		}
		return nil
	})
	require.NoError(t, err)
	slices.Sort(names)
	require.NotEmpty(t, names)
	return root, names
}

// oraclePart is a part as testdata/oracle.py reports it.
type oraclePart struct {
	Type   string `json:"type"`
	Kind   string `json:"kind"`
	SHA256 string `json:"sha256"`
}

// ourParts reports our structure in the same form.
func ourParts(t testing.TB, raw []byte) []oraclePart {
	c := bytes.NewReader(raw)
	s, err := Parse(c, Options{})
	require.NoError(t, err)
	checkTree(t, s, string(raw))
	var out []oraclePart
	for i := range s.Parts {
		p := &s.Parts[i]
		o := oraclePart{Type: p.Type.String(), Kind: "container"}
		if p.Kind == Leaf || p.Kind == Multipart && i+1 == len(s.Parts) || p.Kind == Multipart && s.Parts[i+1].Parent != i {
			o.Kind = "leaf"
		}
		if o.Kind == "leaf" && p.Type.Type != "multipart" && (p.Type.Type != "message" || p.Type.Subtype == "rfc822") {
			body, err := io.ReadAll(s.Decoded(c, i))
			require.NoError(t, err)
			o.SHA256 = normalHash(body)
		}
		out = append(out, o)
	}
	return out
}

// normalHash compares what RFC 2045 leaves open or Python does otherwise: line ends, and white space at the end of lines (which
// RFC 2045 §6.7 (3) removes from quoted-printable, and Python does not).
func normalHash(body []byte) string {
	body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	body = bytes.ReplaceAll(body, []byte("\r"), []byte("\n"))
	lines := bytes.Split(body, []byte("\n"))
	for i := range lines {
		lines[i] = bytes.TrimRight(lines[i], " \t")
	}
	sum := sha256.Sum256(bytes.TrimRight(bytes.Join(lines, []byte("\n")), "\n"))
	return hex.EncodeToString(sum[:])
}

// askPython runs testdata/oracle.py over the messages of the corpora. do gets what it printed about each.
func askPython(t *testing.T, do func(name string, raw []byte, dec *json.Decoder)) {
	python := peertest.Need(t, "python3")
	root, names := corpusMessages(t)
	cmd := exec.Command(python, "testdata/oracle.py")
	var list strings.Builder
	for _, name := range names {
		list.WriteString(filepath.Join(root, filepath.FromSlash(name)) + "\n")
	}
	cmd.Stdin = strings.NewReader(list.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(out))
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
		do(name, raw, dec)
	}
}

// TestOraclePython compares every message of the corpora with Python's email package: the tree, the types, and the decoded bodies.
func TestOraclePython(t *testing.T) {
	equal, total := 0, 0
	askPython(t, func(name string, raw []byte, dec *json.Decoder) {
		var theirs struct{ Parts []oraclePart }
		require.NoError(t, dec.Decode(&theirs), name)
		total++
		ours := ourParts(t, raw)
		why, expected := pythonDiffers[name]
		switch same := slices.Equal(ours, theirs.Parts); {
		case same && expected:
			t.Errorf("%s: equal, which the list of differences denies", name)
		case same:
			equal++
		case expected:
			t.Logf("%s: differs: %s", name, why)
		default:
			t.Errorf("%s:%s", name, partDiff(ours, theirs.Parts))
		}
	})
	t.Logf("%d messages: %d equal, %d different for a known reason", total, equal, total-equal)
}

// TestOraclePythonValues compares subjects, dates and addresses.
func TestOraclePythonValues(t *testing.T) {
	equal, total := 0, 0
	askPython(t, func(name string, raw []byte, dec *json.Decoder) {
		var theirs struct{ Values map[string]any }
		require.NoError(t, dec.Decode(&theirs), name)
		s, err := Parse(bytes.NewReader(raw), Options{})
		require.NoError(t, err)
		for field, want := range theirs.Values {
			total++
			got := ourValue(s.Parts[0].Envelope, field)
			if w, ok := want.(string); ok {
				want = strings.Join(strings.Fields(w), " ") // Python keeps the folding
			}
			want, _ := json.Marshal(want)
			ours, _ := json.Marshal(got)
			_, known := pythonReadsOtherwise[name+" "+field]
			switch same := string(want) == string(ours); {
			case same && !known:
				equal++
			case same == known:
				t.Errorf("%s %s: ours %s, Python's %s, in the list of differences: %v", name, field, ours, want, known)
			}
		}
	})
	t.Logf("%d values: %d equal, %d different for a known reason", total, equal, total-equal)
}

// ourValue reads a field as values() of oracle.py does.
func ourValue(e *Envelope, field string) any {
	v, _ := e.Lookup(field)
	switch field {
	case "subject":
		return strings.Join(strings.Fields(DecodeText(v)), " ")
	case "date":
		if d, err := ParseDate(v); err == nil {
			return d.Unix()
		}
		return nil
	}
	as, _ := ParseAddresses(v)
	addrs := []string{}
	for a := range as.Mailboxes() {
		if a.Addr() != "" {
			addrs = append(addrs, a.Addr())
		}
	}
	return addrs
}

// pythonReadsOtherwise lists values that Python's email package reads in another way, and why ours is right.
var pythonReadsOtherwise = map[string]string{
	"flanker/messages/disposition-notification.eml date":                                                                  "a comment before the zone: Python drops the zone",
	"flanker/messages/mailformed-headers.eml subject":                                                                     "raw 8-bit octets: windows-1252 here, replacement characters there",
	"flanker/messages/mailformed-headers.eml to":                                                                          "raw 8-bit octets, as they are here",
	"nodemailer-mailparser/nodemailer.eml subject":                                                                        "a space between an encoded word and text is shown (RFC 2047 section 6.2), which Python drops",
	"reports-parsedmarc/aggregate/Report domain- borschow.com Submitter- google.com Report-ID- 949348866075514174.eml to": "parameters in an address list: no address here",
}

// pythonDiffers lists the messages that Python's email package reads in another way, and why ours is right.
var pythonDiffers = map[string]string{
	"cpython-email/msg_15.txt":                           "one boundary for two levels: the innermost multipart owns it here, the outermost there; every part is found either way",
	"cpython-email/msg_39.txt":                           "one boundary for two levels, as in msg_15",
	"cpython-email/msg_37.txt":                           "delimiter lines in a row: an empty part each here, passed over there",
	"enmime/low-quality/bad-header-wrap.raw":             "a badly wrapped Content-Type: the header goes on here, so that the attachment is decoded",
	"enmime/mail/epilogue-sample.raw":                    "text after the base64 padding: decoded as far as it goes here, dropped there",
	"enmime/mail/mime-bad-content-transfer-encoding.raw": "plain text labelled base64: decoded as far as it goes here, given back undecoded there",
	"enmime/mail/mime-bad-content-type.raw":              "a missing semicolon: Python makes the parameter a part of the type",
	"enmime/mail/mime-blank-media-name.raw":              "a missing semicolon, as in mime-bad-content-type",
	"enmime/parts/ctype-invalid-characters.raw":          "text/plain>: no token, so text/plain (RFC 2045 section 5.2)",
	"enmime/parts/extra-base64-character.raw":            "base64 with a character too many: decoded here, given back undecoded there",
	"flanker/messages/enclosed-broken-body.eml":          "base64 with junk inside: decoded without the junk here, given back undecoded there",
	"mail-parser/rfc/008.eml":                            "message/rfc822 in base64, which RFC 2046 section 5.2.1 forbids: a leaf here; there its encoded text is parsed as a message",
}

func partDiff(ours, theirs []oraclePart) string {
	var b strings.Builder
	for i := range max(len(ours), len(theirs)) {
		var a, c string
		if i < len(ours) {
			a = fmt.Sprintf("%s %s %.8s", ours[i].Type, ours[i].Kind, ours[i].SHA256)
		}
		if i < len(theirs) {
			c = fmt.Sprintf("%s %s %.8s", theirs[i].Type, theirs[i].Kind, theirs[i].SHA256)
		}
		mark := "  "
		if a != c {
			mark = "! "
		}
		fmt.Fprintf(&b, "\n\t%s%-50s | %s", mark, a, c)
	}
	return b.String()
}

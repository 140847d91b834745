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

// TestOraclePython compares every message of the corpora with Python's email package: the tree, the types, and the decoded bodies.
func TestOraclePython(t *testing.T) {
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
	equal := 0
	for _, name := range names {
		var theirs struct{ Parts []oraclePart }
		require.NoError(t, dec.Decode(&theirs), name)
		raw, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		require.NoError(t, err)
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
	}
	t.Logf("%d messages: %d equal, %d different for a known reason", len(names), equal, len(names)-equal)
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

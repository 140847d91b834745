package imap_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// proofs names for each capability the dialogue that proves it, and what in it does.
var proofs = map[string][2]string{
	"IMAP4rev1":             {"select.txt", "RECENT"},
	"IMAP4rev2":             {"enable-id.txt", "ENABLE IMAP4rev2"},
	"SASL-IR":               {"login.txt", "AUTHENTICATE PLAIN AGFs"},
	"ENABLE":                {"enable-id.txt", "ENABLE"},
	"ID":                    {"enable-id.txt", "ID NIL"},
	"LANGUAGE":              {"language.txt", "LANGUAGE de en-GB"},
	"LITERAL-":              {"login.txt", "LOGIN bob {11+}"},
	"LITERAL+":              {"append.txt", "{12+}"},
	"STARTTLS":              {"starttls.txt", "STARTTLS"},
	"LOGINDISABLED":         {"starttls.txt", "PRIVACYREQUIRED"},
	"AUTH=PLAIN":            {"login.txt", "AUTHENTICATE PLAIN"},
	"AUTH=LOGIN":            {"login.txt", "AUTHENTICATE LOGIN"},
	"IDLE":                  {"idle.txt", "idling"},
	"NAMESPACE":             {"folders.txt", "NAMESPACE"},
	"UNSELECT":              {"select.txt", "UNSELECT"},
	"UIDPLUS":               {"copy-move.txt", "COPYUID"},
	"MOVE":                  {"copy-move.txt", "MOVE"},
	"CHILDREN":              {"folders.txt", "HasChildren"},
	"LIST-EXTENDED":         {"folders.txt", "RECURSIVEMATCH"},
	"LIST-STATUS":           {"folders.txt", "RETURN (STATUS"},
	"SPECIAL-USE":           {"folders.txt", "(SPECIAL-USE)"},
	"CREATE-SPECIAL-USE":    {"special-use.txt", "USE ("},
	"STATUS=SIZE":           {"status.txt", "SIZE 38"},
	"MULTIAPPEND":           {"append.txt", "3:5"},
	"CATENATE":              {"catenate.txt", "CATENATE (URL"},
	"BINARY":                {"binary.txt", "BINARY.PEEK"},
	"CONDSTORE":             {"condstore.txt", "UNCHANGEDSINCE"},
	"QRESYNC":               {"qresync.txt", "VANISHED (EARLIER)"},
	"UTF8=ACCEPT":           {"utf8.txt", "ENABLE UTF8=ACCEPT"},
	"ESEARCH":               {"esearch.txt", "ESEARCH"},
	"SEARCHRES":             {"esearch.txt", "RETURN (SAVE)"},
	"WITHIN":                {"search.txt", "YOUNGER"},
	"SAVEDATE":              {"search.txt", "SAVEDSINCE"},
	"PARTIAL":               {"esearch.txt", "PARTIAL"},
	"SORT":                  {"sort-thread.txt", "SORT (SUBJECT)"},
	"SORT=DISPLAY":          {"sort-thread.txt", "DISPLAYFROM"},
	"THREAD=ORDEREDSUBJECT": {"sort-thread.txt", "THREAD ORDEREDSUBJECT"},
	"THREAD=REFERENCES":     {"sort-thread.txt", "THREAD REFERENCES"},
	"QUOTA":                 {"quota.txt", "GETQUOTAROOT"},
	"QUOTA=RES-STORAGE":     {"quota.txt", "STORAGE 1 1"},
	"QUOTA=RES-MESSAGE":     {"quota.txt", "MESSAGE 3"},
	"METADATA":              {"metadata.txt", "SETMETADATA"},
	"NOTIFY":                {"notify.txt", "NOTIFY SET"},
	"CONTEXT=SEARCH":        {"context.txt", "RETURN (UPDATE"},
	"CONTEXT=SORT":          {"context-sort.txt", "SORT RETURN (UPDATE"},
	"MULTISEARCH":           {"multisearch.txt", "ESEARCH IN (mailboxes"},
	"ESORT":                 {"esort.txt", "SORT RETURN (MIN MAX"},
	"UIDONLY":               {"uidonly.txt", "ENABLE UIDONLY"},
	"LIST-METADATA":         {"metadata.txt", "RETURN (METADATA"},
	"OBJECTID":              {"objectid.txt", "EMAILID (M"},
	"JMAPACCESS":            {"jmapaccess.txt", "JMAPACCESS"},
	"PREVIEW":               {"preview.txt", "PREVIEW (LAZY)"},
	"REPLACE":               {"replace.txt", "UID REPLACE"},
	"UNAUTHENTICATE":        {"unauthenticate.txt", "UNAUTHENTICATE"},
	"INPROGRESS":            {"inprogress.txt", "INPROGRESS"},
	"COMPRESS=DEFLATE":      {"compress.txt", "COMPRESS DEFLATE"},
	"APPENDLIMIT":           {"append.txt", "TOOBIG"},
	"SAVELIMIT":             {"savelimit.txt", "MESSAGELIMIT 2"},
	"ACL":                   {"acl.txt", "GETACL"},
	"RIGHTS=texk":           {"acl.txt", "lrswipkxtea"},
	"LIST-MYRIGHTS":         {"acl-shared.txt", "RETURN (MYRIGHTS)"},
}

// What is advertised has a dialogue that proves it, and nothing else is advertised.
func TestCapabilitiesAreProved(t *testing.T) {
	f := newFixture(t)
	f.setting(t, "tls", "yes")
	f.setting(t, "sharing", "yes")
	f.setting(t, "savelimit", "1000")
	f.setting(t, "jmap", "https://mx.test/.well-known/jmap")
	addr := f.start(t)
	advertised := map[string]bool{"LOGINDISABLED": true} // on connections without TLS from elsewhere
	for _, c := range []*client{dial(t, addr), login(t, addr)} {
		line := strings.Join(c.ok("CAPABILITY"), "")
		for _, name := range strings.Fields(line)[2:] {
			if what, _, _ := strings.Cut(name, "="); what == "APPENDLIMIT" || what == "SAVELIMIT" {
				name = what
			}
			advertised[name] = true
		}
	}
	for name := range advertised {
		require.Contains(t, proofs, name)
	}
	for name, proof := range proofs {
		require.True(t, advertised[name], "%s is not advertised", name)
		text, err := os.ReadFile("testdata/" + proof[0])
		require.NoError(t, err)
		require.Regexp(t, regexp.QuoteMeta(proof[1]), string(text), name)
	}
}

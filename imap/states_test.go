package imap_test

import (
	"crypto/tls"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/internal/selfsigned"
)

// states a session can be in, and how it gets there.
func sessionStates() map[string][]string {
	return map[string][]string{
		"before": {"NOOP"}, // whoever begins with nonsense is no client at all (S14)
		"in":     {"LOGIN alice secret"},
		"select": {"LOGIN alice secret", "SELECT INBOX"},
		"ronly":  {"LOGIN alice secret", "EXAMINE INBOX"},
	}
}

// stateRow is a command with what comes of it before login, after it, with a mailbox selected, and with one selected for reading only.
type stateRow struct {
	command                    string
	before, in, selects, ronly string
}

// Every command in every state: BAD where it is illegal, OK or NO where it is legal (RFC 9051 §3, §6).
func stateTable() []stateRow {
	const ok, no, bad = "OK", "NO", "BAD"
	return []stateRow{
		{"CAPABILITY", ok, ok, ok, ok},
		{"NOOP", ok, ok, ok, ok},
		{"ID NIL", ok, ok, ok, ok},
		{"LANGUAGE", ok, ok, ok, ok},
		{"GETJMAPACCESS", bad, no, no, no},
		{"LOGOUT", ok, ok, ok, ok},
		{"STARTTLS", ok, bad, bad, bad},
		{"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==", ok, bad, bad, bad},
		{"LOGIN alice secret", ok, bad, bad, bad},
		{"COMPRESS DEFLATE", bad, ok, ok, ok},
		{"ENABLE CONDSTORE", bad, ok, ok, ok},
		{"SELECT INBOX", bad, ok, ok, ok},
		{"EXAMINE INBOX", bad, ok, ok, ok},
		{"CREATE New", bad, ok, ok, ok},
		{"DELETE Work", bad, ok, ok, ok},
		{"RENAME Work Play", bad, ok, ok, ok},
		{"SUBSCRIBE Work", bad, ok, ok, ok},
		{"UNSUBSCRIBE Work", bad, ok, ok, ok},
		{`LIST "" *`, bad, ok, ok, ok},
		{`LSUB "" *`, bad, ok, ok, ok},
		{"UNAUTHENTICATE", bad, ok, ok, ok},
		{"NAMESPACE", bad, ok, ok, ok},
		{"STATUS INBOX (MESSAGES)", bad, ok, ok, ok},
		{"APPEND INBOX {3+}\r\nabc", bad, ok, ok, ok},
		{`GETQUOTA ""`, bad, ok, ok, ok},
		{"GETQUOTAROOT INBOX", bad, ok, ok, ok},
		{`SETQUOTA "" (STORAGE 5)`, bad, no, no, no},
		{"GETMETADATA INBOX /private/comment", bad, ok, ok, ok},
		{`SETMETADATA INBOX (/private/comment "x")`, bad, ok, ok, ok},
		{"SETACL Work bob lr", bad, ok, ok, ok},
		{"DELETEACL Work bob", bad, ok, ok, ok},
		{"GETACL INBOX", bad, ok, ok, ok},
		{"LISTRIGHTS INBOX bob", bad, ok, ok, ok},
		{"MYRIGHTS INBOX", bad, ok, ok, ok},
		{"IDLE\r\nDONE", bad, ok, ok, ok},
		{"NOTIFY SET (personal (MessageNew MessageExpunge))", bad, ok, ok, ok},
		{"ESEARCH ALL", bad, bad, ok, ok},
		{"ESEARCH IN (personal) ALL", bad, ok, ok, ok},
		{`CANCELUPDATE "x"`, bad, bad, ok, ok},
		{"CHECK", bad, bad, ok, ok},
		{"CLOSE", bad, bad, ok, ok},
		{"UNSELECT", bad, bad, ok, ok},
		{"EXPUNGE", bad, bad, ok, no},
		{"UID EXPUNGE 1", bad, bad, ok, no},
		{"FETCH 1 FLAGS", bad, bad, ok, ok},
		{"UID FETCH 1 FLAGS", bad, bad, ok, ok},
		{"SEARCH ALL", bad, bad, ok, ok},
		{"UID SEARCH ALL", bad, bad, ok, ok},
		{"SORT (DATE) UTF-8 ALL", bad, bad, ok, ok},
		{"UID SORT (DATE) UTF-8 ALL", bad, bad, ok, ok},
		{"THREAD REFERENCES UTF-8 ALL", bad, bad, ok, ok},
		{"UID THREAD REFERENCES UTF-8 ALL", bad, bad, ok, ok},
		{`STORE 1 +FLAGS (\Seen)`, bad, bad, ok, no},
		{`UID STORE 1 +FLAGS (\Seen)`, bad, bad, ok, no},
		{"REPLACE 1 INBOX {3+}\r\nabc", bad, bad, ok, no},
		{"UID REPLACE 1 INBOX {3+}\r\nabc", bad, bad, ok, no},
		{"COPY 1 Work", bad, bad, ok, ok},
		{"UID COPY 1 Work", bad, bad, ok, ok},
		{"MOVE 1 Work", bad, bad, ok, no},
		{"UID MOVE 1 Work", bad, bad, ok, no},
		{"NONSENSE", bad, bad, bad, bad},
		{"UID NONSENSE 1", bad, bad, bad, bad},
		{"XLIST \"\" *", bad, bad, bad, bad},
	}
}

// stateFixture has a folder more than INBOX, somebody to share it with, and TLS to offer.
func stateFixture(t *testing.T) *fixture {
	f := newFixture(t)
	cert, err := selfsigned.Load(filepath.Join(t.TempDir(), "cert.pem"), "localhost")
	require.NoError(t, err)
	f.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	f.users.passwords["bob"] = "bobsecret"
	f.share("")
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "Work", plainMail)
	return f
}

func TestCommandsInEveryState(t *testing.T) {
	for _, row := range stateTable() {
		for name, want := range map[string]string{"before": row.before, "in": row.in, "select": row.selects, "ronly": row.ronly} {
			c := dial(t, stateFixture(t).start(t))
			for _, command := range sessionStates()[name] {
				c.ok(command)
			}
			untagged, tagged := c.do(row.command)
			require.Regexp(t, "^"+want+`\b`, tagged, "%s: %s", name, row.command)
			if want == "BAD" {
				require.Empty(t, untagged, "%s: %s", name, row.command)
			}
			if want == "BAD" || row.command == "NOOP" { // what is refused changes nothing
				c.ok("NOOP")
				_, fetch := c.do("FETCH 1 UID")
				require.Equal(t, name == "select" || name == "ronly", strings.HasPrefix(fetch, "OK"), "%s: %s", name, row.command)
			}
		}
	}
}

// The table above names every command that we have.
func TestStateTableIsWhole(t *testing.T) {
	listed := map[string]bool{}
	for _, row := range stateTable() {
		verb, rest, _ := strings.Cut(row.command, " ")
		if verb == "UID" {
			second, _, _ := strings.Cut(rest, " ")
			verb += " " + second
		}
		verb, _, _ = strings.Cut(verb, "\r\n")
		listed[verb] = true
	}
	for _, verb := range imap.CommandVerbs() {
		require.True(t, listed[verb], "%s is in no row", verb)
	}
}

// After LOGOUT nothing is answered: the connection is closed, whatever was sent behind it.
func TestNothingAfterLogout(t *testing.T) {
	for name, path := range sessionStates() {
		c := dial(t, stateFixture(t).start(t))
		for _, command := range path {
			c.ok(command)
		}
		_, err := io.WriteString(c, "x LOGOUT\r\ny NOOP\r\nz APPEND INBOX {3+}\r\nabc\r\n")
		require.NoError(t, err)
		rest, err := io.ReadAll(c.r)
		require.NoError(t, err, name)
		require.Equal(t, "* BYE goodbye\r\nx OK LOGOUT done\r\n", string(rest), name)
	}
}

// T06: before TLS no password is taken where that is not allowed, and none is offered; afterwards there is no second TLS.
func TestT06_StatesBeforeAndAfterTLS(t *testing.T) {
	f := stateFixture(t)
	f.AllowInsecureAuth = false
	c := dial(t, f.start(t))
	require.NotContains(t, strings.Join(c.ok("CAPABILITY"), ""), "AUTH=")
	require.Contains(t, strings.Join(c.ok("CAPABILITY"), ""), "LOGINDISABLED")
	for _, row := range stateTable() {
		if row.command == "LOGOUT" || row.command == "STARTTLS" {
			continue
		}
		want := row.before
		if strings.HasPrefix(row.command, "LOGIN") || strings.HasPrefix(row.command, "AUTH") {
			want = `NO \[PRIVACYREQUIRED\]`
		}
		_, tagged := c.do(row.command)
		require.Regexp(t, "^"+want, tagged, row.command)
		if want == "BAD" { // no more errors in a row than are allowed
			c.ok("NOOP")
		}
	}
	require.Zero(t, f.users.asked.Load())
	c.ok("STARTTLS")
	secure := newClient(t, tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true}))
	_, tagged := secure.do("STARTTLS")
	require.Regexp(t, "^BAD", tagged)
	require.Contains(t, strings.Join(secure.ok("CAPABILITY"), ""), "AUTH=PLAIN")
	require.NotContains(t, strings.Join(secure.ok("CAPABILITY"), ""), "STARTTLS")
	_, tagged = secure.do("SELECT INBOX")
	require.Regexp(t, "^BAD", tagged)
	secure.ok("LOGIN alice secret")
	secure.ok("SELECT INBOX")
	_, tagged = secure.do("STARTTLS")
	require.Regexp(t, "^BAD", tagged)
}

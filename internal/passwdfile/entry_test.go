package passwdfile

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]Entry{
		"alice":               {Name: "alice"},
		"alice:{PLAIN}secret": {Name: "alice", Password: "{PLAIN}secret"},
		"alice:x:1000:100:A. Lice:/home/a:/bin/sh": {Name: "alice", Password: "x", UID: "1000", GID: "100", GECOS: "A. Lice", Home: "/home/a", Shell: "/bin/sh"},
		"alice:x:1000:100::/home/a::userdb_quota_rule=*:storage=1G allow_nets=10.0.0.0/8": {
			Name: "alice", Password: "x", UID: "1000", GID: "100", Home: "/home/a",
			Extra: "userdb_quota_rule=*:storage=1G allow_nets=10.0.0.0/8",
		},
		"u@example.org::vmail:vmail::/srv/u":   {Name: "u@example.org", UID: "vmail", GID: "vmail", Home: "/srv/u"},
		"alice:x:1:1::/h:::maildir:/var/mail/": {Name: "alice", Password: "x", UID: "1", GID: "1", Home: "/h", Extra: "userdb_mail=maildir:/var/mail/"},
		"alice:x::::::":                        {Name: "alice", Password: "x"},
		"alice:x:::::::":                       {Name: "alice", Password: "x"},
		"ünï@exämple:x":                        {Name: "ünï@exämple", Password: "x"},
		"alice:x:0:4294967294":                 {Name: "alice", Password: "x", UID: "0", GID: "4294967294"},
		strings.Repeat("a", maxName) + ":x":    {Name: strings.Repeat("a", maxName), Password: "x"},
	} {
		e, ok, err := parse(line)
		require.NoError(t, err, line)
		require.True(t, ok)
		require.Equal(t, want, e, line)
	}
	for _, line := range []string{"", "#", "# alice:x", ":x", ":"} {
		_, ok, err := parse(line)
		require.NoError(t, err)
		require.False(t, ok, line)
	}
	for line, why := range map[string]error{
		"a\tb:x":                                errName,
		"a\xff:x":                               errName,
		"a\u0085:x":                             errName,
		strings.Repeat("a", maxName+1) + ":x":   errName,
		"a:x:4294967295":                        errID,
		"a:x:1:4294967296":                      errID,
		"a:x:1x":                                errID,
		"a:x:99999999999999999999999999999999:": errID,
	} {
		_, _, err := parse(line)
		require.ErrorIs(t, err, why, line)
	}
}

func TestFields(t *testing.T) {
	e := Entry{Extra: " a=1  b\tc==x a=2 "}
	require.Equal(t, map[string]string{"a": "2", "b": "yes", "c": "=x"}, maps.Collect(e.Fields()))
	v, ok := e.Field("a")
	require.True(t, ok)
	require.Equal(t, "1", v, "the first counts")
	_, ok = e.Field("d")
	require.False(t, ok)
	for range e.Fields() {
		break
	}
}

func TestLineRefuses(t *testing.T) {
	for _, e := range []Entry{
		{},
		{Name: "#a"},
		{Name: ":a"},
		{Name: "a:b"},
		{Name: "a\nb"},
		{Name: "a", Password: "x:y"},
		{Name: "a", Password: "x\r"},
		{Name: "a", Home: "/a:b"},
		{Name: "a", Extra: "k=v\nroot:x"},
		{Name: "a", Extra: ":x"},
		{Name: "a", Extra: "k\x00"},
		{Name: "a\tb"},
		{Name: "a", UID: "-1x:"},
		{Name: "a", UID: "9x"},
	} {
		_, err := e.Line()
		require.Error(t, err, "%+v", e)
	}
	line, err := (&Entry{Name: "a", Password: "x"}).Line()
	require.NoError(t, err)
	require.Equal(t, "a:x", line)
	line, err = (&Entry{Name: "a", Extra: "k=v:w"}).Line()
	require.NoError(t, err)
	require.Equal(t, "a:::::::k=v:w", line)
}

// FuzzEntry: what parses is written, and reads back as it was.
func FuzzEntry(f *testing.F) {
	f.Add("alice:{PLAIN}x:1:2:g:/h:/s:a=b c")
	f.Add("alice:x:1:1::/h:::maildir:/var/mail/")
	f.Add("#")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n\x00") {
			return
		}
		e, ok, err := parse(line)
		if err != nil || !ok {
			return
		}
		for range e.Fields() {
		}
		written, err := e.Line()
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		back, _, err := parse(written)
		if err != nil || back != e {
			t.Fatalf("%q became %q: %v", line, written, err)
		}
	})
}

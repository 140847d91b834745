package delivery_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/delivery"
	"github.com/goniec-mail/goniec/delivery/directorytest"
)

var content = directorytest.Content{
	Domains: []string{"demo.test", "xn--przykad-rjb.pl"},
	Users:   map[string]string{"alice@demo.test": "alice@demo.test", "bob@demo.test": "bob@demo.test", "alice+news@demo.test": "alice@demo.test"},
	Aliases: map[string][]string{"team@demo.test": {"alice@demo.test", "carol@elsewhere.example"}, "any@xn--przykad-rjb.pl": {"bob@demo.test"}},
	Details: map[string]string{"bob+a+b@demo.test": "a+b"},
	Absent:  []string{"nobody@demo.test", "+x@demo.test", "alice-x@demo.test"},
	Foreign: []string{"elsewhere.example", "demo.test.elsewhere.example", "test"},
}

func newTable(t testing.TB) *delivery.Table {
	d := &delivery.Table{Delimiter: "+"}
	require.NoError(t, d.AddDomain("Demo.Test", delivery.ClassMailbox))
	require.NoError(t, d.AddDomain("przykład.pl", delivery.ClassAlias))
	require.NoError(t, d.AddUser("Alice@demo.test", "", nil))
	require.NoError(t, d.AddUser("bob@demo.test", "", map[string]string{"quota_rule": "*:bytes=1000"}))
	require.NoError(t, d.AddAlias("team@demo.test", "alice@demo.test", "carol@elsewhere.example"))
	require.NoError(t, d.AddAlias("@PRZYKŁAD.pl", "bob@demo.test"))
	return d
}

func TestTable(t *testing.T) {
	d := newTable(t)
	directorytest.Test(t, d, content)
	e, err := d.Lookup(t.Context(), goniec.MustAddress("bob@demo.test"))
	require.NoError(t, err)
	require.Equal(t, "*:bytes=1000", e.Attributes["quota_rule"])
	require.Error(t, d.AddDomain("not a domain", delivery.ClassMailbox))
	require.Error(t, d.AddUser("nothing", "", nil))
	require.Error(t, d.AddAlias("x@demo.test", "nothing"))
	require.Error(t, d.AddAlias("nothing", "x@demo.test"))
}

func writeFile(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestFiles(t *testing.T) {
	d, err := delivery.OpenFiles(delivery.FilesConfig{
		Domains:   []string{"demo.test", "przykład.pl"},
		Users:     writeFile(t, "users", "# people\nAlice:{PLAIN}a\nbob@demo.test:{PLAIN}b:1000:1000::/home/bob::userdb_quota_rule=*:bytes=1000\n"),
		Aliases:   writeFile(t, "aliases", "# who\nteam@demo.test: alice@demo.test,\n carol@elsewhere.example\n@przykład.pl: bob@demo.test\n"),
		Delimiter: "+",
	})
	require.NoError(t, err)
	directorytest.Test(t, d, content)
	e, err := d.Lookup(t.Context(), goniec.MustAddress("bob@demo.test"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"quota_rule": "*:bytes=1000", "home": "/home/bob", "uid": "1000", "gid": "1000"}, e.Attributes)
}

func TestFilesErrorsSayWhere(t *testing.T) {
	users := writeFile(t, "users", "alice:{PLAIN}a\n")
	bad := writeFile(t, "aliases", "a@demo.test: b@demo.test\n\nbroken line\n")
	_, err := delivery.OpenFiles(delivery.FilesConfig{Domains: []string{"demo.test"}, Users: users, Aliases: bad})
	require.EqualError(t, err, bad+`:3: no ":" between the address and its targets in "broken line"`)
	bad = writeFile(t, "aliases", "a@demo.test:\n")
	_, err = delivery.OpenFiles(delivery.FilesConfig{Domains: []string{"demo.test"}, Users: users, Aliases: bad})
	require.ErrorContains(t, err, bad+":1: alias \"a@demo.test\" has no target")
	_, err = delivery.OpenFiles(delivery.FilesConfig{Domains: []string{"demo.test"}, Users: "/nonexistent/users"})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = delivery.OpenFiles(delivery.FilesConfig{Users: users})
	require.ErrorContains(t, err, "name at least one")
}

// Names without domain are those of the first domain, in every file, and so is <postmaster> (RFC 5321 §4.5.1).
func TestFilesCompleteNames(t *testing.T) {
	d, err := delivery.OpenFiles(delivery.FilesConfig{
		Domains: []string{"demo.test", "other.test"},
		Users:   writeFile(t, "users", "alice:{PLAIN}a\n"),
		Aliases: writeFile(t, "aliases", "postmaster: root\nroot: Alice, x@elsewhere.example\n"),
	})
	require.NoError(t, err)
	for _, name := range []string{"postmaster", "Postmaster@demo.test"} {
		e, err := d.Lookup(t.Context(), goniec.MustAddress(name))
		require.NoError(t, err, name)
		require.Equal(t, []goniec.Address{goniec.MustAddress("root@demo.test")}, e.Targets)
	}
	e, err := d.Lookup(t.Context(), goniec.MustAddress("root@demo.test"))
	require.NoError(t, err)
	require.Equal(t, []goniec.Address{goniec.MustAddress("Alice@demo.test"), goniec.MustAddress("x@elsewhere.example")}, e.Targets)
	for _, name := range []string{"root@other.test", "postmaster@other.test"} {
		_, err = d.Lookup(t.Context(), goniec.MustAddress(name))
		require.ErrorIs(t, err, delivery.ErrNotFound)
	}
}

// A domain has one class, whatever the order in which the lists are read.
func TestFilesDomainInBothLists(t *testing.T) {
	for _, relay := range []string{"demo.test", "DEMO.test"} {
		_, err := delivery.OpenFiles(delivery.FilesConfig{
			Domains: []string{"demo.test"}, RelayDomains: []string{"x.test", relay}, Users: writeFile(t, "users", "alice:{PLAIN}a\n"),
		})
		require.ErrorContains(t, err, "both in Domains and in RelayDomains")
	}
}

// Both drivers, and both ways to combine an alias with a mailbox of the same name.
func TestAliasBesideMailbox(t *testing.T) {
	d, err := delivery.OpenFiles(delivery.FilesConfig{
		Domains: []string{"demo.test"},
		Users:   writeFile(t, "users", "alice:{PLAIN}a\nbob:{PLAIN}b\n"),
		Aliases: writeFile(t, "aliases", "alice@demo.test: bob@demo.test\nbob@demo.test: bob@demo.test, x@elsewhere.example\n"),
	})
	require.NoError(t, err)
	e, err := d.Lookup(t.Context(), goniec.MustAddress("alice@demo.test"))
	require.NoError(t, err)
	require.Empty(t, e.User, "the alias replaces the mailbox")
	e, err = d.Lookup(t.Context(), goniec.MustAddress("bob@demo.test"))
	require.NoError(t, err)
	require.Equal(t, "bob@demo.test", e.User, "an alias that names itself keeps a copy")
}

func ExampleResolve() {
	users := map[string]string{"alice@demo.test": "alice", "@demo.test": "rest"}
	find := func(_ context.Context, local, domain string) (delivery.Entry, error) {
		user, ok := users[local+"@"+domain]
		if !ok {
			return delivery.Entry{}, delivery.ErrNotFound
		}
		return delivery.Entry{User: user}, nil
	}
	for _, a := range []string{"Alice+news@demo.test", "x@demo.test", "x@other.test"} {
		e, err := delivery.Resolve(context.Background(), goniec.MustAddress(a), "+", find)
		fmt.Println(a, e.User, e.Detail, err)
	}
	// Output:
	// Alice+news@demo.test alice news <nil>
	// x@demo.test rest  <nil>
	// x@other.test   not found in the directory
}

package directorytest_test

import (
	"testing"

	"github.com/goniec-mail/goniec/delivery"
	"github.com/goniec-mail/goniec/delivery/directorytest"
)

func newTable(t testing.TB) *delivery.Table {
	d := &delivery.Table{}
	for _, err := range []error{
		d.AddDomain("example.org", delivery.ClassMailbox),
		d.AddUser("alice@example.org", "", nil),
		d.AddAlias("team@example.org", "alice@example.org", "bob@example.net"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

var content = directorytest.Content{
	Domains: []string{"example.org"},
	Users:   map[string]string{"alice@example.org": "alice@example.org"},
	Aliases: map[string][]string{"team@example.org": {"alice@example.org", "bob@example.net"}},
	Absent:  []string{"nobody@example.org"},
	Foreign: []string{"example.com"},
}

func TestSuite(t *testing.T) { directorytest.Test(t, newTable(t), content) }

// A driver's own test calls the suite with what its test data hold.
func Example() {
	var t *testing.T // of the test function
	conformance := func() { directorytest.Test(t, newTable(t), content) }
	_ = conformance
	// Output:
}

package directorytest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/delivery"
)

// Content is what the directory under test holds, and what it does not. All domains are given in
// lower case.
type Content struct {
	Domains []string            // ours
	Users   map[string]string   // address → account
	Aliases map[string][]string // address → targets, of addresses without a mailbox of their own
	Details map[string]string   // address with extension → the extension; empty if none are split off
	Absent  []string            // addresses in our domains that nobody has
	Foreign []string            // domains that are not ours
}

// Test checks every promise of the Directory interface against d.
func Test(t *testing.T, d delivery.Directory, c Content) {
	t.Helper()
	t.Run("domains", func(t *testing.T) { testDomains(t, d, c) })
	t.Run("users", func(t *testing.T) { testUsers(t, d, c) })
	t.Run("aliases", func(t *testing.T) { testAliases(t, d, c) })
	t.Run("details", func(t *testing.T) { testDetails(t, d, c) })
	t.Run("absent", func(t *testing.T) { testAbsent(t, d, c) })
	t.Run("opaque", func(t *testing.T) { testOpaque(t, d, c) })
	t.Run("concurrent", func(t *testing.T) { testConcurrent(t, d, c) })
}

func testDomains(t *testing.T, d delivery.Directory, c Content) {
	for _, name := range c.Domains {
		got, err := d.Domain(t.Context(), name)
		if err != nil || got.Class < delivery.ClassMailbox || got.Class > delivery.ClassRelay {
			t.Errorf("Domain(%q) = %+v, %v; want a class", name, got, err)
		}
	}
	for _, name := range append(c.Foreign, "", "[127.0.0.1]") {
		if got, err := d.Domain(t.Context(), name); !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("Domain(%q) = %+v, %v; want ErrNotFound", name, got, err)
		}
	}
}

func testUsers(t *testing.T, d delivery.Directory, c Content) {
	for addr, user := range c.Users {
		for _, spelling := range []string{addr, strings.ToUpper(addr)} {
			e, err := lookup(t, d, spelling)
			if err != nil || e.User != user {
				t.Errorf("Lookup(%s) = %+v, %v; want user %q", spelling, e, err, user)
			}
			if err == nil && e.Why == "" {
				t.Errorf("Lookup(%s) does not say why", spelling)
			}
		}
	}
}

func testAliases(t *testing.T, d delivery.Directory, c Content) {
	for addr, want := range c.Aliases {
		e, err := lookup(t, d, addr)
		if err != nil || e.User != "" || len(e.Targets) != len(want) {
			t.Errorf("Lookup(%s) = %+v, %v; want targets %v", addr, e, err, want)
			continue
		}
		for i, target := range e.Targets {
			if target.String() != want[i] {
				t.Errorf("Lookup(%s): target %d is %s, want %s", addr, i, target, want[i])
			}
		}
	}
}

func testDetails(t *testing.T, d delivery.Directory, c Content) {
	for addr, detail := range c.Details {
		e, err := lookup(t, d, addr)
		if err != nil || e.Detail != detail || e.User == "" && len(e.Targets) == 0 {
			t.Errorf("Lookup(%s) = %+v, %v; want detail %q", addr, e, err, detail)
		}
	}
}

func testAbsent(t *testing.T, d delivery.Directory, c Content) {
	for _, addr := range c.Absent {
		if e, err := lookup(t, d, addr); !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("Lookup(%s) = %+v, %v; want ErrNotFound", addr, e, err)
		}
	}
}

// testOpaque asks for names that would mean something if they became part of a query, a path or a
// pattern (safety case A06). Nobody has them.
func testOpaque(t *testing.T, d delivery.Directory, c Content) {
	for _, local := range []string{
		"*", "*)(uid=*", "' OR 1=1--", "%", "_", "%u", "../x", "..", ".", "/etc/passwd", "a:b", "a b", "$(id)", "`id`", "|cmd", strings.Repeat("x", 64), "{local}", "@",
	} {
		for _, domain := range c.Domains {
			addr, err := goniec.NewAddress(local, domain)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := d.Lookup(t.Context(), addr); err == nil && e.User != "" && !known(c, e.User) {
				t.Errorf("Lookup(%s) = %+v: no such user was put in", addr, e)
			}
		}
	}
}

func known(c Content, user string) bool {
	for _, u := range c.Users {
		if u == user {
			return true
		}
	}
	return false
}

func testConcurrent(t *testing.T, d delivery.Directory, c Content) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for addr, user := range c.Users {
				if e, err := d.Lookup(context.Background(), goniec.MustAddress(addr)); err != nil || e.User != user {
					t.Errorf("concurrent Lookup(%s) = %+v, %v", addr, e, err)
				}
			}
		})
	}
	wg.Wait()
}

func lookup(t *testing.T, d delivery.Directory, addr string) (delivery.Entry, error) {
	t.Helper()
	a, err := goniec.ParseAddress(addr)
	if err != nil {
		t.Fatal(err)
	}
	return d.Lookup(t.Context(), a)
}

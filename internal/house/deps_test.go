package house

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// thirdParty are the packages of other modules that importing p links; their internal ones are their own business.
func thirdParty(all map[string]*pkg, p *pkg) []string {
	lines := []string{}
	for _, dep := range p.Deps {
		d := all[dep]
		if d == nil || d.Standard || dep == module || strings.HasPrefix(dep, module+"/") || strings.Contains(dep, "/internal/") || strings.HasSuffix(dep, "/internal") {
			continue
		}
		lines = append(lines, dep)
	}
	slices.Sort(lines)
	return lines
}

// TestThirdPartyPackages: what a public package links changes on purpose only.
func TestThirdPartyPackages(t *testing.T) {
	packages := publicPackages(t)
	all, err := listed()
	require.NoError(t, err)
	for _, p := range packages {
		checkGolden(t, "deps", p.golden(), thirdParty(all, p))
	}
	checkNoStale(t, "deps", packages)
}

// heavy packages and the only ones that may link them, whatever the golden lists say: a ten-line receiver links neither a
// DNS library nor a password hash.
var heavy = map[string][]string{
	"github.com/miekg/dns":        {"dnsmx/dnsclient", "dnsmx/dnsmxtest"},
	"golang.org/x/crypto/argon2":  {"auth/passwd"},
	"golang.org/x/crypto/bcrypt":  {"auth/passwd"},
	"github.com/go-crypt/":        {"auth/passwd"},
	"github.com/xdg-go/":          {"auth/passwd", "auth/scram"}, // SASLprep
	"github.com/stretchr/testify": {"mailbox/mailboxtest", "queue/queuetest", "delivery/directorytest", "auth/authtest"},
}

func TestHeavyPackagesStayWhereTheyAre(t *testing.T) {
	packages := publicPackages(t)
	all, err := listed()
	require.NoError(t, err)
	for _, p := range packages {
		for _, dep := range thirdParty(all, p) {
			for prefix, where := range heavy {
				if strings.HasPrefix(dep, prefix) && !slices.Contains(where, p.rel()) {
					t.Errorf("%s links %s", p.ImportPath, dep)
				}
			}
		}
	}
}

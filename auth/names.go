package auth

import (
	"context"
	"strings"

	"golang.org/x/text/secure/precis"

	"github.com/goniec-mail/goniec"
)

// FoldName returns the form of a user name in which names are compared: the part before the last "@"
// with its case mapped by PRECIS (RFC 8265 §3.3, UsernameCaseMapped), the domain behind it as a lower-case
// A-label. The error is ErrCredentials, for a name that has no such form.
func FoldName(name string) (string, error) {
	if simple(name) {
		return name, nil
	}
	local, domain := name, ""
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, domain = name[:i], name[i:]
	}
	folded, err := precis.UsernameCaseMapped.String(local)
	if err != nil || folded == "" {
		return "", refuse("user name has no PRECIS form: %v", err)
	}
	if domain == "" {
		return folded, nil
	}
	a, err := goniec.NewAddress("x", domain[1:])
	if err != nil {
		return "", refuse("domain of user name: %w", err)
	}
	return folded + "@" + a.ASCIIDomain(), nil
}

// simple reports whether a name is already folded, as most are: visible ASCII without capitals.
func simple(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return name != ""
}

// Names brings the names that clients send into one form before a table is asked. Each listener
// may have its own: Names{DefaultDomain: "example.org"}.Wrap(table). The zero value folds only.
type Names struct {
	// DefaultDomain is added to names without a domain. Empty: they stay so.
	DefaultDomain string

	// Separators are characters that may stand for "@" in a name without one, as in "user!domain" or
	// "user%domain". Empty: none.
	Separators string

	// Exact keeps names octet by octet instead of folding them with FoldName.
	Exact bool
}

// Canonical returns a name in its final form. The error is ErrCredentials.
func (n Names) Canonical(name string) (string, error) {
	if !strings.Contains(name, "@") {
		if i := strings.LastIndexAny(name, n.Separators); i > 0 && i < len(name)-1 {
			name = name[:i] + "@" + name[i+1:]
		}
	}
	if n.DefaultDomain != "" && !strings.Contains(name, "@") {
		name += "@" + n.DefaultDomain
	}
	if n.Exact {
		return name, nil
	}
	return FoldName(name)
}

// Wrap returns an Authenticator that asks a with canonical names.
func (n Names) Wrap(a Authenticator) Authenticator {
	return Intercept(a, func(ctx context.Context, _ Op, at *Attempt, next func(context.Context, *Attempt) error) error {
		c := *at
		for _, name := range [...]*string{&c.User, &c.AuthzID} {
			if *name == "" { // an empty AuthzID; an empty User where a token tells who it is
				continue
			}
			canonical, err := n.Canonical(*name)
			if err != nil {
				return err
			}
			*name = canonical
		}
		return next(ctx, &c)
	})
}

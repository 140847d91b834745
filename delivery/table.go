package delivery

import (
	"context"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec"
)

// Table is a Directory in memory. Fill it with AddDomain, AddUser and AddAlias before use; it is
// safe for concurrent use when nobody changes it any more.
type Table struct {
	// Delimiter splits address extensions off: "+" lets user+tag be user. "" means that there are
	// none; each character of it counts.
	Delimiter string

	domains map[string]Domain
	entries map[string]Entry // key: folded local part "@" ASCII domain; "@domain" is the catch-all
}

// AddDomain makes a domain ours.
func (t *Table) AddDomain(name string, class Class) error {
	a, err := goniec.NewAddress("postmaster", name)
	if err != nil {
		return fmt.Errorf("domain %q: %w", name, err)
	}
	if t.domains == nil {
		t.domains = map[string]Domain{}
	}
	key := a.ASCIIDomain()
	t.domains[key] = Domain{Name: key, Class: class, Why: "domain " + key}
	return nil
}

// AddUser gives an address a mailbox: the account of that name, or of the address if user is "".
func (t *Table) AddUser(address, user string, attributes map[string]string) error {
	key, err := tableKey(address)
	if err != nil {
		return err
	}
	if user == "" {
		user = key
	}
	e := t.entries[key]
	e.User, e.Attributes, e.Why = user, attributes, "user "+key
	return t.add(key, e)
}

// AddAlias makes an address, or with "@domain" every other address of a domain, stand for targets.
func (t *Table) AddAlias(address string, targets ...string) error {
	key, err := tableKey(address)
	if err != nil {
		return err
	}
	e := t.entries[key]
	for _, target := range targets {
		a, err := goniec.ParseAddress(target)
		if err != nil {
			return fmt.Errorf("alias %s: %w", address, err)
		}
		e.Targets = append(e.Targets, a)
	}
	e.Why = "alias " + key
	return t.add(key, e)
}

func (t *Table) add(key string, e Entry) error {
	if t.entries == nil {
		t.entries = map[string]Entry{}
	}
	t.entries[key] = e
	return nil
}

// Domain implements Directory.
func (t *Table) Domain(_ context.Context, name string) (Domain, error) {
	d, ok := t.domains[name]
	if !ok {
		return Domain{}, ErrNotFound
	}
	return d, nil
}

// Lookup implements Directory.
func (t *Table) Lookup(ctx context.Context, addr goniec.Address) (Entry, error) {
	return Resolve(ctx, addr, t.Delimiter, func(_ context.Context, local, domain string) (Entry, error) {
		e, ok := t.entries[local+"@"+domain]
		if !ok {
			return Entry{}, ErrNotFound
		}
		return e, nil
	})
}

// tableKey is the key of an address, or of a catch-all "@domain".
func tableKey(address string) (string, error) {
	if domain, ok := strings.CutPrefix(address, "@"); ok {
		a, err := goniec.NewAddress("postmaster", domain)
		return "@" + a.ASCIIDomain(), err
	}
	a, err := goniec.ParseAddress(address)
	if err != nil {
		return "", err
	}
	return Fold(a.Local()) + "@" + a.ASCIIDomain(), nil
}

package passwd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/passwdfile"
)

var (
	// ErrExists says that a user to be added is there already.
	ErrExists = errors.New("passwd: user exists")
	// ErrUnknown says that a user to be changed or deleted is not there.
	ErrUnknown = errors.New("passwd: no such user")
	// ErrChanged says that a hash to be replaced is not what it was.
	ErrChanged = errors.New("passwd: password has changed meanwhile")
)

// User is a new line of a passwd-file, beside the password.
type User struct {
	Name     string
	UID, GID string            // "" for none
	Home     string            // "" for none
	Extra    map[string]string // further fields, as userdb_quota_rule; values without blanks
}

// Edits replace the file durably and as a whole; see the package comment. They copy it, so that each
// costs as much as reading and writing the file once.

// Add adds a user with a password, in the Hasher's scheme. The file is made if there is none. ErrExists
// if the user is there.
func (f *File) Add(ctx context.Context, u User, password auth.Secret) error {
	f.ready()
	stored, err := f.hasher.New(ctx, password)
	if err != nil {
		return err
	}
	name := u.Name
	if !f.ExactNames {
		if name, err = auth.FoldName(name); err != nil {
			return err
		}
	}
	entry := passwdfile.Entry{Name: name, Password: stored, UID: u.UID, GID: u.GID, Home: u.Home}
	var extra []string
	for _, key := range slices.Sorted(maps.Keys(u.Extra)) {
		value := u.Extra[key]
		if key == "" || strings.ContainsAny(key, "= \t\r\n") || strings.ContainsAny(value, " \t\r\n") {
			return fmt.Errorf("passwd: field %q: a key or value with a blank can not be written", key)
		}
		extra = append(extra, key+"="+value)
	}
	entry.Extra = strings.Join(extra, " ")
	return f.edit(ctx, name, func(old *passwdfile.Entry) (*passwdfile.Entry, error) {
		if old != nil {
			return nil, ErrExists
		}
		return &entry, nil
	})
}

// SetPassword gives a user another password, in the Hasher's scheme.
func (f *File) SetPassword(ctx context.Context, name string, password auth.Secret) error {
	f.ready()
	stored, err := f.hasher.New(ctx, password)
	if err != nil {
		return err
	}
	return f.edit(ctx, name, func(old *passwdfile.Entry) (*passwdfile.Entry, error) {
		if old == nil {
			return nil, ErrUnknown
		}
		old.Password = stored
		return old, nil
	})
}

// ReplaceHash replaces a stored hash by another one of the same password, for File.Upgrade. ErrChanged
// if the user has got another password meanwhile.
func (f *File) ReplaceHash(ctx context.Context, name, oldHash, newHash string) error {
	return f.edit(ctx, name, func(old *passwdfile.Entry) (*passwdfile.Entry, error) {
		switch {
		case old == nil:
			return nil, ErrUnknown
		case old.Password != oldHash:
			return nil, ErrChanged
		}
		old.Password = newHash
		return old, nil
	})
}

// Delete removes a user.
func (f *File) Delete(ctx context.Context, name string) error {
	return f.edit(ctx, name, func(old *passwdfile.Entry) (*passwdfile.Entry, error) {
		if old == nil {
			return nil, ErrUnknown
		}
		return nil, nil
	})
}

func (f *File) edit(ctx context.Context, name string, change passwdfile.Change) error {
	err := f.ready().Edit(ctx, map[string]passwdfile.Change{name: change})
	if err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	return nil
}

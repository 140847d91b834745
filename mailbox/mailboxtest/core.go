package mailboxtest

import (
	"context"

	"github.com/goniec-mail/goniec/mailbox"
)

// Core returns a Store that has none of the optional interfaces of s, nor have its accounts and
// folders: package functions must fall back.
func Core(s mailbox.Store) mailbox.Store { return coreStore{s} }

// The embedded interfaces promote the core methods only.
type (
	coreStore   struct{ mailbox.Store }
	coreAccount struct{ mailbox.Account }
	coreMailbox struct{ mailbox.Mailbox }
)

func (s coreStore) Account(ctx context.Context, user string) (mailbox.Account, error) {
	a, err := s.Store.Account(ctx, user)
	if err != nil {
		return nil, err
	}
	return coreAccount{a}, nil
}

func (a coreAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return coreMailbox{m}, nil
}

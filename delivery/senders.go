package delivery

import (
	"context"
	"errors"

	"github.com/goniec-mail/goniec"
)

// SenderOwners tells to whom an address belongs as a sender (RFC 6409 §6.1), for smtp.SenderLogin: to the user who gets its mail, with an
// extension ("alice+shop") and by a catch-all too, and to the user to whom an alias leads. An alias for several belongs to nobody, and so
// does an address of a domain that is not local.
//
//	smtp.SenderLogin(delivery.SenderOwners(directory))
func SenderOwners(d Directory) func(ctx context.Context, from goniec.Address) ([]string, error) {
	return func(ctx context.Context, from goniec.Address) ([]string, error) {
		for range maxOwnerHops {
			e, err := lookupLocal(ctx, d, from)
			switch {
			case errors.Is(err, ErrNotFound):
				return nil, nil
			case err != nil:
				return nil, err
			case e.User != "":
				return []string{e.User}, nil
			case len(e.Targets) != 1:
				return nil, nil
			}
			from = e.Targets[0]
		}
		return nil, nil // an alias that leads in a circle
	}
}

// maxOwnerHops is how many aliases in a row are followed.
const maxOwnerHops = 10

// lookupLocal is Lookup for an address of any domain.
func lookupLocal(ctx context.Context, d Directory, a goniec.Address) (Entry, error) {
	if _, err := d.Domain(ctx, a.ASCIIDomain()); err != nil {
		return Entry{}, err
	}
	return d.Lookup(ctx, a)
}

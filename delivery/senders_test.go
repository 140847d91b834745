package delivery_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/delivery"
)

func TestSenderOwners(t *testing.T) {
	d := newTable(t)
	require.NoError(t, d.AddDomain("relay.test", delivery.ClassRelay))
	require.NoError(t, d.AddAlias("postmaster@demo.test", "desk@demo.test"))
	require.NoError(t, d.AddAlias("desk@demo.test", "bob@demo.test"))
	require.NoError(t, d.AddAlias("away@demo.test", "carol@elsewhere.example"))
	require.NoError(t, d.AddAlias("ring@demo.test", "gnir@demo.test"))
	require.NoError(t, d.AddAlias("gnir@demo.test", "ring@demo.test"))
	owners := delivery.SenderOwners(d)
	for from, want := range map[string]string{
		"alice@demo.test": "alice@demo.test", "ALICE@Demo.Test": "alice@demo.test", "alice+shop@demo.test": "alice@demo.test",
		"anything@przykład.pl": "bob@demo.test", "postmaster@demo.test": "bob@demo.test",
		"team@demo.test": "", "away@demo.test": "", "ring@demo.test": "", "nobody@demo.test": "",
		"you@example.org": "", "x@relay.test": "", "x@[127.0.0.1]": "",
	} {
		got, err := owners(t.Context(), goniec.MustAddress(from))
		require.NoError(t, err, from)
		if want == "" {
			require.Empty(t, got, from)
			continue
		}
		require.Equal(t, []string{want}, got, from)
	}
}

// sickDirectory can not answer.
type sickDirectory struct {
	delivery.Directory
	domain, lookup error
}

func (d sickDirectory) Domain(ctx context.Context, name string) (delivery.Domain, error) {
	if d.domain != nil {
		return delivery.Domain{}, d.domain
	}
	return d.Directory.Domain(ctx, name)
}

func (d sickDirectory) Lookup(context.Context, goniec.Address) (delivery.Entry, error) {
	return delivery.Entry{}, d.lookup
}

// Trouble is not "nobody's".
func TestSenderOwnersTrouble(t *testing.T) {
	sick := errors.New("data base is down")
	for _, d := range []sickDirectory{{newTable(t), sick, nil}, {newTable(t), nil, sick}} {
		_, err := delivery.SenderOwners(d)(t.Context(), goniec.MustAddress("alice@demo.test"))
		require.ErrorIs(t, err, sick)
	}
}

package mailbox_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// attempt is one thing that bob may try, and the rights that he needs for it.
type attempt struct {
	needs string // all of them
	any   string // and one of these
	do    func(s *shared, m mailbox.Mailbox) error
}

// option finds an optional interface of a handle.
func option[T any](s *shared, v any) T {
	o, ok := mailbox.As[T](v)
	require.True(s, ok, "%T", o)
	return o
}

func last[A any](seq iter.Seq2[A, error]) (err error) {
	for _, e := range seq {
		err = errors.Join(err, e)
	}
	return err
}

// attempts are everything that can be done with a folder, through every interface that reaches it.
func attempts() map[string]attempt {
	all := mailbox.AllUIDs()
	change := func(op mailbox.FlagOp, f mailbox.Flags, words ...string) func(*shared, mailbox.Mailbox) error {
		return func(s *shared, m mailbox.Mailbox) error {
			_, err := m.SetFlags(s.Context(), all, mailbox.FlagChange{Op: op, Flags: mailbox.FlagList{System: f, Keywords: words}})
			return err
		}
	}
	msg := func() io.Reader { return strings.NewReader("new\r\n") }
	return map[string]attempt{
		"Changes": {"r", "", func(s *shared, m mailbox.Mailbox) error { _, err := m.Changes(s.Context(), 0); return err }},
		"List":    {"r", "", func(s *shared, m mailbox.Mailbox) error { _, err := mailbox.List(s.Context(), m, all); return err }},
		"State":   {"r", "", func(s *shared, m mailbox.Mailbox) error { _, err := m.Changes(s.Context(), mailbox.Latest); return err }},
		"Read":    {"r", "", func(s *shared, m mailbox.Mailbox) error { return last(m.Read(s.Context(), all)) }},
		"Search": {"r", "", func(s *shared, m mailbox.Mailbox) error {
			_, err := mailbox.Search(s.Context(), m, mailbox.Criterion{Key: mailbox.KeyBody, Text: "x"})
			return err
		}},
		"Watch": {"r", "", func(s *shared, m mailbox.Mailbox) error {
			ctx, cancel := context.WithCancel(s.Context())
			defer cancel()
			return mailbox.Watch(ctx, m, 0, func() {})
		}},
		"UniqueIDs":   {"r", "", func(s *shared, m mailbox.Mailbox) error { _, err := mailbox.UniqueIDs(s.Context(), m, all); return err }},
		"Annotations": {"lr", "", func(s *shared, m mailbox.Mailbox) error { _, err := mailbox.Annotations(s.Context(), m); return err }},
		"SetDerived": {"r", "", func(s *shared, m mailbox.Mailbox) error {
			return option[mailbox.Derived](s, m).SetDerived(s.Context(), "k", maps.All(map[mailbox.UID][]byte{1: []byte("v")}))
		}},
		"Derived": {"r", "", func(s *shared, m mailbox.Mailbox) error {
			raw, err := option[mailbox.Store](s, s.raw).Account(s.Context(), "joe")
			require.NoError(s, err)
			d := option[mailbox.Derived](s, s.open(raw, "Work"))
			require.NoError(s, d.SetDerived(s.Context(), "k", maps.All(map[mailbox.UID][]byte{1: []byte("v")})))
			for range mailbox.DerivedOf(s.Context(), m, "k", all) {
				return nil
			}
			return mailbox.ErrForbidden // an empty cache
		}},
		"Append": {"i", "", func(s *shared, m mailbox.Mailbox) error {
			_, err := m.Append(s.Context(), msg(), mailbox.AppendOptions{})
			return err
		}},
		"AppendAll": {"i", "", func(s *shared, m mailbox.Mailbox) error {
			_, err := mailbox.AppendAll(s.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
				for range 2 {
					if !yield(mailbox.NewMessage{Msg: msg()}, nil) {
						return
					}
				}
			})
			return err
		}},
		"Seen":      {"", "s", change(mailbox.FlagsAdd, mailbox.Seen)},
		"Deleted":   {"", "t", change(mailbox.FlagsAdd, mailbox.Deleted)},
		"Flagged":   {"", "w", change(mailbox.FlagsRemove, mailbox.Flagged)},
		"Keyword":   {"", "w", change(mailbox.FlagsAdd, 0, "k")},
		"Two flags": {"", "sw", change(mailbox.FlagsAdd, mailbox.Seen|mailbox.Draft)},
		"Replace":   {"", "swt", change(mailbox.FlagsReplace, mailbox.Seen)},
		"Expunge":   {"e", "", func(s *shared, m mailbox.Mailbox) error { _, err := m.Expunge(s.Context(), all); return err }},
		"Lock": {"re", "", func(s *shared, m mailbox.Mailbox) error {
			unlock, err := mailbox.Lock(s.Context(), m)
			if err == nil {
				unlock()
			}
			return err
		}},
		"SetAnnotation": {"lw", "", func(s *shared, m mailbox.Mailbox) error {
			return mailbox.SetAnnotation(s.Context(), m, "/shared/x", []byte("x"))
		}},
		"SetAnnotation private": {"lw!", "", func(s *shared, m mailbox.Mailbox) error {
			return mailbox.SetAnnotation(s.Context(), m, "/private/x", []byte("x"))
		}},
		"AppendUID": {"!", "", func(s *shared, m mailbox.Mailbox) error {
			if _, ok := mailbox.As[mailbox.UIDAppender](m); ok {
				return nil
			}
			return mailbox.ErrForbidden
		}},
	}
}

// accountAttempts are those that name the folder.
func accountAttempts() map[string]attempt {
	all := mailbox.AllUIDs()
	return map[string]attempt{
		"Open": {"", "lri", func(s *shared, _ mailbox.Mailbox) error { _, err := s.bob.Open(s.Context(), work); return err }},
		"Mailboxes": {"l", "", func(s *shared, _ mailbox.Mailbox) error {
			if slices.Contains(names(s.T, s.bob), work) {
				return nil
			}
			return mailbox.ErrNotFound
		}},
		"Create": {"k", "", func(s *shared, _ mailbox.Mailbox) error {
			return s.bob.Create(s.Context(), work+"/x/y", mailbox.CreateOptions{})
		}},
		"Delete": {"x", "", func(s *shared, _ mailbox.Mailbox) error { return s.bob.Delete(s.Context(), work) }},
		"Rename": {"x!", "", func(s *shared, _ mailbox.Mailbox) error {
			return s.bob.Rename(s.Context(), work, "Other Users/joe/Top")
		}},
		"Rename below": {"xk", "", func(s *shared, _ mailbox.Mailbox) error {
			require.NoError(s, s.joe.Create(s.Context(), "Work/Sub", mailbox.CreateOptions{})) // with the rights of Work
			return s.bob.Rename(s.Context(), work+"/Sub", work+"/Bus")
		}},
		"Copy from": {"r", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.Copy(s.Context(), s.bob, work, 0, all, "INBOX")
			return err
		}},
		"Copy to": {"i", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.Copy(s.Context(), s.bob, "INBOX", 0, all, work)
			return err
		}},
		"Copy in": {"ri", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.Copy(s.Context(), s.bob, work, 0, all, work)
			return err
		}},
		"Move from": {"rte", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.Move(s.Context(), s.bob, work, 0, all, "INBOX")
			return err
		}},
		"Move to": {"i", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.Move(s.Context(), s.bob, "INBOX", 0, all, work)
			return err
		}},
		"Deliver": {"i", "", func(s *shared, _ mailbox.Mailbox) error {
			to := []mailbox.Target{{User: "bob", Name: work}}
			return mailbox.DeliverAll(s.Context(), s.store, to, strings.NewReader("x"), mailbox.AppendOptions{})[0]
		}},
		"SetSpecialUse": {"!", "", func(s *shared, _ mailbox.Mailbox) error {
			return mailbox.SetSpecialUse(s.Context(), s.bob, work, mailbox.UseSent)
		}},
		"ACL": {"a", "", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.GetACL(s.Context(), s.bob, work)
			return err
		}},
		"MyRights": {"", "lrikxa", func(s *shared, _ mailbox.Mailbox) error {
			_, err := mailbox.MyRights(s.Context(), s.bob, work)
			return err
		}},
		"Grantable": {"a", "", func(s *shared, _ mailbox.Mailbox) error {
			_, _, err := option[mailbox.AccessControl](s, s.bob).Grantable(s.Context(), work, "carol")
			return err
		}},
		"ChangeACL": {"a", "", func(s *shared, _ mailbox.Mailbox) error {
			return mailbox.ChangeACL(s.Context(), s.bob, work, mailbox.ACLChange{Op: mailbox.ACLAdd, Entry: mailbox.ACLEntry{ID: "carol", Rights: mailbox.AllRights}})
		}},
	}
}

// allowed is the oracle: what RFC 4314 §4 says of a set of rights.
func (a attempt) allowed(t require.TestingT, have mailbox.Rights) bool {
	never := strings.HasSuffix(a.needs, "!")
	needs, some := rights(t, strings.TrimSuffix(a.needs, "!")), rights(t, a.any)
	return !never && have.Has(needs) && (some == 0 || have&some != 0)
}

// sets are the sets of rights that are tried: all 2048 in the long form, else none, each alone, each left out, and
// those that people give.
func sets(t *testing.T) (all []mailbox.Rights) {
	if os.Getenv("GONIEC_LONG") == "1" {
		for r := range mailbox.AllRights + 1 {
			all = append(all, r)
		}
		return all
	}
	all = []mailbox.Rights{0, mailbox.AllRights, rights(t, "lr"), rights(t, "lrs"), rights(t, "lrswi"), rights(t, "lrswite"), rights(t, "ri"), rights(t, "lkx"), rights(t, "rte"), rights(t, "lrte")}
	for i := range 11 {
		one := mailbox.Rights(1) << i
		all = append(all, one, mailbox.AllRights&^one, one|mailbox.RightLookup, one|mailbox.RightRead)
	}
	return all
}

// I13: each operation is possible with the rights it needs and no others, through every interface; what is refused has
// changed nothing; and who may not know of the folder is told that there is none.
func TestI13_EachRightOpensWhatItOpens(t *testing.T) {
	all := attempts()
	maps.Copy(all, accountAttempts())
	for _, have := range sets(t) {
		for name, a := range all {
			s := newShared(t, mailbox.NewMemory(), mailbox.Sharing{})
			s.fill(s.open(s.joe, "Work"), mailbox.FlagList{System: mailbox.Flagged}, mailbox.FlagList{})
			s.fill(s.open(s.bob, "INBOX"), mailbox.FlagList{})
			s.grant("Work", "bob", "lrswipkxtea")
			m := s.open(s.bob, work) // a handle from better days
			s.grant("Work", "bob", have.String())
			before, list := flagsOf(t, s.open(s.joe, "Work")), names(t, s.joe)
			err := a.do(s, m)
			if a.allowed(t, have) {
				require.NoError(t, err, "%s with %q", name, have)
				continue
			}
			require.Error(t, err, "%s with %q", name, have)
			require.True(t, errors.Is(err, mailbox.ErrNotFound) || errors.Is(err, mailbox.ErrForbidden) || errors.Is(err, mailbox.ErrCannot), "%s with %q: %v", name, have, err)
			if have&(mailbox.RightLookup|mailbox.RightRead) == 0 && name != "Create" && have == 0 {
				require.False(t, errors.Is(err, mailbox.ErrCannot), "%s with %q: %v", name, have, err)
			}
			if name == "Rename below" {
				continue // joe has made a folder for it
			}
			require.Equal(t, before, flagsOf(t, s.open(s.joe, "Work")), "%s with %q", name, have)
			require.Equal(t, list, names(t, s.joe), "%s with %q", name, have)
		}
	}
}

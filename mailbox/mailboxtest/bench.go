package mailboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
)

// benchMessages is how many messages the folders of the benchmarks have.
const benchMessages = 10_000

// Benchmark measures a store: appending, listing, changes, flags, reading, copying, expunging. open
// returns a new, empty store.
//
//	func BenchmarkStore(b *testing.B) {
//		mailboxtest.Benchmark(b, func(b *testing.B) mailbox.Store { return mystore.Open(b.TempDir()) })
//	}
func Benchmark(b *testing.B, open func(b *testing.B) mailbox.Store) {
	b.Run("Append", func(b *testing.B) {
		_, m := benchInbox(b, open(b), 0)
		text := benchText(0)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			_, err := m.Append(b.Context(), strings.NewReader(text), mailbox.AppendOptions{})
			orFatal(b, err)
		}
	})
	b.Run("AppendParallel", func(b *testing.B) { benchParallel(b, open(b)) })
	b.Run("Filled", func(b *testing.B) {
		s := open(b)
		a, m := benchInbox(b, s, benchMessages)
		benchFilled(b, a, m)
	})
}

func benchParallel(b *testing.B, s mailbox.Store) {
	_, m := benchInbox(b, s, 0)
	text := benchText(0)
	b.SetParallelism(4)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Append(context.Background(), strings.NewReader(text), mailbox.AppendOptions{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchFilled(b *testing.B, a mailbox.Account, m mailbox.Mailbox) {
	ctx := b.Context()
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			box, err := a.Open(ctx, "INBOX")
			orFatal(b, err)
			_, err = mailbox.OpenView(ctx, box)
			orFatal(b, err)
			box.Close()
		}
	})
	b.Run("ChangesLatest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := m.Changes(ctx, mailbox.Latest)
			orFatal(b, err)
		}
	})
	b.Run("PollUnchanged", func(b *testing.B) {
		v, err := mailbox.OpenView(ctx, m)
		orFatal(b, err)
		b.ReportAllocs()
		for b.Loop() {
			_, err := v.Poll(ctx, mailbox.Everything)
			orFatal(b, err)
		}
	})
	b.Run("Read", func(b *testing.B) {
		var total int64
		for b.Loop() {
			total = 0
			for msg, err := range m.Read(ctx, mailbox.AllUIDs()) {
				orFatal(b, err)
				n, err := io.Copy(io.Discard, io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
				orFatal(b, err)
				total += n
			}
		}
		b.SetBytes(total)
	})
	b.Run("SetFlags", func(b *testing.B) {
		op := mailbox.FlagsAdd
		for b.Loop() {
			res, err := m.SetFlags(ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: op, Flags: mailbox.FlagList{System: mailbox.Flagged}})
			orFatal(b, err)
			if res.Changed.Len() != benchMessages {
				b.Fatal("not all were changed")
			}
			op = mailbox.FlagsAdd + mailbox.FlagsRemove - op
		}
	})
	b.Run("CopyExpunge100", func(b *testing.B) { benchCopy(b, a) })
}

func benchCopy(b *testing.B, a mailbox.Account) {
	ctx := b.Context()
	if err := a.Create(ctx, "copies", mailbox.CreateOptions{}); err != nil && !errors.Is(err, mailbox.ErrExists) {
		b.Skip(err)
	}
	to, err := a.Open(ctx, "copies")
	orFatal(b, err)
	defer to.Close()
	for b.Loop() {
		res, err := mailbox.Copy(ctx, a, "INBOX", 0, mailbox.UIDSet{{First: 1, Last: 100}}, "copies")
		orFatal(b, err)
		_, err = to.Expunge(ctx, mailbox.UIDs(res.Dest...))
		orFatal(b, err)
	}
}

func benchInbox(b *testing.B, s mailbox.Store, n int) (mailbox.Account, mailbox.Mailbox) {
	b.Helper()
	a, err := s.Account(b.Context(), "alice@example.org")
	orFatal(b, err)
	m, err := a.Open(b.Context(), "INBOX")
	orFatal(b, err)
	b.Cleanup(func() { m.Close(); a.Close() })
	_, err = mailbox.AppendAll(b.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for i := range n {
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(benchText(i))}, nil) {
				return
			}
		}
	})
	orFatal(b, err)
	return a, m
}

// benchText is a plain message of about 4 KB.
func benchText(i int) string {
	return fmt.Sprintf("From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: message %d\r\n"+
		"Date: Sat, 3 Jan 2026 10:00:00 +0100\r\nMessage-ID: <%d@example.org>\r\n\r\n", i, i) +
		strings.Repeat("All mail clients are equal, but some are more equal than others.\r\n", 60)
}

func orFatal(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

package maildir_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

var text4K = "Subject: benchmark\r\n\r\n" + strings.Repeat("a line of text that is seventy octets long, more or less, as they are\r\n", 56)

// bareLoop is what Maildir delivery can not do without: create, write, fsync, rename, fsync of the directory.
func bareLoop(dir string, n int64) error {
	tmp, to := fmt.Sprintf("%s/tmp/%d", dir, n), fmt.Sprintf("%s/new/%d", dir, n)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text4K); err == nil {
		err = f.Sync()
	}
	f.Close()
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir + "/new")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// workers runs n calls of do on some goroutines.
func workers(b *testing.B, goroutines int, do func(i int64) error) time.Duration {
	return part(b, goroutines, 0, int64(b.N), do)
}

// alternate runs the calls of two contenders in turns of five hundred, so that what else the machine does hits both.
func alternate(b *testing.B, goroutines int, one, two func(i int64) error) (tookOne, tookTwo time.Duration) {
	const turn = 500
	for from := int64(0); from < int64(b.N); from += turn {
		to := min(from+turn, int64(b.N))
		tookOne += part(b, goroutines, from, to, one)
		tookTwo += part(b, goroutines, from, to, two)
	}
	return tookOne, tookTwo
}

// part runs the calls from+1 to to.
func part(b *testing.B, goroutines int, from, to int64, do func(i int64) error) time.Duration {
	var next atomic.Int64
	next.Store(from)
	var wg sync.WaitGroup
	start := time.Now()
	for range goroutines {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > to {
					return
				}
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkDeliver compares delivery with the bare loop; "ratio" is how many times its rate, in alternating rounds
// of the same run.
func BenchmarkDeliver(b *testing.B) {
	for _, writers := range []int{1, 8, 16, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			b.ReportAllocs()
			bare := b.TempDir()
			for _, sub := range []string{"tmp", "new"} {
				require.NoError(b, os.Mkdir(filepath.Join(bare, sub), 0o700))
			}
			s := &maildir.Store{Root: b.TempDir()}
			b.ResetTimer()
			ours, theirs := alternate(b, writers, func(int64) error {
				return s.Deliver(b.Context(), "u", "", strings.NewReader(text4K), mailbox.AppendOptions{})
			}, func(i int64) error { return bareLoop(bare, i) })
			b.StopTimer()
			b.ReportMetric(float64(theirs)/float64(ours), "ratio")
			b.ReportMetric(float64(b.N)/ours.Seconds(), "msg/s")
		})
	}
}

// BenchmarkDeliverTen compares one delivery to ten recipients with ten deliveries.
func BenchmarkDeliverTen(b *testing.B) {
	s := &maildir.Store{Root: b.TempDir()}
	var to []mailbox.Target
	for i := range 10 {
		to = append(to, mailbox.Target{User: fmt.Sprint("u", i)})
		require.NoError(b, s.Deliver(b.Context(), to[i].User, "", strings.NewReader(text4K), mailbox.AppendOptions{}))
	}
	b.ResetTimer()
	together, apart := alternate(b, 1, func(int64) error {
		for _, err := range s.DeliverAll(b.Context(), to, strings.NewReader(text4K), mailbox.AppendOptions{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}, func(int64) error {
		for _, t := range to {
			if err := s.Deliver(b.Context(), t.User, "", strings.NewReader(text4K), mailbox.AppendOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportMetric(float64(apart)/float64(together), "ratio")
}

// bigFolder makes a folder of n messages, as another program has left it.
func bigFolder(b testing.TB, n int) string {
	root, err := os.MkdirTemp("", "goniec-big-*")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(root) })
	cur := filepath.Join(root, "u", "cur")
	require.NoError(b, os.MkdirAll(cur, 0o700))
	for i := range n {
		name := fmt.Sprintf("%d.M%dP4321Q%dRabcdefghij.mail,S=3,W=4:2,", 1_600_000_000+i, i, i)
		require.NoError(b, os.WriteFile(filepath.Join(cur, name), []byte("xyz"), 0o600))
	}
	return root
}

func visit(b testing.TB, root string, since mailbox.ModSeq) (*maildir.Store, mailbox.Account, mailbox.Mailbox) {
	s := &maildir.Store{Root: root}
	a, err := s.Account(b.Context(), "u")
	require.NoError(b, err)
	m, err := a.Open(b.Context(), "INBOX")
	require.NoError(b, err)
	ch, err := m.Changes(b.Context(), since)
	require.NoError(b, err)
	for range ch.Messages {
	}
	return s, a, m
}

// BenchmarkOpen100k opens a folder of 100,000 messages (10,000 with -short): cold without an index, for the State
// and with all messages; warm from the index; warm with cur/ to be listed.
func BenchmarkOpen100k(b *testing.B) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	root := bigFolder(b, n)
	dir := filepath.Join(root, "u")
	visit(b, root, 0)
	for _, mode := range []string{"cold", "cold-sizes", "warm", "warm-rescan"} {
		b.Run(mode, func(b *testing.B) {
			b.ReportAllocs()
			since := mailbox.Latest
			if mode != "cold" {
				since = 0
			}
			if mode == "warm" {
				time.Sleep(2100 * time.Millisecond)
				s, a, m := visit(b, root, 0)
				m.Close()
				a.Close()
				s.Close()
			}
			for b.Loop() {
				b.StopTimer()
				if strings.HasPrefix(mode, "cold") {
					os.Remove(dir + "/goniec-index")
				}
				if mode == "warm-rescan" {
					old := time.Now().Add(-time.Hour - time.Duration(b.N)*time.Second)
					require.NoError(b, os.Chtimes(dir+"/cur", old, old))
				}
				b.StartTimer()
				s, a, m := visit(b, root, since)
				b.StopTimer()
				m.Close()
				a.Close()
				s.Close()
				b.StartTimer()
			}
		})
	}
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			s, a, m := visit(b, root, 0)
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/message")
			m.Close()
			a.Close()
			s.Close()
		}
	})
}

// BenchmarkFlags10k changes a flag of 10,000 messages; "bare-ms" is what the renames and one sync of the directory take
// alone, in alternating rounds.
func BenchmarkFlags10k(b *testing.B) {
	root := bigFolder(b, 10_000)
	bare := bigFolder(b, 10_000)
	s, a, m := visit(b, root, 0)
	defer s.Close()
	defer a.Close()
	defer m.Close()
	op, took := mailbox.FlagsAdd, time.Duration(0)
	for b.Loop() {
		_, err := m.SetFlags(b.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: op, Flags: mailbox.FlagList{System: mailbox.Seen}})
		require.NoError(b, err)
		b.StopTimer()
		took += renameAll(b, filepath.Join(bare, "u", "cur"), op == mailbox.FlagsAdd)
		op = mailbox.FlagsAdd + mailbox.FlagsRemove - op
		b.StartTimer()
	}
	b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "bare-ms")
}

func renameAll(b *testing.B, path string, seen bool) time.Duration {
	dir, err := faultfs.OS{}.OpenDir(path)
	require.NoError(b, err)
	defer dir.Close()
	names, err := dir.Names()
	require.NoError(b, err)
	slices.Sort(names)
	start := time.Now()
	for _, n := range names {
		to := n + "S"
		if !seen {
			to = n[:len(n)-1]
		}
		require.NoError(b, dir.Rename(n, dir, to))
	}
	require.NoError(b, dir.Sync())
	return time.Since(start)
}

// BenchmarkAppend8 appends from 8 goroutines to one folder.
func BenchmarkAppend8(b *testing.B) {
	s := &maildir.Store{Root: b.TempDir()}
	defer s.Close()
	a, err := s.Account(b.Context(), "u")
	require.NoError(b, err)
	defer a.Close()
	m, err := a.Open(b.Context(), "INBOX")
	require.NoError(b, err)
	defer m.Close()
	b.ReportAllocs()
	b.ResetTimer()
	took := workers(b, 8, func(int64) error {
		_, err := m.Append(b.Context(), strings.NewReader(text4K), mailbox.AppendOptions{})
		return err
	})
	b.ReportMetric(float64(b.N)/took.Seconds(), "msg/s")
}

// BenchmarkDerived10k reads the derived bytes of 10,000 messages.
func BenchmarkDerived10k(b *testing.B) {
	root := bigFolder(b, 10_000)
	s, a, m := visit(b, root, 0)
	defer s.Close()
	defer a.Close()
	defer m.Close()
	value := []byte(strings.Repeat("x", 600))
	require.NoError(b, mailbox.SetDerived(b.Context(), m, "bench/1", func(yield func(mailbox.UID, []byte) bool) {
		for u := mailbox.UID(1); u <= 10_000 && yield(u, value); u++ {
		}
	}))
	time.Sleep(2100 * time.Millisecond) // so that the folder need not be listed
	mailboxDerived(b, m)
	for b.Loop() {
		require.Equal(b, 10_000, mailboxDerived(b, m))
	}
}

func mailboxDerived(b *testing.B, m mailbox.Mailbox) (n int) {
	for range mailbox.DerivedOf(b.Context(), m, "bench/1", mailbox.AllUIDs()) {
		n++
	}
	return n
}

// BenchmarkHeaders10k searches, sorts and threads 10,000 messages of 4 KB by their headers: "read" from the
// messages, as a store does that keeps nothing; "kept" from goniec-derived; "first" has to fill it.
func BenchmarkHeaders10k(b *testing.B) {
	const n = 10_000
	root := b.TempDir()
	s, a, m := visit(b, root, 0)
	defer s.Close()
	defer a.Close()
	defer m.Close()
	_, err := mailbox.AppendAll(b.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for i := range n {
			head := fmt.Sprintf("Return-Path: <alice@example.org>\r\nReceived: from mail.example.org (mail.example.org [192.0.2.1])\r\n"+
				"\tby mx.example.net with ESMTPS id %[1]d;\r\n\tSat, 3 Jan 2026 10:00:00 +0100\r\n"+
				"From: Alice %[1]d <alice@example.org>\r\nTo: bob@example.org, carol@example.org\r\nSubject: Re: message %[1]d of many\r\n"+
				"Date: Sat, 3 Jan 2026 10:%02[2]d:00 +0100\r\nMessage-ID: <%[1]d@example.org>\r\nReferences: <%[3]d@example.org>\r\n\r\n", i, i%60, i/3)
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(head + text4K)}, nil) {
				return
			}
		}
	})
	require.NoError(b, err)
	time.Sleep(2100 * time.Millisecond) // so that the folder need not be listed
	ctx := b.Context()
	jobs := []struct {
		name string
		do   func(m mailbox.Mailbox) (int, error)
	}{
		{"subject", func(m mailbox.Mailbox) (int, error) {
			res, err := mailbox.Search(ctx, m, mailbox.Criterion{Key: mailbox.KeyHeader, Field: "Subject", Text: "Message 99"})
			return res.UIDs.Len(), err
		}},
		{"sort", func(m mailbox.Mailbox) (int, error) {
			uids, err := mailbox.Sort(ctx, m, mailbox.AllUIDs(), []mailbox.SortOrder{{Key: mailbox.SortSubject}, {Key: mailbox.SortDate}})
			return len(uids), err
		}},
		{"thread", func(m mailbox.Mailbox) (int, error) {
			nodes, err := mailbox.Thread(ctx, m, mailbox.AllUIDs(), mailbox.ThreadReferences)
			return len(nodes), err
		}},
	}
	for _, job := range jobs {
		want, err := job.do(m)
		require.NoError(b, err)
		require.Positive(b, want)
		for mode, box := range map[string]mailbox.Mailbox{"read": struct{ mailbox.Mailbox }{m}, "first": m, "kept": m} {
			b.Run(job.name+"/"+mode, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if mode == "first" {
						b.StopTimer()
						require.NoError(b, os.Remove(filepath.Join(root, "u", "goniec-derived")))
						b.StartTimer()
					}
					n, err := job.do(box)
					require.NoError(b, err)
					require.Equal(b, want, n)
				}
			})
		}
	}
}

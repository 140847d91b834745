//go:build unix

package maildir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// told collects what is told of an account.
func watchAccount(t *testing.T, s *maildir.Store) (told chan string) {
	a, err := s.Account(t.Context(), "u")
	require.NoError(t, err)
	defer a.Close()
	told = make(chan string, 10000)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	require.NoError(t, mailbox.WatchAccount(ctx, a, func(name string) { told <- name }))
	return told
}

// await waits for a name, and takes what else is told.
func await(t *testing.T, told chan string, want, why string) {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case name := <-told:
			if name != want {
				continue
			}
			for {
				select {
				case <-told:
				case <-time.After(30 * time.Millisecond):
					return
				}
			}
		case <-deadline:
			t.Fatalf("%q was not told after %s", want, why)
		}
	}
}

// Whoever watches an account learns what other programs do to it: by the system's watches, and by polling.
func TestWatchAccountForeign(t *testing.T) {
	for name, limit := range map[string]int{"watched": 0, "polled": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			other := &maildir.Store{Root: root} // another process
			defer other.Close()
			a, err := other.Account(t.Context(), "u")
			require.NoError(t, err)
			defer a.Close()
			require.NoError(t, a.Create(t.Context(), "Old", mailbox.CreateOptions{}))
			s := maildir.PollEvery(&maildir.Store{Root: root, MaxWatches: limit}, 50*time.Millisecond)
			defer s.Close()
			told := watchAccount(t, s)
			dir := filepath.Join(root, "u")

			require.NoError(t, os.WriteFile(dir+"/.Old/new/1600000001.x.h", []byte("x\n"), 0o600))
			await(t, told, "Old", "a delivery into a folder that nobody has open")
			require.NoError(t, os.Rename(dir+"/.Old/new/1600000001.x.h", dir+"/.Old/cur/1600000001.x.h:2,S"))
			await(t, told, "Old", "a rename")
			require.NoError(t, a.Create(t.Context(), "New", mailbox.CreateOptions{}))
			await(t, told, "", "a folder made")
			require.NoError(t, os.WriteFile(dir+"/.New/new/1600000002.x.h", []byte("x\n"), 0o600))
			await(t, told, "New", "a delivery into a folder made later")
			require.NoError(t, a.Rename(t.Context(), "New", "Newer"))
			await(t, told, "", "a folder renamed")
			require.NoError(t, os.WriteFile(dir+"/.Newer/new/1600000003.x.h", []byte("x\n"), 0o600))
			await(t, told, "Newer", "a delivery into a renamed folder")
			require.NoError(t, a.Delete(t.Context(), "Newer"))
			await(t, told, "", "a folder deleted")
			require.NoError(t, mailbox.Subscribe(t.Context(), a, "Old", true))
			await(t, told, "", "a subscription")
			require.NoError(t, mailbox.SetSpecialUse(t.Context(), a, "Old", mailbox.UseArchive))
			await(t, told, "", "a special use")
			m, err := a.Open(t.Context(), "Old")
			require.NoError(t, err)
			defer m.Close()
			require.NoError(t, mailbox.SetAnnotation(t.Context(), m, "/shared/comment", []byte("x")))
			await(t, told, "Old", "an annotation")
			require.NoError(t, os.WriteFile(dir+"/new/1600000004.x.h", []byte("x\n"), 0o600))
			await(t, told, "INBOX", "a delivery into INBOX")
			if limit == 0 {
				require.NoError(t, mailbox.SetAccountAnnotation(t.Context(), a, "/shared/comment", []byte("x")))
				await(t, told, "", "an annotation of the account")
			}
		})
	}
}

// A folder that is deleted and made again, between two looks, is another one: its directory is watched.
func TestWatchAccountMadeAgain(t *testing.T) {
	root := t.TempDir()
	s := &maildir.Store{Root: root}
	defer s.Close()
	told := watchAccount(t, s)
	a, err := s.Account(t.Context(), "u")
	require.NoError(t, err)
	defer a.Close()
	for i := range 20 {
		require.NoError(t, a.Create(t.Context(), "A", mailbox.CreateOptions{}))
		await(t, told, "", "made")
		require.NoError(t, os.WriteFile(filepath.Join(root, "u", ".A", "new", fmt.Sprintf("160000000%d.x.h", i)), []byte("x\n"), 0o600))
		await(t, told, "A", "delivered")
		require.NoError(t, a.Delete(t.Context(), "A"))
	}
}

// Those who watch one folder share what is asked of the system. Whoever stays is told, in whatever order others come and go; nothing
// is kept when all have left.
func TestWatchShared(t *testing.T) {
	for name, limit := range map[string]int{"watched": 0, "polled": 1} {
		t.Run(name, func(t *testing.T) {
			s := maildir.PollEvery(&maildir.Store{Root: t.TempDir(), MaxWatches: limit}, 50*time.Millisecond)
			defer s.Close()
			a, err := s.Account(t.Context(), "u")
			require.NoError(t, err)
			defer a.Close()
			watch := func() (told chan string, stop func()) {
				m, err := a.Open(t.Context(), "INBOX")
				require.NoError(t, err)
				told = make(chan string, 10000)
				ctx, cancel := context.WithCancel(t.Context())
				require.NoError(t, m.(mailbox.Watcher).Watch(ctx, func() { told <- "INBOX" }))
				return told, func() { cancel(); require.NoError(t, m.Close()) }
			}
			n := 0
			deliver := func() {
				n++
				time.Sleep(20 * time.Millisecond) // the times of directories are compared
				file := fmt.Sprintf("16000000%02d.x.h", n)
				require.NoError(t, os.WriteFile(filepath.Join(s.Root, "u", "new", file), []byte("x\n"), 0o600))
			}
			first, stopFirst := watch()
			second, stopSecond := watch()
			deliver()
			await(t, first, "INBOX", "a delivery")
			await(t, second, "INBOX", "a delivery")
			stopFirst()
			deliver()
			await(t, second, "INBOX", "a delivery after the first has left")
			third, stopThird := watch()
			stopSecond()
			deliver()
			await(t, third, "INBOX", "a delivery after the second has left")
			require.Empty(t, first)
			stopThird()
			require.Eventually(t, func() bool { return maildir.Watched(s) == 0 }, 10*time.Second, time.Millisecond)
			fourth, stopFourth := watch()
			defer stopFourth()
			deliver()
			await(t, fourth, "INBOX", "a delivery after nobody watched")
		})
	}
}

// The limit of watches counts directories: three for a folder. What is beyond is polled.
func TestMaxWatches(t *testing.T) {
	for limit, watched := range map[int]bool{3: maildir.SystemWatches, 2: false} {
		s := maildir.PollEvery(&maildir.Store{Root: t.TempDir(), MaxWatches: limit}, time.Hour)
		defer s.Close()
		told := watchAccount(t, s)
		require.NoError(t, os.WriteFile(filepath.Join(s.Root, "u", "new", "1600000001.x.h"), []byte("x\n"), 0o600))
		if watched {
			await(t, told, "INBOX", "a delivery")
			continue
		}
		select {
		case <-told:
			t.Fatalf("limit %d: told before the poll", limit)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Annotations that are damaged are read as far as they are whole, kept for a person, and can be set again.
func TestMetadataDamaged(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	set := func(entry, value string) {
		require.NoError(t, mailbox.SetAnnotation(t.Context(), m, entry, []byte(value)))
	}
	set("/private/a", "one")
	set("/private/b", "two\n\x00")
	file := filepath.Join(root, "u", "goniec-metadata")
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "goniec-metadata 1\n/private/a 3\none\n/private/b 5\ntwo\n\x00\nend ", string(whole[:len(whole)-9]))
	for cut := range len(whole) {
		require.NoError(t, os.WriteFile(file, whole[:cut], 0o600))
		all, err := mailbox.Annotations(t.Context(), m)
		require.NoError(t, err)
		require.LessOrEqual(t, len(all), 2)
		for _, value := range all {
			require.Contains(t, []string{"one", "two\n\x00"}, string(value))
		}
	}
	damaged := strings.Replace(string(whole), "one", "0ne", 1)
	require.NoError(t, os.WriteFile(file, []byte(damaged), 0o600))
	set("/private/c", "three")
	kept, err := os.ReadFile(file + ".damaged")
	require.NoError(t, err)
	require.Equal(t, damaged, string(kept))
	all, err := mailbox.Annotations(t.Context(), m)
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.ErrorIs(t, mailbox.SetAnnotation(t.Context(), m, "/private/a b", []byte("x")), mailbox.ErrCannot)
	require.ErrorIs(t, mailbox.SetAnnotation(t.Context(), m, "end", []byte("x")), mailbox.ErrCannot)
}

// The present form of the file stays readable.
func TestMetadataFixture(t *testing.T) {
	root := fastDir(t)
	s := &maildir.Store{Root: root}
	defer s.Close()
	_, m := open(t, s, "u", "INBOX")
	fixture, err := os.ReadFile("testdata/goniec-metadata-1")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "u", "goniec-metadata"), fixture, 0o600))
	all, err := mailbox.Annotations(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"/private/comment": []byte("a\nb"), "/shared/empty": {}}, all)
	require.NoError(t, mailbox.SetAnnotation(t.Context(), m, "/private/comment", []byte("a\nb!")))
	require.NoError(t, mailbox.SetAnnotation(t.Context(), m, "/private/comment", []byte("a\nb")))
	again, err := os.ReadFile(filepath.Join(root, "u", "goniec-metadata"))
	require.NoError(t, err)
	require.Equal(t, string(fixture), string(again))
}

// BenchmarkWatchAccount: the first who watches 1,000 folders pays for the watches; each change is told to 1,000 sessions.
func BenchmarkWatchAccount(b *testing.B) {
	s := &maildir.Store{Root: b.TempDir()}
	defer s.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	a, err := s.Account(ctx, "u")
	require.NoError(b, err)
	defer a.Close()
	for i := range 1000 {
		require.NoError(b, a.Create(ctx, fmt.Sprintf("folder %d", i), mailbox.CreateOptions{}))
	}
	var told atomic.Int64
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithCancel(ctx)
			require.NoError(b, mailbox.WatchAccount(ctx, a, func(string) {}))
			cancel()
			time.Sleep(time.Millisecond) // its watches go
		}
	})
	for range 1000 {
		require.NoError(b, mailbox.WatchAccount(ctx, a, func(string) { told.Add(1) }))
	}
	b.Run("next", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithCancel(ctx)
			require.NoError(b, mailbox.WatchAccount(ctx, a, func(string) {}))
			cancel()
		}
	})
	b.Run("foreign change to 1000 sessions", func(b *testing.B) {
		dir := filepath.Join(s.Root, "u", ".folder 7", "new")
		for b.Loop() {
			before := told.Load()
			require.NoError(b, os.WriteFile(dir+"/x", nil, 0o600))
			for told.Load() < before+1000 {
				time.Sleep(20 * time.Microsecond)
			}
			require.NoError(b, os.Remove(dir+"/x"))
			time.Sleep(200 * time.Microsecond)
		}
	})
}

package mailboxtest

import (
	"context"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// watcher collects what an AccountWatcher tells.
type watcher struct {
	f    *fixture
	told chan string
	stop context.CancelFunc
}

func (f *fixture) watch(w mailbox.AccountWatcher) *watcher {
	ctx, cancel := context.WithCancel(f.ctx)
	f.Cleanup(cancel)
	told := make(chan string, 1000)
	require.NoError(f, w.WatchAccount(ctx, func(name string) {
		select {
		case told <- name:
		default:
		}
	}))
	return &watcher{f, told, cancel}
}

// after waits until a name is told after a change.
func (w *watcher) after(why, name string, err error) {
	w.f.Helper()
	require.NoError(w.f, err, why)
	for deadline := time.After(noticeLimit); ; {
		select {
		case got := <-w.told:
			if got == name {
				drain(w.told)
				return
			}
		case <-deadline:
			w.f.Fatalf("%q was not told after %s", name, why)
		}
	}
}

func testAccountWatcher(f *fixture) {
	a := need[mailbox.AccountWatcher](f, f.acc)
	b := f.inbox()
	w := f.watch(a)
	uid := b.add(numbered(1), mailbox.AppendOptions{}).UID
	w.after("Append", "INBOX", nil)
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, uid)
	w.after("SetFlags", "INBOX", nil)
	if !f.lacks(LacksExpunge) {
		_, err := b.Expunge(f.ctx, mailbox.UIDs(uid))
		w.after("Expunge", "INBOX", err)
	}
	if md, ok := mailbox.As[mailbox.Metadata](b.Mailbox); ok {
		w.after("SetAnnotation", "INBOX", md.SetAnnotation(f.ctx, "/private/comment", []byte("x")))
	}
	if md, ok := mailbox.As[mailbox.Metadata](f.acc); ok {
		w.after("an annotation of the account", "", md.SetAnnotation(f.ctx, "/private/comment", []byte("x")))
	}
	if s, ok := mailbox.As[mailbox.Subscriber](f.acc); ok {
		w.after("Subscribe", "", s.Subscribe(f.ctx, "INBOX", true))
	}
	w.stop()
	silent(f, w.told, func() { b.fill(1) })
}

func testAccountWatcherFolders(f *fixture) {
	a := need[mailbox.AccountWatcher](f, f.acc)
	box := f.folder("watched")
	w := f.watch(a)
	box.fill(1)
	w.after("Append", "watched", nil)
	w.after("Create", "", f.acc.Create(f.ctx, "another", mailbox.CreateOptions{}))
	_, err := mailbox.Copy(f.ctx, f.acc, "watched", 0, mailbox.AllUIDs(), "another")
	w.after("Copy into a new folder", "another", err)
	if hasSpecialUser(f) {
		w.after("SetSpecialUse", "", mailbox.SetSpecialUse(f.ctx, f.acc, "another", mailbox.UseArchive))
	}
	w.after("Rename", "", f.acc.Rename(f.ctx, "watched", "renamed"))
	f.open("renamed").fill(1)
	w.after("Append after Rename", "renamed", nil)
	_, err = mailbox.Move(f.ctx, f.acc, "renamed", 0, mailbox.AllUIDs(), "INBOX")
	w.after("Move", "INBOX", err)
	to := []mailbox.Target{{User: f.suite.User, Name: "another"}}
	for _, err := range mailbox.DeliverAll(f.ctx, f.store, to, strings.NewReader(numbered(3)), mailbox.AppendOptions{}) {
		w.after("DeliverAll", "another", err)
	}
	w.after("Delete", "", f.acc.Delete(f.ctx, "renamed"))
}

// testAccountWatcherMany: each of many who watch is told, also through another handle on the account.
func testAccountWatcherMany(f *fixture) {
	need[mailbox.AccountWatcher](f, f.acc)
	var all []*watcher
	for range 50 {
		a := f.account(f.suite.User)
		all = append(all, f.watch(need[mailbox.AccountWatcher](f, a)))
		require.NoError(f, a.Close(), "who watches needs no open handle")
	}
	all[0].stop()
	f.inbox().fill(1)
	for _, w := range all[1:] {
		require.Equal(f, "INBOX", wakes(f, w.told, "Append"))
	}
}

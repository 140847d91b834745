//go:build unix

package maildir_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// ends are what becomes of the messages of a load, by their number.
var ends = [...]string{"stay", "expunge", "flag", "move", "keyword", "copy"}

// wanted is where a message lies in the end, and with what flags.
func wanted(id string, i int) map[string]string {
	flagged := map[string]string{"stay": "", "flag": `\Flagged`, "keyword": "Load"}
	switch end := ends[i%len(ends)]; end {
	case "expunge":
		return nil
	case "move":
		return map[string]string{"Shared " + id: ""}
	case "copy":
		return map[string]string{"INBOX " + id: "", "Shared " + id: ""}
	default:
		return map[string]string{"INBOX " + id: flagged[end]}
	}
}

// theirLoad is work of Dovecot: it saves messages of its own and changes them.
func (d *dovecot) load(n int) error {
	for i := range n {
		id := fmt.Sprintf("theirs%d", i)
		commands := [][]string{{"save", "-m", "INBOX"}}
		one := []string{"mailbox", "INBOX", "header", "Subject", id + "."}
		switch ends[i%len(ends)] {
		case "expunge":
			commands = append(commands, append([]string{"expunge"}, one...))
		case "flag":
			commands = append(commands, append([]string{"flags", "add", `\Flagged`}, one...))
		case "keyword":
			commands = append(commands, append([]string{"flags", "add", "Load"}, one...))
		case "move":
			commands = append(commands, append([]string{"move", "Shared"}, one...))
		case "copy":
			commands = append(commands, append([]string{"copy", "Shared"}, one...))
		}
		for _, c := range commands {
			if out, err := d.command("Subject: "+id+".\r\n\r\nx\r\n", c...).CombinedOutput(); err != nil {
				return fmt.Errorf("doveadm %v: %w %s", c, err, out)
			}
		}
	}
	return nil
}

// ourLoad is the same by us; every second message is delivered, and found by its content.
func ourLoad(ctx context.Context, s *maildir.Store, a mailbox.Account, who string, n int, uids *sync.Map) error {
	m, err := a.Open(ctx, "INBOX")
	if err != nil {
		return err
	}
	defer m.Close()
	for i := range n {
		id := fmt.Sprintf("%s%d", who, i)
		uid, err := ourMessage(ctx, s, m, id, i%2 == 0)
		if err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		uids.Store(uid, id)
		for try := 0; ; try++ {
			n, err := ourChange(ctx, a, m, ends[i%len(ends)], mailbox.UIDs(uid))
			if err != nil {
				return fmt.Errorf("%s of %s: %w", ends[i%len(ends)], id, err)
			}
			if n == 1 {
				break
			}
			// Dovecot, which overlooks a file that is being renamed, has given it another UID.
			if uid, err = ourUID(ctx, m, id, 1); err != nil || try == 5 {
				return fmt.Errorf("%s of %s: it is not there: %w", ends[i%len(ends)], id, err)
			}
			uids.Store(uid, id)
		}
	}
	return nil
}

// ourChange does to a message what its end is to be; n is 0 if it was not there.
func ourChange(ctx context.Context, a mailbox.Account, m mailbox.Mailbox, end string, one mailbox.UIDSet) (n int, err error) {
	add := func(l mailbox.FlagList) (int, error) {
		res, err := m.SetFlags(ctx, one, mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: l})
		return res.Changed.Len(), err
	}
	switch end {
	case "expunge":
		gone, err := m.Expunge(ctx, one)
		return gone.Len(), err
	case "flag":
		return add(mailbox.FlagList{System: mailbox.Flagged})
	case "keyword":
		return add(mailbox.FlagList{Keywords: []string{"Load"}})
	case "move":
		res, err := mailbox.Move(ctx, a, "INBOX", 0, one, "Shared")
		return len(res.Source), err
	case "copy":
		res, err := mailbox.Copy(ctx, a, "INBOX", 0, one, "Shared")
		return len(res.Source), err
	}
	return 1, nil
}

// ourUID looks for a message from a UID on.
func ourUID(ctx context.Context, m mailbox.Mailbox, id string, from mailbox.UID) (mailbox.UID, error) {
	for msg, err := range m.Read(ctx, mailbox.UIDSet{{First: from, Last: mailbox.MaxUID}}) {
		if err == nil && idOf(msg.Content) == id+"." {
			return msg.UID, nil
		}
	}
	return 0, fmt.Errorf("no message %s", id)
}

func ourMessage(ctx context.Context, s *maildir.Store, m mailbox.Mailbox, id string, deliver bool) (mailbox.UID, error) {
	text := "Subject: " + id + ".\r\n\r\nx\r\n"
	if !deliver {
		meta, err := m.Append(ctx, strings.NewReader(text), mailbox.AppendOptions{})
		return meta.UID, err
	}
	ch, err := m.Changes(ctx, mailbox.Latest)
	if err != nil {
		return 0, err
	}
	if err := s.Deliver(ctx, "u", "", strings.NewReader(text), mailbox.AppendOptions{}); err != nil {
		return 0, err
	}
	return ourUID(ctx, m, id, ch.State.UIDNext)
}

// Dovecot and two Stores of ours work on one tree at the same time, with everything: messages saved and delivered, flags,
// keywords, copies, moves, expunges. Nothing is lost, nothing comes twice or comes back, UIDs mean what they meant, and in the end both
// see the same UIDVALIDITY, UIDs, flags and keywords.
func TestDovecotWorksToo(t *testing.T) {
	d := startDovecot(t)
	if os.Getuid() == 0 && os.Getenv(childEnv) == "" {
		asNobody(t, "^TestDovecotWorksToo$")
		return
	}
	each := 12
	if long {
		each = 180
	}
	d.do("", "mailbox", "create", "Shared")
	validity := map[string]uint32{"INBOX": d.folder("INBOX").validity, "Shared": d.folder("Shared").validity}
	ctx := t.Context()
	var wg sync.WaitGroup
	var uids sync.Map
	var said safeText
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(filepath.Dir(d.conf), "log"))
			t.Logf("we said:\n%sDovecot said:\n%s", said.b.String(), log)
		}
	})
	wg.Go(func() {
		if err := d.load(each); err != nil {
			t.Error(err)
		}
	})
	for _, who := range []string{"ours", "others"} {
		wg.Go(func() {
			s := &maildir.Store{Root: filepath.Dir(d.maildir), Logger: slog.New(slog.NewTextHandler(&said, nil))}
			defer s.Close()
			a, err := s.Account(ctx, "u")
			if err == nil {
				err = ourLoad(ctx, s, a, who, 2*each, &uids)
				a.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	want := map[string]string{}
	for i := range 2 * each {
		maps.Copy(want, wanted("ours"+fmt.Sprint(i)+".", i))
		maps.Copy(want, wanted("others"+fmt.Sprint(i)+".", i))
		if i < each {
			maps.Copy(want, wanted("theirs"+fmt.Sprint(i)+".", i))
		}
	}
	s := &maildir.Store{Root: filepath.Dir(d.maildir)}
	defer s.Close()
	a, m := open(t, s, "u", "INBOX")
	got := map[string]string{}
	for _, name := range []string{"INBOX", "Shared"} {
		mine := ours(t, a, name)
		requireSame(t, d.folder(name), mine)
		require.Equal(t, validity[name], mine.validity)
		f, err := a.Open(ctx, name)
		require.NoError(t, err)
		for msg, err := range f.Read(ctx, mailbox.AllUIDs()) {
			require.NoError(t, err)
			key := name + " " + idOf(msg.Content)
			require.NotContains(t, got, key, "twice")
			flags := strings.Fields(mine.mails[msg.UID])
			got[key] = strings.Trim(flags[0], "[]")
			if was, ok := uids.Load(msg.UID); ok && name == "INBOX" {
				require.Equal(t, was.(string)+".", idOf(msg.Content), "UID %d", msg.UID)
			}
		}
		require.NoError(t, f.Close())
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	require.Equal(t, want, got)
	require.Len(t, ours(t, a, "INBOX").mails, len(list1(t, m)))
	t.Logf("%d messages of %d left in two folders", len(got), 5*each)
}

// safeText may be written by several.
type safeText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func list1(t *testing.T, m mailbox.Mailbox) []mailbox.Meta {
	metas, _ := list(t, m)
	return metas
}

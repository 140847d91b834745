//go:build unix

package maildir_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// letter is a message whose text shows whether it is whole.
func letter(id string) string {
	return "Subject: " + id + "\r\n\r\n" + strings.Repeat("line of "+id+"\r\n", 20) + "end of " + id + "\r\n"
}

// TestF01_Child works on a Maildir until it is killed, and tells each acknowledgement on its standard output:
//
//	S id            delivered, or appended
//	U folder validity uid id   has this UID
//	? id            is going to be expunged
func TestF01_Child(t *testing.T) {
	root, ok := strings.CutPrefix(os.Getenv(childEnv), "kill:")
	if !ok {
		t.Skip("runs as a child only")
	}
	s := &maildir.Store{Root: root}
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("\n=> "+format+"\n", args...)
	}
	ctx := context.Background()
	a, err := s.Account(ctx, "u")
	require.NoError(t, err)
	_ = a.Create(ctx, "Other", mailbox.CreateOptions{})
	for worker := range 4 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("m%d-%d-%d", os.Getpid(), worker, i)
				if err := childStep(ctx, s, a, id, say); err != nil {
					say("E %v", err)
				}
			}
		}()
	}
	select {} // until killed
}

func childStep(ctx context.Context, s *maildir.Store, a mailbox.Account, id string, say func(string, ...any)) error {
	switch rand.IntN(6) {
	case 0, 1:
		if err := s.Deliver(ctx, "u", "", strings.NewReader(letter(id)), mailbox.AppendOptions{}); err != nil {
			return err
		}
		say("S %s", id)
		return nil
	case 2:
		m, err := a.Open(ctx, "INBOX")
		if err != nil {
			return err
		}
		defer m.Close()
		meta, err := m.Append(ctx, strings.NewReader(letter(id)), mailbox.AppendOptions{})
		if err != nil {
			return err
		}
		say("S %s", id)
		ch, err := m.Changes(ctx, mailbox.Latest)
		if err != nil {
			return err
		}
		say("U INBOX %d %d %s", ch.State.UIDValidity, meta.UID, id)
		return nil
	case 3:
		return childFlag(ctx, a)
	case 4:
		return childExpunge(ctx, a, say)
	default:
		from, to := "INBOX", "Other"
		if rand.IntN(3) == 0 {
			from, to = to, from
		}
		_, err := mailbox.Move(ctx, a, from, 0, pick(ctx, a, from, 3), to)
		return err
	}
}

func childFlag(ctx context.Context, a mailbox.Account) error {
	m, err := a.Open(ctx, "INBOX")
	if err != nil {
		return err
	}
	defer m.Close()
	_, err = m.SetFlags(ctx, pick(ctx, a, "INBOX", 5), mailbox.FlagChange{
		Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flags(1 << rand.IntN(5)), Keywords: []string{fmt.Sprint("k", rand.IntN(5))}},
	})
	return err
}

func childExpunge(ctx context.Context, a mailbox.Account, say func(string, ...any)) error {
	m, err := a.Open(ctx, "Other")
	if err != nil {
		return err
	}
	defer m.Close()
	uids := pick(ctx, a, "Other", 2)
	for msg, err := range m.Read(ctx, uids) {
		if err == nil {
			say("? %s", idOf(msg.Content))
		}
	}
	_, err = m.Expunge(ctx, uids)
	return err
}

func idOf(c goniec.Content) string {
	line, _ := bufio.NewReader(goniec.NewReader(c)).ReadString('\n')
	return strings.TrimSpace(strings.TrimPrefix(line, "Subject: "))
}

// pick chooses up to n messages of a folder.
func pick(ctx context.Context, a mailbox.Account, name string, n int) mailbox.UIDSet {
	m, err := a.Open(ctx, name)
	if err != nil {
		return nil
	}
	defer m.Close()
	ch, err := m.Changes(ctx, 0)
	if err != nil {
		return nil
	}
	var all []mailbox.UID
	for meta := range ch.Messages {
		all = append(all, meta.UID)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return mailbox.UIDs(all[:min(n, len(all))]...)
}

// ledger is what children were told.
type ledger struct {
	mu      sync.Mutex
	stored  map[string]bool
	doubted map[string]bool
	uids    map[string]string // "folder validity uid" -> id
	errors  []string
}

// read takes in what a child says. stored is called with each acknowledgement.
func (l *ledger) read(r io.Reader, stored func()) {
	for in := bufio.NewScanner(r); in.Scan(); {
		line, ok := strings.CutPrefix(in.Text(), "=> ")
		if !ok {
			continue
		}
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "S":
			l.stored[rest] = true
			stored()
		case "?":
			l.doubted[rest] = true
		case "U":
			at := strings.LastIndexByte(rest, ' ')
			l.uids[rest[:at]] = rest[at+1:]
		case "E":
			l.errors = append(l.errors, rest)
		}
	}
}

// F01: a process is killed again and again at any moment of its work. What was acknowledged is there, whole, and
// no UID ever means two messages.
func TestF01_Killed(t *testing.T) {
	cycles := 20
	if long {
		cycles = 200
	}
	root := t.TempDir()
	l := &ledger{stored: map[string]bool{}, doubted: map[string]bool{}, uids: map[string]string{}}
	for cycle := range cycles {
		killOne(t, root, l, cycle%4 == 3)
	}
	t.Logf("%d messages acknowledged, %d of them expunged", len(l.stored), len(l.doubted))
	require.Empty(t, l.errors)
	require.GreaterOrEqual(t, len(l.stored), cycles/2)
	checkLedger(t, root, l)
}

// killOne kills a child at some moment: of its start, or after it has acknowledged its first message, however long that takes.
func killOne(t *testing.T, root string, l *ledger, early bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestF01_Child$")
	cmd.Env = append(os.Environ(), childEnv+"=kill:"+root)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	killer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	soon := func() { killer.Reset(time.Duration(rand.IntN(150)) * time.Millisecond) }
	if early {
		soon()
		soon = func() {}
	}
	l.read(out, sync.OnceFunc(soon))
	_ = cmd.Wait()
	if rand.IntN(4) == 0 {
		checkLedger(t, root, l)
	}
}

func checkLedger(t *testing.T, root string, l *ledger) {
	t.Helper()
	s := &maildir.Store{Root: root}
	defer s.Close()
	a, err := s.Account(t.Context(), "u")
	require.NoError(t, err)
	defer a.Close()
	there := make(map[string]bool)
	for _, name := range []string{"INBOX", "Other"} {
		m, err := a.Open(t.Context(), name)
		if name == "Other" && err != nil {
			continue
		}
		require.NoError(t, err)
		ch, err := m.Changes(t.Context(), mailbox.Latest)
		require.NoError(t, err)
		for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
			require.NoError(t, err)
			id := idOf(msg.Content)
			text, err := io.ReadAll(goniec.NewReader(msg.Content))
			require.NoError(t, err)
			require.Equal(t, letter(id), string(text), "partial message")
			there[id] = true
			key := fmt.Sprintf("%s %d %d", name, ch.State.UIDValidity, msg.UID)
			if was, ok := l.uids[key]; ok {
				require.Equal(t, was, id, "UID %s means another message", key)
			}
			l.uids[key] = id
			require.Less(t, msg.UID, ch.State.UIDNext)
		}
		require.NoError(t, m.Close())
	}
	for id := range l.stored {
		require.True(t, there[id] || l.doubted[id], "acknowledged %s is lost", id)
	}
}

// Two processes at once on one Maildir, then three Stores in this one: nothing is lost, and all see the
// same UIDs and mod-sequences.
func TestTwoProcesses(t *testing.T) {
	root := t.TempDir()
	ledgers := make([]*ledger, 2)
	var wg sync.WaitGroup
	for i := range ledgers {
		ledgers[i] = &ledger{stored: map[string]bool{}, doubted: map[string]bool{}, uids: map[string]string{}}
		wg.Go(func() {
			for range 3 {
				killOneQuietly(t, root, ledgers[i])
			}
		})
	}
	wg.Wait()
	all := ledgers[0]
	for _, l := range ledgers[1:] {
		for id := range l.stored {
			all.stored[id] = true
		}
		for id := range l.doubted {
			all.doubted[id] = true
		}
		for key, id := range l.uids {
			if was, ok := all.uids[key]; ok {
				require.Equal(t, was, id, "UID %s was given twice", key)
			}
			all.uids[key] = id
		}
		all.errors = append(all.errors, l.errors...)
	}
	t.Logf("%d messages acknowledged", len(all.stored))
	require.Empty(t, all.errors)
	checkLedger(t, root, all)
}

func killOneQuietly(t *testing.T, root string, l *ledger) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestF01_Child$")
	cmd.Env = append(os.Environ(), childEnv+"=kill:"+root)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return
	}
	killer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	l.read(out, sync.OnceFunc(func() { killer.Reset(300 * time.Millisecond) }))
	_ = cmd.Wait()
}

package mailboxtest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// childEnv tells the test binary, started again, that it is the other process, and its place.
const childEnv = "GONIEC_MAILBOXTEST_PLACE"

const processMessages = 60

// TestTwoProcesses lets two processes work on the same mail: open opens the store at a place, a
// temporary folder. The test binary is started again for the second process and runs the calling
// test alone, so this call must come first in a top-level test. Both append, flag and expunge; at the end all
// that was acknowledged by either is there once, and no UID was given twice. Then a folder is replaced that the other has open.
func TestTwoProcesses(t *testing.T, open func(t *testing.T, place string) mailbox.Store) {
	if place := os.Getenv(childEnv); place != "" {
		processWork(t, open(t, place), "child", os.Stdout)
		return
	}
	place := t.TempDir()
	store := open(t, place)
	processOpen(t, store) // the account is made once, by one
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v=false", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), childEnv+"="+place)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var mine strings.Builder
	processWork(t, store, "parent", &mine)
	ledger := readLedger(t, bufio.NewScanner(strings.NewReader(mine.String())), nil)
	ledger = readLedger(t, bufio.NewScanner(out), ledger)
	require.NoError(t, cmd.Wait())
	require.Len(t, ledger, 2*processMessages, "each message has a UID of its own")
	processCheck(t, store, ledger)
	processCheck(t, open(t, place), ledger)
	processReplace(t, store, open(t, place))
}

// processReplace puts another folder into the place of one that the first store has open, through the second, which stands
// for another process: what is meant for the one must not happen to the other, whose UIDs are the same.
func processReplace(t *testing.T, mine, theirs mailbox.Store) {
	first, second := processOpenAccount(t, mine), processOpenAccount(t, theirs)
	err := first.Create(t.Context(), "Work", mailbox.CreateOptions{})
	if errors.Is(err, mailbox.ErrCannot) {
		return // it has no folders
	}
	require.NoError(t, err)
	fill := func(a mailbox.Account, text string) mailbox.Mailbox {
		m, err := a.Open(t.Context(), "Work")
		require.NoError(t, err)
		t.Cleanup(func() { m.Close() })
		for range 3 {
			_, err := m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{})
			require.NoError(t, err)
		}
		return m
	}
	old := fill(first, "old\r\n")
	ch, err := old.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	require.NoError(t, mailbox.Rename(t.Context(), second, "Work", "Play"))
	require.NoError(t, second.Create(t.Context(), "Work", mailbox.CreateOptions{}))
	work := fill(second, "new\r\n")
	wrapped, err := Core(mine).Account(t.Context(), "alice@example.org")
	require.NoError(t, err)
	defer wrapped.Close()
	for _, a := range []mailbox.Account{first, wrapped} {
		for _, transfer := range []transferFunc{mailbox.Copy, mailbox.Move} {
			_, err := transfer(t.Context(), a, "Work", ch.State.UIDValidity, mailbox.AllUIDs(), "INBOX")
			require.ErrorIs(t, err, mailbox.ErrUIDValidity)
		}
	}
	for msg, err := range old.Read(t.Context(), mailbox.AllUIDs()) {
		require.True(t, err != nil || msg.Content.Size() > 0)
		if err == nil {
			text := make([]byte, msg.Content.Size())
			_, _ = msg.Content.ReadAt(text, 0)
			require.Equal(t, "old\r\n", string(text), "the handle shows another folder")
		}
	}
	_, _ = old.SetFlags(t.Context(), mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Deleted}})
	_, _ = old.Expunge(t.Context(), mailbox.AllUIDs())
	now, err := work.Changes(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, 3, now.State.Messages)
	for meta := range now.Messages {
		require.Zero(t, meta.Flags, "done to a message of another folder")
	}
}

func processOpenAccount(t *testing.T, s mailbox.Store) mailbox.Account {
	a, err := s.Account(t.Context(), "alice@example.org")
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

func processOpen(t *testing.T, s mailbox.Store) mailbox.Mailbox {
	a := processOpenAccount(t, s)
	m, err := a.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// processWork writes what was acknowledged: "uid text kept", kept false when it was expunged again.
func processWork(t *testing.T, s mailbox.Store, who string, ledger interface{ Write([]byte) (int, error) }) {
	m := processOpen(t, s)
	var last mailbox.UID
	for i := range processMessages {
		meta, err := m.Append(t.Context(), strings.NewReader(processText(who, i)), mailbox.AppendOptions{})
		require.NoError(t, err)
		require.Greater(t, meta.UID, last, "UIDs rise")
		last = meta.UID
		_, err = m.SetFlags(t.Context(), mailbox.UIDs(meta.UID),
			mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}})
		require.NoError(t, err)
		kept := i%5 != 0
		if !kept {
			gone, err := m.Expunge(t.Context(), mailbox.UIDs(meta.UID))
			require.NoError(t, err)
			require.Equal(t, 1, gone.Len())
		}
		fmt.Fprintf(ledger, "ledger %d %s %d %t\n", meta.UID, who, i, kept)
	}
}

func processText(who string, i int) string { return fmt.Sprintf("Subject: %s %d\r\n\r\n", who, i) }

type ledgerEntry struct {
	text string
	kept bool
}

func readLedger(t *testing.T, lines *bufio.Scanner, all map[mailbox.UID]ledgerEntry) map[mailbox.UID]ledgerEntry {
	if all == nil {
		all = make(map[mailbox.UID]ledgerEntry)
	}
	for lines.Scan() {
		var u mailbox.UID
		var who string
		var i int
		var kept bool
		if _, err := fmt.Sscanf(lines.Text(), "ledger %d %s %d %t", &u, &who, &i, &kept); err != nil {
			continue // what the testing package says
		}
		require.NotContains(t, all, u, "UID given twice")
		all[u] = ledgerEntry{processText(who, i), kept}
	}
	require.NoError(t, lines.Err())
	return all
}

func processCheck(t *testing.T, s mailbox.Store, ledger map[mailbox.UID]ledgerEntry) {
	m, found := processOpen(t, s), 0
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		want, ok := ledger[msg.UID]
		require.True(t, ok && want.kept, "UID %d", msg.UID)
		text := make([]byte, msg.Content.Size())
		_, err = msg.Content.ReadAt(text, 0)
		require.True(t, err == nil || string(text) == want.text)
		require.Equal(t, want.text, string(text))
		require.Equal(t, mailbox.Flagged, msg.Flags)
		found++
	}
	kept := 0
	for _, e := range ledger {
		if e.kept {
			kept++
		}
	}
	require.Equal(t, kept, found)
}

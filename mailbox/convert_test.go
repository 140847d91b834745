package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

func convertAccount(t *testing.T, s mailbox.Store) mailbox.Account {
	a, err := s.Account(t.Context(), "ann")
	require.NoError(t, err)
	return a
}

// convertSource has two folders of n messages; some are the same, octet by octet.
func convertSource(t *testing.T, n int) mailbox.Account {
	a := convertAccount(t, mailbox.NewMemory())
	require.NoError(t, a.Create(t.Context(), "Work/Old", mailbox.CreateOptions{}))
	require.NoError(t, mailbox.Subscribe(t.Context(), a, "Work/Old", true))
	for _, name := range []string{"INBOX", "Work/Old"} {
		m, err := a.Open(t.Context(), name)
		require.NoError(t, err)
		for i := range n {
			o := mailbox.AppendOptions{Date: time.Unix(int64(1e9+i/3), 0), Flags: mailbox.FlagList{System: mailbox.Flags(i) & mailbox.SystemFlags}}
			if i%4 == 0 {
				o.Flags.Keywords = []string{"Later", fmt.Sprintf("k%d", i%3)}
			}
			_, err := m.Append(t.Context(), strings.NewReader(fmt.Sprintf("Subject: %s %d\r\n\r\n", name, i/3)), o)
			require.NoError(t, err)
		}
		_, err = m.Expunge(t.Context(), mailbox.UIDs(2))
		require.NoError(t, err)
	}
	return a
}

func convertList(t *testing.T, a mailbox.Account, name string) (all []string) {
	m, err := a.Open(t.Context(), name)
	require.NoError(t, err)
	defer m.Close()
	ch, err := m.Changes(t.Context(), mailbox.Latest)
	require.NoError(t, err)
	for msg, err := range m.Read(t.Context(), mailbox.AllUIDs()) {
		require.NoError(t, err)
		b, err := io.ReadAll(goniec.NewReader(msg.Content))
		require.NoError(t, err)
		l := msg.Flags.List(ch.State.Keywords)
		slices.Sort(l.Keywords)
		all = append(all, fmt.Sprintf("%d %v %q", msg.Date, l, b))
	}
	return all
}

func TestConvert(t *testing.T) {
	from, to := convertSource(t, 150), convertAccount(t, &mailbox.Memory{})
	var last mailbox.Progress
	c := &mailbox.Converter{From: from, To: to, Verify: true, Progress: func(p mailbox.Progress) {
		require.GreaterOrEqual(t, p.Messages, last.Messages)
		last = p
	}}
	dry := *c
	dry.DryRun = true
	reports, err := dry.Run(t.Context())
	require.NoError(t, err)
	require.Len(t, reports, 2)
	require.Equal(t, 149, reports[0].Messages)
	require.Empty(t, convertList(t, to, "INBOX"))

	last = mailbox.Progress{}
	reports, err = c.Run(t.Context())
	require.NoError(t, err)
	for _, rep := range reports {
		require.Equal(t, 149, rep.Copied)
		require.Equal(t, 149, rep.Verified)
		require.Zero(t, rep.Missing)
		require.Equal(t, convertList(t, from, rep.From), convertList(t, to, rep.To))
	}
	require.EqualValues(t, 298, last.Messages)
	require.EqualValues(t, 298, last.Total)
	require.Equal(t, 2, last.Finished)
	subscribed, err := mailbox.Subscribed(t.Context(), to)
	require.NoError(t, err)
	require.Equal(t, []string{"Work/Old"}, subscribed)
	_, left := last.Rate(time.Unix(0, 0), time.Unix(10, 0), 0)
	require.Zero(t, left)
}

// TestConvertRename: some folders under other names, others not at all.
func TestConvertRename(t *testing.T) {
	from, to := convertSource(t, 5), convertAccount(t, mailbox.NewMemory())
	c := &mailbox.Converter{From: from, To: to, Rename: func(name string) string {
		if name == "INBOX" {
			return "Archive/2001"
		}
		return ""
	}}
	reports, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Len(t, reports, 1)
	require.Len(t, convertList(t, to, "Archive/2001"), 4)
	require.Empty(t, convertList(t, to, "INBOX"))
}

var errPulled = errors.New("the plug was pulled")

// fragile lets a number of Appends through, then none.
func fragile(a mailbox.Account, left *int) mailbox.Account { return fragileAccount{a, left} }

type fragileAccount struct {
	mailbox.Account
	left *int
}

func (a fragileAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	return fragileMailbox{m, a.left}, err
}

type fragileMailbox struct {
	mailbox.Mailbox
	left *int
}

func (m fragileMailbox) Append(ctx context.Context, msg io.Reader, o mailbox.AppendOptions) (mailbox.Meta, error) {
	if *m.left--; *m.left < 0 {
		return mailbox.Meta{}, errPulled
	}
	return m.Mailbox.Append(ctx, msg, o)
}

// TestConvertResume stops after each number of messages, several times in a row, while others deliver into the
// target: at the end each message is there once.
func TestConvertResume(t *testing.T) {
	t.Parallel()
	for step := 1; step < 200; step += 13 {
		disk := faultfs.NewCrash(1)
		dir, err := disk.OpenDir("/")
		require.NoError(t, err)
		from, to := convertSource(t, 100), convertAccount(t, mailbox.NewMemory())
		runs, foreign := 0, 0
		for {
			left := step
			c := &mailbox.Converter{From: from, To: fragile(to, &left), StateDir: dir, StateName: "state", Verify: true}
			_, err := c.Run(t.Context())
			if runs++; err == nil {
				break
			}
			require.ErrorIs(t, err, errPulled)
			require.Less(t, runs, 300)
			m, err := to.Open(t.Context(), "INBOX")
			require.NoError(t, err)
			if foreign < 3 {
				_, err = m.Append(t.Context(), strings.NewReader(fmt.Sprintf("foreign %d", foreign)), mailbox.AppendOptions{})
				require.NoError(t, err)
				foreign++
			}
		}
		got := slices.DeleteFunc(convertList(t, to, "INBOX"), func(s string) bool { return strings.Contains(s, "foreign") })
		require.Equal(t, convertList(t, from, "INBOX"), got, "step %d", step)
		require.Equal(t, convertList(t, from, "Work/Old"), convertList(t, to, "Work/Old"), "step %d", step)
		// Once more: nothing is left to do; then one new message.
		c := &mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state"}
		reports, err := c.Run(t.Context())
		require.NoError(t, err)
		require.Zero(t, reports[0].Copied+reports[1].Copied)
		m, err := from.Open(t.Context(), "INBOX")
		require.NoError(t, err)
		_, err = m.Append(t.Context(), strings.NewReader("late"), mailbox.AppendOptions{})
		require.NoError(t, err)
		reports, err = c.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, reports[0].Copied+reports[1].Copied)
		require.NoError(t, dir.Close())
	}
}

// TestConvertTooLarge: a message that the target can not take is reported and tried again, and stops nothing.
func TestConvertTooLarge(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	from := convertAccount(t, mailbox.NewMemory())
	m, err := from.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	for _, n := range []int{10, 200, 20} {
		_, err := m.Append(t.Context(), strings.NewReader(strings.Repeat("x", n)), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
	small := &mailbox.Memory{MaxMessageBytes: 100}
	to := convertAccount(t, small)
	c := &mailbox.Converter{From: from, To: to, StateDir: dir, StateName: "state", Verify: true}
	for _, copied := range []int{2, 0} {
		reports, err := c.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, copied, reports[0].Copied)
		require.Len(t, reports[0].Failed, 1)
		require.ErrorIs(t, reports[0].Failed[0].Err, mailbox.ErrTooLarge)
		require.Equal(t, 1, reports[0].Missing)
	}
	small.MaxMessageBytes = 1000
	reports, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, reports[0].Copied)
	require.Empty(t, reports[0].Failed)
	require.Equal(t, 3, reports[0].Verified)
}

func TestConvertState(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	require.NoError(t, faultfs.WriteFile(dir, "state", []byte("shopping list\n"), 0o600))
	c := &mailbox.Converter{From: convertSource(t, 3), To: convertAccount(t, mailbox.NewMemory()), StateDir: dir, StateName: "state"}
	_, err = c.Run(t.Context())
	require.ErrorContains(t, err, "not the state of a conversion")
	c.StateName = "other"
	_, err = c.Run(t.Context())
	require.NoError(t, err)
}

// TestConvertOtherUIDs: the source's UIDs change between two runs, as those of a file that another program has written do.
// What was copied is known by its content, also where the target's user has removed it meanwhile.
func TestConvertOtherUIDs(t *testing.T) {
	dir, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(t, err)
	to := convertAccount(t, mailbox.NewMemory())
	later := &mailbox.Memory{Now: func() time.Time { return time.Now().Add(time.Hour) }}
	sources := []mailbox.Account{convertAccount(t, mailbox.NewMemory()), convertAccount(t, later)}
	put := func(a mailbox.Account, text string) {
		m, err := a.Open(t.Context(), "INBOX")
		require.NoError(t, err)
		_, err = m.Append(t.Context(), strings.NewReader(text), mailbox.AppendOptions{Date: time.Unix(1e9, 0)})
		require.NoError(t, err)
	}
	for _, text := range []string{"one", "twice", "twice", "two"} {
		put(sources[0], text)
	}
	for _, text := range []string{"new", "two", "twice", "twice", "twice", "one"} {
		put(sources[1], text)
	}
	texts := func() (all []string) {
		for _, line := range convertList(t, to, "INBOX") {
			all = append(all, line[strings.Index(line, "\""):])
		}
		return all
	}
	c := &mailbox.Converter{From: sources[0], To: to, StateDir: dir, StateName: "state"}
	_, err = c.Run(t.Context())
	require.NoError(t, err)
	m, err := to.Open(t.Context(), "INBOX")
	require.NoError(t, err)
	_, err = m.Expunge(t.Context(), mailbox.UIDs(1)) // "one": its user does not want it
	require.NoError(t, err)
	c.From = sources[1]
	reports, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{`"twice"`, `"twice"`, `"two"`, `"new"`, `"twice"`}, texts())
	require.Equal(t, 2, reports[0].Copied)
	require.Equal(t, 4, reports[0].Before)
	for _, from := range sources { // and back, and forth
		c.From = from
		reports, err = c.Run(t.Context())
		require.NoError(t, err)
		require.Zero(t, reports[0].Copied)
	}
}

package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mailbox/mailboxtest"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// openInbox returns an account of a new memory store and its INBOX.
func openInbox(t require.TestingT, s mailbox.Store) (mailbox.Account, mailbox.Mailbox) {
	a, err := s.Account(context.Background(), "alice")
	require.NoError(t, err)
	m, err := a.Open(context.Background(), "INBOX")
	require.NoError(t, err)
	return a, m
}

func appendN(t require.TestingT, m mailbox.Mailbox, n int) {
	for i := range n {
		_, err := m.Append(context.Background(), strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n", i)), mailbox.AppendOptions{})
		require.NoError(t, err)
	}
}

func expunge(t require.TestingT, m mailbox.Mailbox, uids string) {
	set, err := mailbox.ParseUIDSet(uids)
	require.NoError(t, err)
	_, err = m.Expunge(context.Background(), set)
	require.NoError(t, err)
}

func flag(t require.TestingT, m mailbox.Mailbox, uids string, f mailbox.Flags) {
	set, err := mailbox.ParseUIDSet(uids)
	require.NoError(t, err)
	_, err = m.SetFlags(context.Background(), set, mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: f}})
	require.NoError(t, err)
}

func openView(t require.TestingT, m mailbox.Mailbox) *mailbox.View {
	v, err := mailbox.OpenView(context.Background(), m)
	require.NoError(t, err)
	return v
}

func TestNumSetText(t *testing.T) {
	for _, text := range []string{"1", "*", "1:*", "*:1", "3:1,7,*:9", "4294967295", "1,1,1"} {
		set, err := mailbox.ParseNumSet(text)
		require.NoError(t, err, text)
		require.Equal(t, text, set.String())
	}
	for _, text := range []string{"", "0", "1:0", ",", "1,", "1:", ":", "**", "*1", "-1", "4294967296", "a"} {
		_, err := mailbox.ParseNumSet(text)
		require.ErrorIs(t, err, mailbox.ErrNumSet, text)
	}
}

// TestViewSets: five messages with the UIDs 2, 4, 5, 6 and 10.
func TestViewSets(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 10)
	expunge(t, m, "1,3,7:9")
	v := openView(t, m)
	require.Equal(t, 5, v.Len())
	require.Equal(t, "2,4:6,10", v.UIDSet().String())
	for n, u := range []mailbox.UID{0, 2, 4, 5, 6, 10, 0} {
		require.Equal(t, u, v.UID(uint32(n)))
		if u != 0 {
			require.EqualValues(t, n, v.Number(u))
		}
	}
	require.Zero(t, v.Number(3))
	require.Zero(t, v.Number(11))
	for numbers, want := range map[string]string{
		"1": "2", "5": "10", "*": "10", "1:*": "2,4:6,10", "*:1": "2,4:6,10", "2:4": "4:6", "4:2": "4:6", "3,1": "2,5",
		"1:5,2:3,1": "2,4:6,10", "5,*": "10", "*:4": "6,10", "6": "error", "4:6": "error", "1,4294967295": "error",
	} {
		set, err := mailbox.ParseNumSet(numbers)
		require.NoError(t, err)
		got, err := v.UIDs(set)
		if want == "error" {
			require.ErrorIs(t, err, mailbox.ErrNumber, numbers)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, got.String(), numbers)
	}
	for uids, want := range map[string]string{
		"1": "", "2": "2", "*": "10", "1:*": "2,4:6,10", "7:*": "10", "10:*": "10", "11:*": "10", "*:4294967295": "10",
		"3:5": "4:5", "5:3": "4:5", "6,2": "2,6", "4294967295": "",
	} {
		set, err := mailbox.ParseNumSet(uids)
		require.NoError(t, err)
		require.Equal(t, want, v.KnownUIDs(set).String(), uids)
	}
	require.Equal(t, "1,3:5", v.Numbers(mailbox.UIDs(1, 2, 3, 5, 6, 10, 99)).String())
	require.Empty(t, v.Numbers(nil))
	got := map[uint32]mailbox.UID{}
	for n, u := range v.Each(mailbox.AllUIDs()) {
		got[n] = u
	}
	require.Equal(t, map[uint32]mailbox.UID{1: 2, 2: 4, 3: 5, 4: 6, 5: 10}, got)
}

func TestViewEmpty(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	v := openView(t, m)
	require.Zero(t, v.Len())
	for _, text := range []string{"*", "1", "1:*"} {
		set, err := mailbox.ParseNumSet(text)
		require.NoError(t, err)
		_, err = v.UIDs(set)
		require.ErrorIs(t, err, mailbox.ErrNumber, text)
		require.Empty(t, v.KnownUIDs(set))
	}
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.True(t, u.Empty())
	require.Zero(t, u.Exists)
}

// told is an Update as text: "-5 -2 =3 1:Seen".
func told(u *mailbox.Update) string {
	var out []string
	for n := range u.Expunged() {
		out = append(out, fmt.Sprintf("-%d", n))
	}
	if !u.Added.Empty() {
		out = append(out, fmt.Sprintf("=%d", u.Exists))
	}
	for n, m := range u.Changed() {
		out = append(out, fmt.Sprintf("%d:%d", n, m.Flags))
	}
	return strings.Join(out, " ")
}

// TestViewPoll: what one session is told of what another does. UIDs are 1 to 5 at the start.
func TestViewPoll(t *testing.T) {
	type step struct {
		do       string // comma-free operations on UIDs: "+n" append n, "-set" expunge, "!set" flag \Flagged
		announce mailbox.Announce
		want     string
	}
	hold, all := mailbox.HoldExpunges, mailbox.Everything
	for name, steps := range map[string][]step{
		"nothing":           {{"", all, ""}, {"", hold, ""}},
		"append":            {{"+2", all, "=7"}, {"+1", hold, "=8"}, {"", all, ""}},
		"expunge order":     {{"-1,3:4", all, "-4 -3 -1"}, {"-2,5", all, "-2 -1"}},
		"held":              {{"-2", hold, ""}, {"-4", hold, ""}, {"", all, "-4 -2"}, {"", all, ""}},
		"held and new":      {{"-2", hold, ""}, {"+1", hold, "=6"}, {"-6", hold, ""}, {"", all, "-6 -2"}},
		"flags":             {{"!2,4", all, "2:4 4:4"}, {"!2", all, ""}},
		"flags held":        {{"-1", hold, ""}, {"!3", hold, "3:4"}, {"!4", all, "-1 3:4"}},
		"flag then gone":    {{"!3 -3", all, "-3"}},
		"flag gone held":    {{"!3 -3", hold, ""}, {"", all, "-3"}},
		"new and gone":      {{"+1 -6", all, ""}, {"+1", all, "=6"}},
		"replace all":       {{"-1:5 +5", all, "-5 -4 -3 -2 -1 =5"}},
		"last gone, new":    {{"-5", all, "-5"}, {"+1", all, "=5"}},
		"new with a flag":   {{"+1 !6", all, "=6"}, {"!6", all, ""}},
		"all of it at once": {{"-2 +1 !1,5,6", all, "-2 =5 1:4 4:4"}},
	} {
		for history, store := range map[string]*mailbox.Memory{"history": {}, "no history": {HistoryLimit: -1}} {
			t.Run(name+", "+history, func(t *testing.T) {
				a, m := openInbox(t, store)
				appendN(t, m, 5)
				v := openView(t, m)
				other, err := a.Open(t.Context(), "INBOX")
				require.NoError(t, err)
				for i, s := range steps {
					for op := range strings.FieldsSeq(s.do) {
						switch op[0] {
						case '+':
							appendN(t, other, int(op[1]-'0'))
						case '-':
							expunge(t, other, op[1:])
						case '!':
							flag(t, other, op[1:], mailbox.Flagged)
						}
					}
					u, err := v.Poll(t.Context(), s.announce)
					require.NoError(t, err)
					require.Equal(t, s.want, told(u), "step %d", i)
					require.Equal(t, s.want == "", u.Empty())
				}
			})
		}
	}
}

func TestViewHeld(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 4)
	v := openView(t, m)
	before := v.ModSeq()
	expunge(t, m, "2")
	_, err := v.Poll(t.Context(), mailbox.HoldExpunges)
	require.NoError(t, err)
	require.Equal(t, "2", v.Held().String())
	require.Equal(t, 4, v.Len())
	require.EqualValues(t, 2, v.Number(2))
	require.Equal(t, 3, v.State().Messages)
	require.Equal(t, before, v.ModSeq(), "the client does not know of the expunge")
	flag(t, m, "3", mailbox.Seen)
	_, err = v.Poll(t.Context(), mailbox.HoldExpunges)
	require.NoError(t, err)
	require.Equal(t, before, v.ModSeq())
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.Equal(t, "2", u.Vanished.String())
	require.Empty(t, v.Held())
	require.Equal(t, v.State().ModSeq, v.ModSeq())
}

func TestViewKeywords(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 1)
	v := openView(t, m)
	_, err := m.SetFlags(t.Context(), mailbox.UIDs(1), mailbox.FlagChange{
		Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{Keywords: []string{"$Junk"}},
	})
	require.NoError(t, err)
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.True(t, u.NewKeywords)
	for _, meta := range u.Changed() {
		require.Equal(t, []string{"$Junk"}, meta.Flags.List(u.State.Keywords).Keywords)
	}
	u, err = v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.False(t, u.NewKeywords)
}

// otherFolder answers Changes with another UIDVALIDITY, or an error.
type otherFolder struct {
	mailbox.Mailbox
	validity uint32
	err      error
}

func (o *otherFolder) Changes(ctx context.Context, since mailbox.ModSeq) (*mailbox.Changes, error) {
	ch, err := o.Mailbox.Changes(ctx, since)
	if err == nil && o.validity != 0 {
		ch.State.UIDValidity = o.validity
	}
	return ch, errors.Join(err, o.err)
}

func TestViewErrors(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 3)
	o := &otherFolder{Mailbox: m}
	v := openView(t, o)
	expunge(t, m, "1")
	o.validity = 12345
	_, err := v.Poll(t.Context(), mailbox.Everything)
	require.ErrorIs(t, err, mailbox.ErrUIDValidity)
	o.validity, o.err = 0, errors.New("disk")
	_, err = v.Poll(t.Context(), mailbox.Everything)
	require.ErrorIs(t, err, o.err)
	require.Equal(t, 3, v.Len(), "as it was")
	_, err = mailbox.OpenView(t.Context(), o)
	require.Error(t, err)
	o.err = nil
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.Equal(t, "-1", told(u))
}

// TestViewLateUID: a store that shows a UID below UIDNEXT late must not shift the client's numbers.
func TestViewLateUID(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 3)
	hidden := &hiding{m, 2}
	v := openView(t, hidden)
	require.Equal(t, 2, v.Len())
	hidden.uid = 0
	flag(t, m, "2", mailbox.Seen)
	u, err := v.Poll(t.Context(), mailbox.Everything)
	require.NoError(t, err)
	require.True(t, u.Empty())
	require.Equal(t, "1,3", v.UIDSet().String())
}

// hiding leaves a message out of its list.
type hiding struct {
	mailbox.Mailbox
	uid mailbox.UID
}

func (h *hiding) Changes(ctx context.Context, since mailbox.ModSeq) (*mailbox.Changes, error) {
	ch, err := h.Mailbox.Changes(ctx, since)
	if err != nil {
		return nil, err
	}
	all, hidden := ch.Messages, h.uid
	ch.Messages = func(yield func(mailbox.Meta) bool) {
		for m := range all {
			if m.UID != hidden && !yield(m) {
				return
			}
		}
	}
	return ch, nil
}

// TestViewMemory: 100,000 messages with a thousand gaps cost a session at most 8 KiB and a bit.
func TestViewMemory(t *testing.T) {
	ch := &mailbox.Changes{State: mailbox.State{UIDValidity: 1, UIDNext: 200_000, ModSeq: 1}}
	ch.Messages = func(yield func(mailbox.Meta) bool) {
		for i := range 100_000 {
			if !yield(mailbox.Meta{UID: mailbox.UID(i + i/105 + 1)}) {
				return
			}
		}
	}
	const n = 100
	views := make([]*mailbox.View, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // twice: what other tests have left in pools goes now, not later
	runtime.ReadMemStats(&before)
	for i := range views {
		views[i] = mailbox.NewView(nil, ch)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Equal(t, 100_000, views[0].Len())
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d gaps, %d octets for each View", len(views[0].UIDSet()), each)
	require.LessOrEqual(t, each, int64(8<<10+512))
	runtime.KeepAlive(views)
}

// client is an IMAP client that believes what it is told.
type client struct {
	view  *mailbox.View
	uids  []mailbox.UID
	flags []mailbox.Flags
}

func newClient(t require.TestingT, m mailbox.Mailbox) *client {
	c := &client{view: openView(t, m)}
	c.grow(t, c.view.Len())
	return c
}

func (c *client) grow(t require.TestingT, exists int) {
	for n := len(c.uids) + 1; n <= exists; n++ {
		c.uids = append(c.uids, c.view.UID(uint32(n)))
		c.flags = append(c.flags, 0)
	}
	require.Len(t, c.uids, exists)
}

func (c *client) poll(t require.TestingT, a mailbox.Announce) {
	u, err := c.view.Poll(context.Background(), a)
	require.NoError(t, err)
	for n := range u.Expunged() {
		require.LessOrEqual(t, int(n), len(c.uids))
		require.True(t, u.Vanished.Contains(c.uids[n-1]))
		c.uids, c.flags = slices.Delete(c.uids, int(n-1), int(n)), slices.Delete(c.flags, int(n-1), int(n))
	}
	c.grow(t, u.Exists)
	for n, m := range u.Changed() {
		require.Equal(t, c.uids[n-1], m.UID)
		c.flags[n-1] = m.Flags
	}
	require.True(t, a == mailbox.Everything || u.Vanished.Empty())
	for i, uid := range c.uids { // the numbering agrees with what the client was told
		require.Equal(t, uid, c.view.UID(uint32(i+1)))
		require.EqualValues(t, i+1, c.view.Number(uid))
	}
	require.Zero(t, c.view.UID(uint32(len(c.uids)+1)))
}

// TestI12_ViewRandomWalk: sessions that change one folder at random and poll at random. What a client
// was told is the truth whenever it was told everything, and its numbers never shift silently.
func TestI12_ViewRandomWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := &mailbox.Memory{HistoryLimit: rapid.SampledFrom([]int{-1, 1, 3, 0}).Draw(t, "history")}
		var s mailbox.Store = store
		if rapid.Bool().Draw(t, "core") {
			s = mailboxtest.Core(s)
		}
		_, m := openInbox(t, s)
		appendN(t, m, rapid.IntRange(0, 8).Draw(t, "start"))
		clients := []*client{newClient(t, m), newClient(t, m)}
		truth := map[mailbox.UID]mailbox.Flags{}
		uid := func() mailbox.UID { return mailbox.UID(rapid.IntRange(1, 30).Draw(t, "uid")) }
		t.Repeat(map[string]func(*rapid.T){
			"append":  func(t *rapid.T) { appendN(t, m, rapid.IntRange(1, 3).Draw(t, "n")) },
			"expunge": func(t *rapid.T) { expunge(t, m, mailbox.UIDs(uid(), uid(), uid()).String()) },
			"flag": func(t *rapid.T) {
				flag(t, m, mailbox.UIDs(uid(), uid()).String(), mailbox.Flags(rapid.IntRange(1, 31).Draw(t, "flags")))
			},
			"hold": func(t *rapid.T) { clients[rapid.IntRange(0, 1).Draw(t, "client")].poll(t, mailbox.HoldExpunges) },
			"poll": func(t *rapid.T) {
				c := clients[rapid.IntRange(0, 1).Draw(t, "client")]
				c.poll(t, mailbox.Everything)
				clear(truth)
				ch, err := m.Changes(context.Background(), 0)
				require.NoError(t, err)
				for meta := range ch.Messages {
					truth[meta.UID] = meta.Flags
				}
				require.Len(t, c.uids, len(truth))
				for i, u := range c.uids {
					// New messages come with the flags that FETCH shows: the client asks once.
					if c.flags[i] != truth[u] {
						require.Zero(t, c.flags[i])
						c.flags[i] = truth[u]
					}
				}
			},
		})
	})
}

// TestI04_ViewSets: a client that names the folder a thousand times over gets it once.
func TestI04_ViewSets(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	appendN(t, m, 10)
	expunge(t, m, "2,4,6,8")
	v := openView(t, m)
	var set mailbox.NumSet
	for range 100_000 {
		set = append(set, mailbox.NumRange{First: 1}, mailbox.NumRange{First: 0, Last: 1}, mailbox.NumRange{})
	}
	got, err := v.UIDs(set)
	require.NoError(t, err)
	require.Equal(t, v.UIDSet(), got)
	require.Equal(t, v.UIDSet(), v.KnownUIDs(append(set, mailbox.NumRange{First: 1, Last: 4294967295})))
}

// TestViewSequence compares numbers with counting, over many intervals.
func TestViewSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ch := &mailbox.Changes{State: mailbox.State{UIDValidity: 1, ModSeq: 1}}
		var uids []mailbox.UID
		last := 0
		for _, gap := range rapid.SliceOfN(rapid.IntRange(1, 3), 0, 400).Draw(t, "gaps") {
			last += gap
			uids = append(uids, mailbox.UID(last))
		}
		ch.Messages = func(yield func(mailbox.Meta) bool) {
			for _, u := range uids {
				if !yield(mailbox.Meta{UID: u}) {
					return
				}
			}
		}
		v := mailbox.NewView(nil, ch)
		require.Equal(t, len(uids), v.Len())
		for i, u := range uids {
			require.Equal(t, u, v.UID(uint32(i+1)))
			require.EqualValues(t, i+1, v.Number(u))
		}
		if len(uids) == 0 {
			return
		}
		var set mailbox.NumSet
		want := map[mailbox.UID]bool{}
		number := rapid.IntRange(1, len(uids))
		for range rapid.IntRange(1, 5).Draw(t, "ranges") {
			a, b := number.Draw(t, "a"), number.Draw(t, "b")
			set = append(set, mailbox.NumRange{First: uint32(a), Last: uint32(b)})
			for n := min(a, b); n <= max(a, b); n++ {
				want[uids[n-1]] = true
			}
		}
		got, err := v.UIDs(set)
		require.NoError(t, err)
		require.Equal(t, len(want), got.Len())
		for u := range got.All() {
			require.True(t, want[u])
		}
		back, err := v.UIDs(v.Numbers(got))
		require.NoError(t, err)
		require.Equal(t, got, back)
	})
}

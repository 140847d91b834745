package mailboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/iotest"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

var mailboxScenarios = []scenario{
	{"Empty", 0, testEmpty},
	{"Append", LacksAppend, testAppend},
	{"AppendMeta", LacksAppend | LacksKeywords | LacksDates, testAppendMeta},
	{"Octets", LacksAppend, testOctets},
	{"ReadAt", 0, testReadAt},
	{"I15_AppendCut", LacksAppend, testAppendCut},
	{"Changes", LacksFlags, testChanges},
	{"Snapshot", LacksAppend | LacksFlags, testSnapshot},
	{"SetFlags", LacksFlags, testSetFlags},
	{"Keywords", LacksFlags | LacksKeywords, testKeywords},
	{"KeywordLimit", LacksFlags | LacksKeywords, testKeywordLimit},
	{"BadKeywords", LacksFlags | LacksKeywords, testBadKeywords},
	{"UnchangedSince", LacksFlags, testUnchangedSince},
	{"Expunge", LacksExpunge, testExpunge},
	{"I11_UIDsRise", LacksExpunge | LacksAppend, testUIDsRise},
	{"ReadSubset", LacksExpunge, testReadSubset},
	{"ReadGone", LacksExpunge, testReadGone},
	{"TwoHandles", LacksFlags | LacksExpunge | LacksAppend, testTwoHandles},
	{"Context", LacksAppend | LacksFlags | LacksExpunge, testContext},
	{"ReadOnly", 0, testReadOnly},
}

func testEmpty(f *fixture) {
	b := f.inbox()
	ch, metas := b.changes(0)
	require.Empty(f, metas)
	require.Equal(f, 0, ch.State.Messages)
	require.Empty(f, b.texts(mailbox.AllUIDs()))
	require.Empty(f, b.texts(nil))
	if !f.lacks(LacksExpunge) {
		gone, err := b.Expunge(f.ctx, mailbox.AllUIDs())
		require.NoError(f, err)
		require.Empty(f, gone)
	}
	if !f.lacks(LacksFlags) {
		res := b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, 1, 2, 3)
		require.Empty(f, res.Changed)
		require.Empty(f, res.Modified)
	}
	require.Equal(f, ch.State.ModSeq, b.state().ModSeq, "nothing was done to it")
}

func testAppend(f *fixture) {
	b := f.inbox()
	before := b.state()
	start := time.Now()
	first := b.add(numbered(1), mailbox.AppendOptions{})
	second := b.add(numbered(2), mailbox.AppendOptions{})
	require.GreaterOrEqual(f, first.UID, before.UIDNext)
	require.Greater(f, second.UID, first.UID)
	ch, metas := b.changes(0)
	require.Greater(f, ch.State.ModSeq, before.ModSeq)
	require.Equal(f, before.UIDValidity, ch.State.UIDValidity)
	require.Len(f, metas, 2)
	for i, m := range metas {
		require.Contains(f, []int64{-1, int64(len(numbered(i + 1)))}, m.Size)
		require.Zero(f, m.Flags)
		require.InDelta(f, start.Unix(), int64(m.Date), 120, "INTERNALDATE is now")
	}
	require.Equal(f, []string{numbered(1), numbered(2)}, b.texts(mailbox.AllUIDs()))
}

func testAppendMeta(f *fixture) {
	b := f.inbox()
	date := time.Date(1999, 12, 31, 23, 59, 58, 0, time.FixedZone("", -8*3600))
	list := mailbox.FlagList{
		System:   mailbox.Seen | mailbox.Answered | mailbox.Flagged | mailbox.Deleted | mailbox.Draft,
		Keywords: []string{"$Forwarded", "Custom"},
	}
	meta := b.add(numbered(1), mailbox.AppendOptions{Flags: list, Date: date})
	require.EqualValues(f, date.Unix(), meta.Date)
	require.Equal(f, list, b.flags(meta.UID))
	listed := b.meta(meta.UID)
	require.Equal(f, meta.Flags, listed.Flags)
	require.Equal(f, meta.ModSeq, listed.ModSeq)
	require.EqualValues(f, date.Unix(), listed.Date)
	for msg, err := range b.Read(f.ctx, mailbox.UIDs(meta.UID)) {
		require.NoError(f, err)
		require.Equal(f, listed.Flags, msg.Flags)
		require.Equal(f, listed.Date, msg.Date)
	}
}

// octets are messages that stores are tempted to change.
func octets() map[string]string {
	long := strings.Repeat("0123456789", 1000)
	return map[string]string{
		"empty":            "",
		"one CRLF":         "\r\n",
		"header only":      "Subject: x\r\n",
		"no final newline": "Subject: x\r\n\r\nbody",
		"bare LF":          "Subject: x\n\nbody\n",
		"mixed":            "Subject: x\r\n\r\na\nb\r\nc\rd\r\r\ne\n\r\n",
		"bare CR":          "Subject: x\r\n\r\na\rb\r",
		"ends in CR":       "Subject: x\r\n\r\nabc\r",
		"only LF":          "\n",
		"only CR":          "\r",
		"LF CR":            "\n\r\n\r\n\r",
		"NUL":              "Subject: x\r\n\r\na\x00b\x00\r\n",
		"eight bit":        "Subject: \xff\xfe\r\n\r\nzażółć gęślą \x80\x81\r\n",
		"dots":             "Subject: x\r\n\r\n.\r\n..\r\n.\r\n",
		"From lines":       "Subject: x\r\n\r\nFrom here\r\n>From there\r\n>>From far\r\n\r\nFrom nowhere\r\n",
		"From first":       "From a@example.org Sat Jan  3 01:05:34 1996\r\nSubject: x\r\n\r\nbody\r\n",
		"status fields":    "Status: RO\r\nX-Status: A\r\nX-UID: 77\r\nX-Keywords: a b\r\nContent-Length: 3\r\nSubject: x\r\n\r\nbody\r\n",
		"empty lines":      "\r\n\r\n\r\n\r\n",
		"long line":        "Subject: x\r\n\r\n" + long + "\r\n" + long,
		"large":            "Subject: x\r\n\r\n" + strings.Repeat("A line of sixty-four characters, as base64 would have them.....\r\n", 4000),
		"large LF":         strings.Repeat("A line with a bare newline\n", 9000),
	}
}

// testOctets: what is read is what was appended, octet for octet.
func testOctets(f *fixture) {
	b := f.inbox()
	names := make(map[mailbox.UID]string)
	all := octets()
	for name, text := range all {
		meta := b.add(text, mailbox.AppendOptions{})
		require.Contains(f, []int64{-1, int64(len(text))}, meta.Size, name)
		names[meta.UID] = name
	}
	for round := range 2 { // the second time, whatever is cached is used
		for uid, name := range names {
			require.True(f, all[name] == b.read(uid), "%s, round %d", name, round)
		}
	}
}

// testReadAt reads pieces at random places, and beyond the end.
func testReadAt(f *fixture) {
	text := "Subject: x\r\n\r\n"
	for i := range 5000 {
		text += fmt.Sprintf("line %d of many\r\n", i)
	}
	b := f.inbox()
	uid := b.add(text, mailbox.AppendOptions{}).UID
	rnd := rand.New(rand.NewPCG(1, 2))
	for msg, err := range b.Read(f.ctx, mailbox.UIDs(uid)) {
		require.NoError(f, err)
		c := msg.Content
		for range 200 {
			off := rnd.IntN(len(text))
			p := make([]byte, rnd.IntN(700))
			n, err := c.ReadAt(p, int64(off))
			require.Equal(f, text[off:off+n], string(p[:n]))
			if n < len(p) {
				require.ErrorIs(f, err, io.EOF)
				require.Equal(f, len(text), off+n)
			}
		}
		n, err := c.ReadAt(make([]byte, 1), int64(len(text)))
		require.Zero(f, n)
		require.ErrorIs(f, err, io.EOF)
		all, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
		require.NoError(f, err)
		require.Equal(f, text, string(all))
		// Octet by octet and every other way around 64 KiB, of the message and of a file with LF.
		for _, at := range []int{0, 64<<10 - 500, 64<<10 + strings.Count(text[:68<<10], "\n") - 500, len(text) - 1000} {
			require.NoError(f, iotest.TestReader(io.NewSectionReader(c, int64(at), 1000), []byte(text[at:at+1000])))
		}
	}
}

// testAppendCut: a message whose source fails at any byte is not stored (I15).
func testAppendCut(f *fixture) {
	b := f.inbox()
	b.fill(1)
	before, cut := b.state(), errors.New("connection lost")
	text := numbered(7) + strings.Repeat("x", 100_000)
	for _, n := range []int{0, 1, 20, len(numbered(7)), 4096, 65536, len(text) - 1, len(text)} {
		r := io.MultiReader(strings.NewReader(text[:n]), iotest.ErrReader(cut))
		_, err := b.Append(f.ctx, r, mailbox.AppendOptions{})
		require.ErrorIs(f, err, cut, "cut after %d octets", n)
	}
	after := b.state()
	require.Equal(f, before.Messages, after.Messages)
	require.Equal(f, numbered(0), b.read(b.uids()[0]))
	require.Greater(f, b.add(numbered(1), mailbox.AppendOptions{}).UID, mailbox.UID(0))
	require.Len(f, b.uids(), 2)
}

func testChanges(f *fixture) {
	b := f.inbox()
	uids := b.fill(5)
	s0 := b.state()
	_, metas := b.changes(s0.ModSeq)
	require.Empty(f, metas, "nothing is newer")
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, uids[3], uids[1])
	ch, metas := b.changes(s0.ModSeq)
	require.Greater(f, ch.State.ModSeq, s0.ModSeq)
	require.Len(f, metas, 2)
	require.Equal(f, []mailbox.UID{uids[1], uids[3]}, []mailbox.UID{metas[0].UID, metas[1].UID})
	s1 := ch.State
	sixth := b.add(numbered(6), mailbox.AppendOptions{})
	_, metas = b.changes(s1.ModSeq)
	require.Len(f, metas, 1)
	require.Equal(f, sixth.UID, metas[0].UID)
	_, metas = b.changes(s0.ModSeq)
	require.Len(f, metas, 3)
	if f.lacks(LacksExpunge) {
		return
	}
	_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[1], sixth.UID))
	require.NoError(f, err)
	ch, metas = b.changes(s0.ModSeq)
	require.Len(f, metas, 1, "an expunged message is not listed")
	if ch.Known {
		require.True(f, ch.Expunged.Contains(uids[1]))
		require.True(f, ch.Expunged.Contains(sixth.UID))
	}
	ch, _ = b.changes(ch.State.ModSeq)
	require.Empty(f, ch.Expunged, "nothing was expunged since")
}

// testSnapshot: an answer does not change, and can be gone through again.
func testSnapshot(f *fixture) {
	b := f.inbox()
	uids := b.fill(4)
	ch, metas := b.changes(0)
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Flagged}, uids...)
	b.fill(2)
	if !f.lacks(LacksExpunge) {
		_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[0]))
		require.NoError(f, err)
	}
	for range 2 {
		require.Equal(f, metas, slices.Collect(ch.Messages))
	}
	for range ch.Messages { // stopping early is allowed
		break
	}
}

func testSetFlags(f *fixture) {
	b := f.inbox()
	uids := b.fill(3)
	steps := []struct {
		op      mailbox.FlagOp
		flags   mailbox.Flags
		want    mailbox.Flags
		changes bool
	}{
		{mailbox.FlagsAdd, mailbox.Seen, mailbox.Seen, true},
		{mailbox.FlagsAdd, mailbox.Seen, mailbox.Seen, false},
		{mailbox.FlagsAdd, mailbox.Deleted | mailbox.Seen, mailbox.Seen | mailbox.Deleted, true},
		{mailbox.FlagsRemove, mailbox.Draft, mailbox.Seen | mailbox.Deleted, false},
		{mailbox.FlagsRemove, mailbox.Seen | mailbox.Draft, mailbox.Deleted, true},
		{mailbox.FlagsReplace, mailbox.Answered | mailbox.Draft, mailbox.Answered | mailbox.Draft, true},
		{mailbox.FlagsReplace, mailbox.Answered | mailbox.Draft, mailbox.Answered | mailbox.Draft, false},
		{mailbox.FlagsReplace, mailbox.SystemFlags, mailbox.SystemFlags, true},
		{mailbox.FlagsReplace, 0, 0, true},
	}
	for i, step := range steps {
		before, other := b.meta(uids[1]), b.meta(uids[0])
		res := b.setFlags(step.op, mailbox.FlagList{System: step.flags}, uids[1], uids[2]+100)
		after := b.meta(uids[1])
		require.Equal(f, step.want, after.Flags, "step %d", i)
		require.Equal(f, other, b.meta(uids[0]), "others keep their mod-sequence")
		require.Equal(f, b.state().ModSeq, res.ModSeq)
		if step.changes {
			require.Equal(f, mailbox.UIDs(uids[1]), res.Changed, "step %d", i)
			require.Greater(f, after.ModSeq, before.ModSeq)
		} else {
			require.Empty(f, res.Changed, "step %d", i)
			require.Equal(f, before.ModSeq, after.ModSeq, "no change, no mod-sequence")
		}
	}
}

func testKeywords(f *fixture) {
	b := f.inbox()
	uids := b.fill(2)
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{Keywords: []string{"$Forwarded", "Later"}}, uids[0])
	res := b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{Keywords: []string{"$FORWARDED", "later"}}, uids[0])
	require.Empty(f, res.Changed, "keywords are the same in any case")
	require.ElementsMatch(f, []string{"$Forwarded", "Later"}, b.flags(uids[0]).Keywords, "the first spelling stays")
	names := b.state().Keywords
	b.setFlags(mailbox.FlagsRemove, mailbox.FlagList{Keywords: []string{"LATER", "unknown"}}, uids[0])
	require.Equal(f, []string{"$Forwarded"}, b.flags(uids[0]).Keywords)
	require.Negative(f, mailbox.KeywordIndex(b.state().Keywords, "unknown"), "removing makes no keyword")
	require.Equal(f, names, b.state().Keywords[:len(names)], "keywords only grow")
	b.setFlags(mailbox.FlagsReplace, mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"third"}}, uids...)
	want := mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"third"}}
	require.Equal(f, want, b.flags(uids[0]))
	require.Equal(f, want, b.flags(uids[1]))
}

// testKeywordLimit fills the folder's keywords up: at the limit all work, beyond it a change is
// refused as a whole.
func testKeywordLimit(f *fixture) {
	b := f.inbox()
	uids := b.fill(2)
	s := b.state()
	var all []string
	for i := len(s.Keywords); i < s.KeywordLimit; i++ {
		all = append(all, fmt.Sprintf("kw%d", i))
	}
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{Keywords: all}, uids[0])
	require.ElementsMatch(f, all, b.flags(uids[0]).Keywords)
	before := b.state()
	_, err := b.SetFlags(f.ctx, mailbox.UIDs(uids...), mailbox.FlagChange{
		Op:    mailbox.FlagsAdd,
		Flags: mailbox.FlagList{System: mailbox.Flagged, Keywords: []string{"one-too-many"}},
	})
	require.ErrorIs(f, err, mailbox.ErrKeywordLimit)
	require.Equal(f, before, b.state())
	if !f.lacks(LacksAppend) {
		_, err = b.Append(f.ctx, strings.NewReader(numbered(1)),
			mailbox.AppendOptions{Flags: mailbox.FlagList{Keywords: []string{"one-too-many"}}})
		require.ErrorIs(f, err, mailbox.ErrKeywordLimit)
		require.Len(f, b.uids(), 2)
	}
}

func testBadKeywords(f *fixture) {
	b := f.inbox()
	uids := b.fill(1)
	before := b.state()
	for _, k := range []string{"", "a b", "a\r\nb", "(", "a)", "{", "%", "*", `"`, `\Seen`, "]", "\x00", "ż", strings.Repeat("k", mailbox.MaxKeywordBytes+1)} {
		_, err := b.SetFlags(f.ctx, mailbox.UIDs(uids...),
			mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{Keywords: []string{k}}})
		require.ErrorIs(f, err, mailbox.ErrKeyword, "%q", k)
	}
	require.Equal(f, before, b.state())
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{Keywords: []string{strings.Repeat("k", mailbox.MaxKeywordBytes)}}, uids...)
}

func testUnchangedSince(f *fixture) {
	b := f.inbox()
	uids := b.fill(3)
	known := b.state().ModSeq
	b.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Seen}, uids[1])
	change := mailbox.FlagChange{
		Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Flagged}, UnchangedSince: &known,
	}
	res, err := b.SetFlags(f.ctx, mailbox.UIDs(uids...), change)
	require.NoError(f, err)
	require.Equal(f, mailbox.UIDs(uids[0], uids[2]), res.Changed)
	require.Equal(f, mailbox.UIDs(uids[1]), res.Modified)
	require.Equal(f, mailbox.Seen, b.flags(uids[1]).System)
	var none mailbox.ModSeq // RFC 7162 §3.1.3: UNCHANGEDSINCE 0 fails for every message
	change.UnchangedSince = &none
	res, err = b.SetFlags(f.ctx, mailbox.UIDs(uids...), change)
	require.NoError(f, err)
	require.Empty(f, res.Changed)
	require.Equal(f, mailbox.UIDs(uids...), res.Modified)
	latest := mailbox.Latest
	change.UnchangedSince, change.Op = &latest, mailbox.FlagsReplace
	res, err = b.SetFlags(f.ctx, mailbox.UIDs(uids...), change)
	require.NoError(f, err)
	require.Equal(f, mailbox.UIDs(uids[1]), res.Changed)
	require.Empty(f, res.Modified)
}

func testExpunge(f *fixture) {
	b := f.inbox()
	uids := b.fill(6)
	before := b.state()
	gone, err := b.Expunge(f.ctx, mailbox.UIDs(uids[1], uids[2], uids[5]+7))
	require.NoError(f, err)
	require.Equal(f, mailbox.UIDs(uids[1], uids[2]), gone, "those that were there")
	require.Equal(f, []mailbox.UID{uids[0], uids[3], uids[4], uids[5]}, b.uids())
	ch, _ := b.changes(before.ModSeq)
	require.Greater(f, ch.State.ModSeq, before.ModSeq)
	require.True(f, !ch.Known || ch.Expunged.Contains(uids[1]) && ch.Expunged.Contains(uids[2]))
	again, err := b.Expunge(f.ctx, mailbox.UIDs(uids[1], uids[2]))
	require.NoError(f, err)
	require.Empty(f, again)
	require.Equal(f, ch.State.ModSeq, b.state().ModSeq, "nothing was done")
	gone, err = b.Expunge(f.ctx, mailbox.AllUIDs())
	require.NoError(f, err)
	require.Equal(f, 4, gone.Len())
	require.Empty(f, b.uids())
}

// testUIDsRise: no UID is given twice, also when the highest message is expunged (I11).
func testUIDsRise(f *fixture) {
	b := f.inbox()
	var last mailbox.UID
	for i := range 10 {
		next := b.state().UIDNext
		uid := b.add(numbered(i), mailbox.AppendOptions{}).UID
		require.Greater(f, uid, last)
		require.GreaterOrEqual(f, uid, next)
		require.Greater(f, b.state().UIDNext, uid)
		last = uid
		_, err := b.Expunge(f.ctx, mailbox.UIDs(uid))
		require.NoError(f, err)
		require.Greater(f, b.state().UIDNext, uid, "UIDNEXT does not go down")
	}
}

func testReadSubset(f *fixture) {
	b := f.inbox()
	uids := b.fill(6)
	_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[2]))
	require.NoError(f, err)
	require.Equal(f, []string{numbered(1), numbered(3)}, b.texts(mailbox.UIDs(uids[3], uids[1], uids[2])))
	require.Empty(f, b.texts(mailbox.UIDs(uids[2])))
	require.Len(f, b.texts(mailbox.AllUIDs()), 5)
	n := 0
	for _, err := range b.Read(f.ctx, mailbox.AllUIDs()) { // stopping early is allowed
		require.NoError(f, err)
		if n++; n == 2 {
			break
		}
	}
	require.Len(f, b.texts(mailbox.AllUIDs()), 5)
}

// testReadGone expunges messages while they are being read: each that is yielded is whole, or is
// reported as gone, and the sequence goes on.
func testReadGone(f *fixture) {
	b := f.inbox()
	uids := b.fill(6)
	seen := 0
	for msg, err := range b.Read(f.ctx, mailbox.AllUIDs()) {
		if seen == 0 {
			_, err := b.Expunge(f.ctx, mailbox.UIDs(uids[1], uids[4]))
			require.NoError(f, err)
		}
		seen++
		if err != nil {
			require.ErrorIs(f, err, mailbox.ErrGone)
			require.Contains(f, []mailbox.UID{uids[1], uids[4]}, msg.UID)
			continue
		}
		text, err := io.ReadAll(io.NewSectionReader(msg.Content, 0, msg.Content.Size()))
		require.NoError(f, err)
		require.Equal(f, numbered(slices.Index(uids, msg.UID)), string(text))
	}
	require.GreaterOrEqual(f, seen, 4)
}

func testTwoHandles(f *fixture) {
	one, two := f.inbox(), f.inbox()
	uid := one.add(numbered(1), mailbox.AppendOptions{}).UID
	require.Equal(f, []mailbox.UID{uid}, two.uids())
	s := two.state()
	one.setFlags(mailbox.FlagsAdd, mailbox.FlagList{System: mailbox.Flagged}, uid)
	_, metas := two.changes(s.ModSeq)
	require.Len(f, metas, 1)
	require.Equal(f, mailbox.Flagged, metas[0].Flags)
	_, err := two.Expunge(f.ctx, mailbox.UIDs(uid))
	require.NoError(f, err)
	require.Empty(f, one.uids())
	require.Empty(f, one.texts(mailbox.UIDs(uid)))
	require.NoError(f, one.Close())
	require.Empty(f, two.uids(), "a handle does not close another")
}

// testContext: a context that has ended makes each call return its cause and do nothing.
func testContext(f *fixture) {
	b := f.inbox()
	uids := b.fill(2)
	before := b.state()
	cause := errors.New("the client left")
	ctx, cancel := context.WithCancelCause(f.ctx)
	cancel(cause)
	_, err := b.Changes(ctx, 0)
	require.ErrorIs(f, err, cause)
	_, err = b.Append(ctx, bytes.NewReader([]byte(numbered(1))), mailbox.AppendOptions{})
	require.ErrorIs(f, err, cause)
	_, err = b.SetFlags(ctx, mailbox.AllUIDs(), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.ErrorIs(f, err, cause)
	_, err = b.Expunge(ctx, mailbox.UIDs(uids...))
	require.ErrorIs(f, err, cause)
	for msg, err := range b.Read(ctx, mailbox.AllUIDs()) {
		require.Zero(f, msg.UID)
		require.ErrorIs(f, err, cause)
	}
	for _, err := range f.acc.Mailboxes(ctx) {
		require.ErrorIs(f, err, cause)
	}
	_, err = f.acc.Open(ctx, "INBOX")
	require.ErrorIs(f, err, cause)
	if !f.lacks(LacksFolders) {
		require.ErrorIs(f, f.acc.Create(ctx, "x", mailbox.CreateOptions{}), cause)
		require.NotContains(f, f.names(), "x")
	}
	require.Equal(f, before, b.state())
}

// testReadOnly: a folder that says so refuses every change.
func testReadOnly(f *fixture) {
	b := f.inbox()
	if !b.state().ReadOnly {
		f.Skip("the folder is not read-only")
	}
	_, err := b.Append(f.ctx, strings.NewReader(numbered(1)), mailbox.AppendOptions{})
	require.ErrorIs(f, err, mailbox.ErrReadOnly)
	uid := b.add(numbered(1), mailbox.AppendOptions{}).UID
	_, err = b.SetFlags(f.ctx, mailbox.UIDs(uid), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{System: mailbox.Seen}})
	require.ErrorIs(f, err, mailbox.ErrReadOnly)
	_, err = b.Expunge(f.ctx, mailbox.UIDs(uid))
	require.ErrorIs(f, err, mailbox.ErrReadOnly)
	require.Equal(f, []mailbox.UID{uid}, b.uids())
}

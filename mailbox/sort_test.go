package mailbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

func TestBaseSubject(t *testing.T) {
	for subject, want := range map[string]struct {
		base  string
		reply bool
	}{
		"":                                      {"", false},
		"test":                                  {"test", false},
		"Re: test":                              {"test", true},
		"RE : test":                             {"test", true},
		"re: re:  Re: test":                     {"test", true},
		"Fwd: test":                             {"test", true},
		"fw: test":                              {"test", true},
		"Fwd[list]: test":                       {"test", true},
		"Re[2]: test":                           {"test", true},
		"[list] test":                           {"test", false},
		"[list] Re: test":                       {"test", true},
		"Re: [list] test":                       {"test", true},
		"[list] [other] Re: [x] test":           {"test", true},
		"[blob only]":                           {"[blob only]", false},
		"Re: [blob only]":                       {"[blob only]", true},
		"[a] [b]":                               {"[b]", false},
		"test (fwd)":                            {"test", true},
		"test (FWD) (fwd) ":                     {"test", true},
		"[fwd: test]":                           {"test", true},
		"[Fwd: [fwd: Re: test (fwd)]]":          {"test", true},
		"Re: [fwd: test]":                       {"test", true},
		"a \t  b\r\n c":                         {"a b c", false},
		"Re test":                               {"Re test", false},
		"reply: test":                           {"reply: test", false},
		"=?utf-8?Q?Re=3A_=C5=BC=C3=B3=C5=82w?=": {"żółw", true},
		"[unclosed test":                        {"[unclosed test", false},
		"[nested [x]] test":                     {"[nested [x]] test", false},
		"Re:":                                   {"", true},
		"(fwd)":                                 {"", true},
		"[fwd:]":                                {"", true},
		"]":                                     {"]", false},
	} {
		base, reply := mailbox.BaseSubject(subject)
		require.Equal(t, want.base, base, "%q", subject)
		require.Equal(t, want.reply, reply, "%q", subject)
	}
}

func FuzzBaseSubject(f *testing.F) {
	for _, s := range []string{"Re: [x] Fwd: y (fwd)", "[fwd: [fwd: a]]", "re: re:", "[][][]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := mailbox.BaseSubject(s)
		if strings.Contains(base, "=?") { // decoding again may find another word
			return
		}
		again, reply := mailbox.BaseSubject(base)
		require.Equal(t, base, again)
		require.False(t, reply)
	})
}

// TestBaseSubjectLinear: a long row of blobs takes time in proportion (S: no quadratic).
func TestBaseSubjectLinear(t *testing.T) {
	took := func(n int) time.Duration {
		rows := []string{
			strings.Repeat("[a]", n), strings.Repeat("re:", n), strings.Repeat("(fwd)", n), strings.Repeat("[fwd:", n) + strings.Repeat("]", n),
		}
		return peertest.Fastest(3, func() {
			for _, row := range rows {
				mailbox.BaseSubject(row)
			}
		})
	}
	require.Less(t, took(160_000), 12*took(40_000)+50*time.Millisecond)
}

// sortMails are UIDs 1 to 5.
var sortMails = []string{
	"From: \"Żaneta\" <zed@example.org>\r\nTo: bob@x\r\nCc: m@x\r\nSubject: Re: beta\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\n" + "xx",
	"From: alice@example.org\r\nTo: \"Zoe\" <al@x>\r\nSubject: Alpha\r\nDate: Mon, 2 Mar 2026 10:30:00 +0100\r\n\r\n",
	"From: =?utf-8?Q?=C3=81da?= <mary@example.org>\r\nSubject: BETA\r\nDate: broken\r\n\r\n" + strings.Repeat("x", 500),
	"From: Team: carl@x, dora@x;\r\nTo: undisclosed:;\r\nSubject: żeta\r\nDate: Sun, 1 Mar 2026 10:00:00 +0000\r\n\r\n",
	"Subject: [list] ALPHA (fwd)\r\n\r\n",
}

func openSort(t require.TestingT, mails []string) mailbox.Mailbox {
	_, m := openInbox(t, mailbox.NewMemory())
	for i, s := range mails {
		date := time.Date(2026, 3, 3, 0, 0, len(mails)-i, 0, time.UTC)
		_, err := m.Append(context.Background(), strings.NewReader(s), mailbox.AppendOptions{Date: date})
		require.NoError(t, err)
	}
	return m
}

func TestSort(t *testing.T) {
	m := openSort(t, sortMails)
	up := func(keys ...mailbox.SortKey) (o []mailbox.SortOrder) {
		for _, k := range keys {
			o = append(o, mailbox.SortOrder{Key: k})
		}
		return o
	}
	for i, c := range []struct {
		order []mailbox.SortOrder
		want  []mailbox.UID
	}{
		{nil, []mailbox.UID{1, 2, 3, 4, 5}},
		{up(mailbox.SortArrival), []mailbox.UID{5, 4, 3, 2, 1}},
		{[]mailbox.SortOrder{{Key: mailbox.SortArrival, Reverse: true}}, []mailbox.UID{1, 2, 3, 4, 5}},
		{up(mailbox.SortDate), []mailbox.UID{4, 2, 1, 5, 3}}, // 3 and 5 by INTERNALDATE
		{up(mailbox.SortSubject), []mailbox.UID{2, 5, 1, 3, 4}},
		{[]mailbox.SortOrder{{Key: mailbox.SortSubject, Reverse: true}}, []mailbox.UID{4, 1, 3, 2, 5}},
		{up(mailbox.SortSubject, mailbox.SortArrival), []mailbox.UID{5, 2, 3, 1, 4}},
		{up(mailbox.SortFrom), []mailbox.UID{5, 2, 3, 4, 1}}, // a group has its name
		{up(mailbox.SortTo), []mailbox.UID{3, 5, 2, 1, 4}},
		{up(mailbox.SortCc), []mailbox.UID{2, 3, 4, 5, 1}},
		{up(mailbox.SortDisplayFrom), []mailbox.UID{5, 2, 3, 4, 1}}, // RFC 5051: compared decomposed, so that "Á" is behind all that begins with "A"
		{up(mailbox.SortDisplayTo), []mailbox.UID{3, 5, 1, 4, 2}},
	} {
		got, err := mailbox.Sort(t.Context(), m, mailbox.AllUIDs(), c.order)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "case %d", i)
	}
	got, err := mailbox.Sort(t.Context(), m, mailbox.UIDs(1, 2, 9), up(mailbox.SortSize))
	require.NoError(t, err)
	require.Equal(t, 2, len(got))
}

// TestSortDates: RFC 5256 §2.2: a zone that is not known is UTC, a time that is none is midnight, and a date that is none is
// INTERNALDATE (March 3rd here).
func TestSortDates(t *testing.T) {
	dates := []string{
		"Mon, 2 Mar 2026 99:99:99 +0000", "Mon, 2 Mar 2026 00:00:01 +0000", "Sun, 1 Mar 2026 23:59:59 WHAT", "Mon, 32 Mar 2026 99:99 +0000", "12:00", "", "Mon, 2 Mar 2026 x:y",
	}
	var mails []string
	for _, d := range dates {
		mails = append(mails, "Date: "+d+"\r\n\r\n")
	}
	got, err := mailbox.Sort(t.Context(), openSort(t, mails), mailbox.AllUIDs(), []mailbox.SortOrder{{Key: mailbox.SortDate}})
	require.NoError(t, err)
	require.Equal(t, []mailbox.UID{3, 1, 7, 2, 6, 5, 4}, got)
}

// TestThreadLinear: many threads that are merged by subject take time in proportion.
func TestThreadLinear(t *testing.T) {
	took := func(n int) time.Duration {
		var mails []string
		for i := range n {
			mails = append(mails, mail(i%60, fmt.Sprintf("subject %d", i%(n/2)), fmt.Sprintf("%d@x", i), ""))
		}
		m := openSort(t, mails)
		return peertest.Fastest(3, func() { // messages are read by workers; threads are made here
			got, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), mailbox.ThreadReferences)
			require.NoError(t, err)
			require.Len(t, got, n+n/2)
		})
	}
	took(100)
	require.Less(t, took(16_000), 12*took(4_000)+50*time.Millisecond)
}

func threads(nodes []mailbox.ThreadNode) string {
	var b strings.Builder
	for _, n := range nodes {
		if n.Depth == 0 && b.Len() > 0 {
			b.WriteString(" |")
		}
		b.WriteString(" " + strings.Repeat(">", n.Depth))
		if n.UID == 0 {
			b.WriteString("-")
		} else {
			fmt.Fprint(&b, n.UID)
		}
	}
	return strings.TrimSpace(b.String())
}

// mail makes a message for threading: minutes after a day's begin, subject, id, references.
func mail(minute int, subject, id, refs string) string {
	s := fmt.Sprintf("Date: %s\r\nSubject: %s\r\n", time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC).Format(time.RFC1123Z), subject)
	if id != "" {
		s += "Message-ID: <" + id + ">\r\n"
	}
	if after, ok := strings.CutPrefix(refs, "irt "); ok {
		s += "In-Reply-To: " + after + "\r\n"
	} else if refs != "" {
		s += "References: " + refs + "\r\n"
	}
	return s + "\r\n"
}

func TestThread(t *testing.T) {
	for name, c := range map[string]struct {
		mails               []string
		references, subject string
	}{
		"nothing": {nil, "", ""},
		"one":     {[]string{mail(1, "a", "1", "")}, "1", "1"},
		"a conversation": {
			[]string{mail(1, "a", "1", ""), mail(2, "Re: a", "2", "<1>"), mail(3, "Re: a", "3", "<1> <2>"), mail(4, "Re: a", "4", "<1>")},
			"1 >2 >>3 >4", "1 >2 >3 >4",
		},
		"out of order": {
			[]string{mail(3, "Re: a", "3", "<1> <2>"), mail(2, "Re: a", "2", "<1>"), mail(1, "a", "1", "")},
			"3 >2 >>1", "3 >2 >1",
		},
		"in-reply-to": {
			[]string{mail(1, "a", "1", ""), mail(2, "b", "2", "irt your message of Friday <1>")},
			"1 >2", "1 | 2",
		},
		"missing parent, one child": {
			[]string{mail(2, "x", "2", "<gone>")}, "1", "1",
		},
		"missing parent, two children": {
			[]string{mail(2, "x", "2", "<gone>"), mail(3, "y", "3", "<gone>")}, "- >1 >2", "1 | 2",
		},
		"missing in the middle": {
			[]string{mail(1, "a", "1", ""), mail(2, "b", "2", "<1> <gone>"), mail(3, "c", "3", "<1> <gone>")},
			"1 >2 >3", "1 | 2 | 3",
		},
		"chain of missing ones": {
			[]string{mail(1, "a", "1", "<x> <y> <z>"), mail(2, "b", "2", "<x> <y>")}, "- >1 >2", "1 | 2",
		},
		"loop": {
			[]string{mail(1, "a", "1", "<2>"), mail(2, "b", "2", "<1>")}, "2 >1", "1 | 2",
		},
		"itself": {
			[]string{mail(1, "a", "1", "<1>"), mail(2, "b", "2", "<1> <2>")}, "1 | 2", "1 | 2", // the last reference counts, and would be a loop
		},
		"no id": {
			[]string{mail(1, "a", "", ""), mail(2, "b", "", "")}, "1 | 2", "1 | 2",
		},
		"same id": {
			[]string{mail(1, "a", "1", ""), mail(2, "b", "1", ""), mail(3, "c", "3", "<1>")}, "1 >3 | 2", "1 | 2 | 3",
		},
		"same subject, both originals": {
			[]string{mail(1, "a", "1", ""), mail(2, "A", "2", "")}, "- >1 >2", "1 >2",
		},
		"same subject, a reply without references": {
			[]string{mail(2, "Re: a", "1", ""), mail(1, "a", "2", ""), mail(3, "Fwd: A", "3", "")}, "2 >1 >3", "2 >1 >3",
		},
		"same subject, replies only": {
			[]string{mail(1, "Re: a", "1", ""), mail(2, "Re: a", "2", ""), mail(3, "Re: a", "3", "")}, "- >1 >2 >3", "1 >2 >3",
		},
		"dummy takes the others": {
			[]string{mail(1, "a", "1", "<gone>"), mail(2, "b", "2", "<gone>"), mail(3, "a", "3", "")}, "- >1 >2 >3", "1 >3 | 2",
		},
		"two dummies with one subject": {
			[]string{mail(1, "a", "1", "<g1>"), mail(2, "b", "2", "<g1>"), mail(3, "a", "3", "<g2>"), mail(4, "c", "4", "<g2>")},
			"- >1 >2 >3 >4", "1 >3 | 2 | 4",
		},
		"empty subjects stay apart": {
			[]string{mail(1, "", "1", ""), mail(2, "", "2", ""), mail(3, "Re:", "3", "")}, "1 | 2 | 3", "1 >2 >3",
		},
		"a different parent later": {
			// 3 links 2 below 1; 2 itself says that its parent is 4.
			[]string{mail(3, "c", "3", "<1> <2>"), mail(2, "b", "2", "<4>"), mail(1, "a", "1", ""), mail(0, "d", "4", "")},
			"4 >2 >>1 | 3", "4 | 3 | 2 | 1",
		},
		"roots by date": {
			[]string{mail(5, "a", "1", ""), mail(1, "b", "2", ""), mail(9, "Re: a", "3", "<1>"), mail(3, "c", "4", "")},
			"2 | 4 | 1 >3", "2 | 4 | 1 >3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := openSort(t, c.mails)
			got, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), mailbox.ThreadReferences)
			require.NoError(t, err)
			require.Equal(t, c.references, threads(got))
			got, err = mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), mailbox.ThreadOrderedSubject)
			require.NoError(t, err)
			require.Equal(t, c.subject, threads(got))
		})
	}
	_, err := mailbox.Thread(t.Context(), openSort(t, nil), mailbox.AllUIDs(), "REFS")
	require.ErrorIs(t, err, mailbox.ErrCriteria)
}

// TestThreadRandom: whatever the references, each message is there once, and depths are those of a tree.
func TestThreadRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var mails []string
		n := rnd.IntN(20) + 1
		for range n {
			var refs string
			for range rnd.IntN(4) {
				refs += fmt.Sprintf("<%d> ", rnd.IntN(n+5))
			}
			mails = append(mails, mail(rnd.IntN(60), []string{"a", "Re: a", "b", "Fwd: b", ""}[rnd.IntN(5)], fmt.Sprint(rnd.IntN(n+2)), refs))
		}
		m := openSort(t, mails)
		for _, a := range []mailbox.ThreadAlgorithm{mailbox.ThreadReferences, mailbox.ThreadOrderedSubject} {
			nodes, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), a)
			require.NoError(t, err)
			var uids []mailbox.UID
			depth := -1
			for i, node := range nodes {
				require.LessOrEqual(t, node.Depth, depth+1)
				depth = node.Depth
				if node.UID == 0 {
					require.True(t, i+1 < len(nodes) && nodes[i+1].Depth == depth+1, "a dummy has children")
					require.Zero(t, depth, "dummies are roots only")
					continue
				}
				uids = append(uids, node.UID)
			}
			slices.Sort(uids)
			require.Len(t, uids, n)
			require.Equal(t, n, mailbox.UIDs(uids...).Len(), "each once")
		}
	}
}

// TestThreadHostile: long chains of references and many messages that look up them take bounded time.
func TestThreadHostile(t *testing.T) {
	var refs strings.Builder
	for i := range 9000 {
		fmt.Fprintf(&refs, "\r\n <%d>", i)
	}
	mails := []string{mail(1, "a", "top", refs.String()), mail(1, "b", "0", "<top>")}
	for i := range 2000 {
		mails = append(mails, mail(2, "c", fmt.Sprintf("x%d", i), "<8999> <0>"))
	}
	m := openSort(t, mails)
	took := peertest.Fastest(1, func() {
		nodes, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), mailbox.ThreadReferences)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(nodes), len(mails))
	})
	require.Less(t, took, 10*time.Second)
}

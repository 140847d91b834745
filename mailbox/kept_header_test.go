package mailbox_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// noOptions is a mailbox without optional interfaces: nothing is kept with it.
type noOptions struct{ mailbox.Mailbox }

// counting counts the messages that are opened.
func counting(m mailbox.Mailbox, opened *atomic.Int64) mailbox.Mailbox {
	return countingReads{m, m.(mailbox.Derived), opened}
}

type derived interface{ mailbox.Derived }

type countingReads struct {
	mailbox.Mailbox
	derived
	opened *atomic.Int64
}

func (c countingReads) Read(ctx context.Context, uids mailbox.UIDSet) iter.Seq2[mailbox.Message, error] {
	return func(yield func(mailbox.Message, error) bool) {
		for msg, err := range c.Mailbox.Read(ctx, uids) {
			c.opened.Add(1)
			if !yield(msg, err) {
				return
			}
		}
	}
}

// Whether a header is read, read and kept, or was kept makes no difference for what is found; when it was kept no
// message is opened for its fields.
func TestSearchKeptHeaders(t *testing.T) {
	huge := "Subject: " + strings.Repeat("many words ", 2000) + "fire\r\n\r\nhuge\r\n"
	for name, c := range map[string]struct {
		crit   crit
		opened int64 // when all is kept that can be
	}{
		"subject":            {header("Subject", "fire"), 1}, // the huge one
		"subject is there":   {header("SUBJECT", ""), 1},
		"encoded":            {header("from", "zażółć"), 1},
		"folded":             {header("Subject", "long subject"), 1},
		"not":                {not(header("Cc", "dave")), 1},
		"bcc":                {header("Bcc", "hidden"), 1},
		"message id":         {header("Message-Id", "1@example.org"), 1},
		"sent":               {day(mailbox.KeySentOn, 2026, 3, 2), 1},
		"or":                 {or(header("To", "bob"), header("Subject", "html")), 1},
		"other field":        {header("X-Empty", ""), 8},
		"kept or other":      {or(header("Subject", "html"), header("X-Empty", "")), 7},
		"kept and other":     {and(header("Subject", "long"), header("X-Empty", "")), 2},
		"kept and body":      {and(header("Subject", "printer"), body("water")), 2},
		"kept and no flag":   {and(header("Subject", "printer"), flags(mailbox.Draft)), 0},
		"nested is not seen": {header("Subject", "inner"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := openSearch(t)
			_, err := m.Append(t.Context(), strings.NewReader(huge), mailbox.AppendOptions{})
			require.NoError(t, err)
			want, err := mailbox.Search(t.Context(), noOptions{m}, c.crit)
			require.NoError(t, err)
			var opened atomic.Int64
			for _, round := range []string{"first", "kept"} {
				opened.Store(0)
				got, err := mailbox.Search(t.Context(), counting(m, &opened), c.crit)
				require.NoError(t, err)
				require.Equal(t, want, got, round)
			}
			require.Equal(t, c.opened, opened.Load())
		})
	}
}

// A message that came after the headers were kept is read, and only it.
func TestSearchKeptThenNew(t *testing.T) {
	m := openSearch(t)
	var opened atomic.Int64
	find := func() string {
		opened.Store(0)
		got, err := mailbox.Search(t.Context(), counting(m, &opened), header("Subject", "fire"))
		require.NoError(t, err)
		return got.UIDs.String()
	}
	require.Equal(t, "1", find())
	require.EqualValues(t, 7, opened.Load())
	_, err := m.Append(t.Context(), strings.NewReader("Subject: fire again\r\n\r\n"), mailbox.AppendOptions{})
	require.NoError(t, err)
	require.Equal(t, "1,8", find())
	require.EqualValues(t, 1, opened.Load())
	_, err = m.Expunge(t.Context(), mailbox.UIDs(1))
	require.NoError(t, err)
	require.Equal(t, "8", find())
	require.Zero(t, opened.Load())
}

// Sort and Thread give the same from kept headers, over several blocks of them.
func TestSortAndThreadKept(t *testing.T) {
	const n = 2500 // more than two goroutines take at once
	var mails []string
	for i := range n {
		mails = append(mails, fmt.Sprintf("From: =?utf-8?Q?=C5=BB%d?= <u%d@example.org>\r\nTo: t%d@example.org\r\nCc: c%d@example.org\r\n"+
			"Subject: Re: [list] subject %d\r\nMessage-ID: <%d@x>\r\nIn-Reply-To: <%d@x>\r\nDate: Sat, 3 Jan 2026 10:%02d:00 +0100\r\n\r\n",
			i*7%n, i*11%n, i*13%n, i*17%n, i%50, i, i/3, i*19%60))
	}
	m := openSort(t, mails)
	var opened atomic.Int64
	all := counting(m, &opened)
	for _, key := range []mailbox.SortKey{
		mailbox.SortSubject, mailbox.SortDate, mailbox.SortFrom, mailbox.SortTo, mailbox.SortCc, mailbox.SortDisplayFrom, mailbox.SortDisplayTo,
	} {
		order := []mailbox.SortOrder{{Key: key, Reverse: key%2 == 0}, {Key: mailbox.SortSize}}
		want, err := mailbox.Sort(t.Context(), noOptions{m}, mailbox.AllUIDs(), order)
		require.NoError(t, err)
		got, err := mailbox.Sort(t.Context(), all, mailbox.AllUIDs(), order)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, algorithm := range []mailbox.ThreadAlgorithm{mailbox.ThreadOrderedSubject, mailbox.ThreadReferences} {
		want, err := mailbox.Thread(t.Context(), noOptions{m}, mailbox.AllUIDs(), algorithm)
		require.NoError(t, err)
		got, err := mailbox.Thread(t.Context(), all, mailbox.AllUIDs(), algorithm)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.EqualValues(t, n, opened.Load(), "the first sort opens them all, nothing after it any")
}

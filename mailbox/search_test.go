package mailbox_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

type crit = mailbox.Criterion

func text(s string) crit                        { return crit{Key: mailbox.KeyText, Text: s} }
func body(s string) crit                        { return crit{Key: mailbox.KeyBody, Text: s} }
func header(field, s string) crit               { return crit{Key: mailbox.KeyHeader, Field: field, Text: s} }
func not(of ...crit) crit                       { return crit{Key: mailbox.KeyNot, Of: of} }
func or(of ...crit) crit                        { return crit{Key: mailbox.KeyOr, Of: of} }
func and(of ...crit) crit                       { return crit{Of: of} }
func number(k mailbox.SearchKey, n uint64) crit { return crit{Key: k, Number: n} }
func flags(f mailbox.Flags) crit                { return crit{Key: mailbox.KeyFlags, Flags: f} }

func day(k mailbox.SearchKey, y int, m time.Month, d int) crit {
	return crit{Key: k, Day: mailbox.DayOf(time.Date(y, m, d, 12, 0, 0, 0, time.UTC))}
}

// searchMails are the messages that the table below searches, UIDs 1 to 7.
var searchMails = []string{
	// 1: plain
	"From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: Printer on fire\r\n" +
		"Date: Mon, 2 Mar 2026 23:30:00 -0500\r\nMessage-ID: <1@example.org>\r\n\r\nPlease bring water.\r\nKind regards\r\n",
	// 2: encoded words, quoted-printable, iso-8859-2
	"From: =?iso-8859-2?Q?Za=BF=F3=B3=E6?= <z@example.pl>\r\nSubject: =?utf-8?B?xbzDs8WCdw==?= =?utf-8?Q?_i_gę=C5=9B?=\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-2\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
		"G=EAg=B3a w=\r\noda\r\n",
	// 3: multipart with base64 text, an attachment whose bytes have the word, and a nested message
	"From: carol@example.org\r\nCc: dave@example.org\r\nSubject: nested\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble-secret\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte("hidden straße in base64")) + "\r\n" +
		"--b\r\nContent-Type: application/octet-stream; name=\"report.bin\"\r\n\r\nbinaryword\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner subject\r\n\r\ninner body\r\n--b--\r\n",
	// 4: folded header, no body
	"Subject: a long\r\n subject that is folded\r\nX-Empty:\r\nBcc: hidden@example.org\r\n\r\n",
	// 5: UTF-16 text, decomposed letters in the header
	"Subject: Cafe\u0301\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-16be\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
		base64.StdEncoding.EncodeToString([]byte{0, 'W', 0, 'i', 0, 'd', 0, 'e'}) + "\r\n",
	// 6: no header at all
	"\r\njust a body with fire\r\n",
	// 7: HTML
	"Subject: html\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>BOLD</b> Ǆungla ﬁsh\r\n",
}

// savedAt is when the store of openSearch saves messages.
var savedAt = time.Date(2026, 3, 20, 12, 0, 0, 0, time.UTC)

func openSearch(t require.TestingT) mailbox.Mailbox {
	store := mailbox.NewMemory()
	store.Now = func() time.Time { return savedAt }
	_, m := openInbox(t, store)
	for i, s := range searchMails {
		date := time.Date(2026, 3, 1+i, 10, 0, 0, 0, time.Local)
		_, err := m.Append(context.Background(), strings.NewReader(s), mailbox.AppendOptions{Date: date})
		require.NoError(t, err)
	}
	flag(t, m, "1,3", mailbox.Seen)
	flag(t, m, "3", mailbox.Flagged)
	_, err := m.SetFlags(context.Background(), mailbox.UIDs(2), mailbox.FlagChange{Op: mailbox.FlagsAdd, Flags: mailbox.FlagList{Keywords: []string{"$Work"}}})
	require.NoError(t, err)
	return m
}

func TestSearch(t *testing.T) {
	m := openSearch(t)
	modseq := func(u mailbox.UID) uint64 {
		ch, err := m.Changes(t.Context(), 0)
		require.NoError(t, err)
		for meta := range ch.Messages {
			if meta.UID == u {
				return uint64(meta.ModSeq)
			}
		}
		return 0
	}
	for i, c := range []struct {
		c    crit
		want string
	}{
		{crit{}, "1:7"},
		{or(), ""},
		{not(), ""},
		{not(or()), "1:7"},
		{crit{Key: mailbox.KeyUIDs, UIDs: mailbox.UIDSet{{First: 2, Last: 4}}}, "2:4"},
		{flags(mailbox.Seen), "1,3"},
		{not(flags(mailbox.Seen)), "2,4:7"},
		{flags(mailbox.Seen | mailbox.Flagged), "3"},
		{crit{Key: mailbox.KeyKeyword, Text: "$WORK"}, "2"},
		{crit{Key: mailbox.KeyKeyword, Text: "unknown"}, ""},
		{not(crit{Key: mailbox.KeyKeyword, Text: "unknown"}), "1:7"},
		{day(mailbox.KeyBefore, 2026, 3, 3), "1:2"},
		{day(mailbox.KeyOn, 2026, 3, 3), "3"},
		{day(mailbox.KeySince, 2026, 3, 3), "3:7"},
		{day(mailbox.KeySentOn, 2026, 3, 2), "1:2"},     // 1: the sender's day, not UTC's; 2: no Date, INTERNALDATE
		{day(mailbox.KeySentBefore, 2026, 3, 3), "1:2"}, // 1: in UTC it is the 3rd already
		{and(day(mailbox.KeySentSince, 2026, 3, 3), text("fire")), "6"},
		{crit{Key: mailbox.KeySavedSupports}, "1:7"},
		{day(mailbox.KeySavedBefore, 2026, 3, 3), ""},
		{crit{Key: mailbox.KeySavedOn, Day: mailbox.DayOf(savedAt)}, "1:7"},
		{crit{Key: mailbox.KeySavedSince, Day: mailbox.DayOf(savedAt.Add(-24 * time.Hour))}, "1:7"},
		{number(mailbox.KeyLarger, uint64(len(searchMails[0])-1)), "1:3"},
		{and(number(mailbox.KeyLarger, uint64(len(searchMails[0]))), number(mailbox.KeySmaller, 9999)), "2:3"},
		{number(mailbox.KeySmaller, uint64(len(searchMails[5])+1)), "6"},
		{number(mailbox.KeySmaller, 0), ""},
		{number(mailbox.KeyModSeq, modseq(3)), "2:3"},
		{number(mailbox.KeyModSeq, 0), "1:7"},
		{header("subject", "FIRE"), "1"},
		{header("Subject", "żółw I GĘŚ"), "2"},
		{header("subject", "ŻÓŁW"), "2"},
		{header("from", "zażółć"), "2"},
		{header("subject", "long subject that"), "4"}, // unfolded
		{header("X-Empty", ""), "4"},
		{header("x-empty", "x"), ""},
		{header("Bcc", ""), "4"},
		{header("absent", ""), ""},
		{header("subject", "café"), "5"},
		{header("subject", "CAFÉ"), "5"},
		{header("subject", "cafe"), "5"},
		{text("fire"), "1,6"},
		{body("fire"), "6"},
		{text("PRINTER ON"), "1"},
		{text("subject: printer"), "1"},
		{text("gęgła woda"), "2"},
		{text("GĘGŁA"), "2"},
		{body("żółw"), ""},
		{text("żółw"), "2"},
		{text("straSSE"), ""}, // simple titlecase: ß is not SS (RFC 5051)
		{text("straße"), "3"},
		{text("HIDDEN STRAẞE"), ""},
		{text("binaryword"), ""},    // attachments are not searched
		{body("inner subject"), ""}, // BODY matches no header fields, of parts neither
		{text("inner subject"), "3"},
		{body("inner body"), "3"},
		{text("report.bin"), "3"},
		{body("report.bin"), ""},
		{body("nested"), ""},
		{text("folded"), "4"},
		{body("wide"), "5"},
		{text("bold"), "7"},
		{text("ǆungla"), "7"},
		{text("Džungla"), "7"},
		{text("džUNGLA"), "7"},
		{text("fish"), "7"}, // the ligature is decomposed
		{text(""), "1:7"},
		{body(""), "1:7"},
		{or(text("fire"), text("nested")), "1,3,6"},
		{and(text("fire"), body("fire")), "6"},
		{and(text("fire"), not(body("fire"))), "1"},
		{not(text("fire")), "2:5,7"},
		{or(not(text("e")), header("subject", "html")), "7"},
		{and(flags(mailbox.Seen), or(body("water"), body("inner"))), "1,3"},
		{not(header("subject", "e"), text("e")), "6:7"}, // NOT of a list: not all of it
	} {
		got, err := mailbox.Search(t.Context(), m, c.c)
		require.NoError(t, err)
		if c.want != got.UIDs.String() {
			t.Errorf("%d: %+v: got %s, want %s", i, c.c, got.UIDs, c.want)
		}
		require.Equal(t, got.UIDs.Empty(), got.ModSeq == 0)
	}
}

func TestSearchAge(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	for _, age := range []time.Duration{time.Minute, time.Hour, 48 * time.Hour} {
		_, err := m.Append(t.Context(), strings.NewReader("x"), mailbox.AppendOptions{Date: time.Now().Add(-age)})
		require.NoError(t, err)
	}
	for _, c := range []struct {
		c    crit
		want string
	}{
		{number(mailbox.KeyYounger, 1800), "1"},
		{number(mailbox.KeyOlder, 1800), "2:3"},
		{number(mailbox.KeyOlder, 1<<62), ""},
		{number(mailbox.KeyYounger, 1<<63), "1:3"},
	} {
		got, err := mailbox.Search(t.Context(), m, c.c)
		require.NoError(t, err)
		require.Equal(t, c.want, got.UIDs.String())
	}
}

// I03: nesting is limited, and so is the number of keys; a deep tree needs no deep stack.
func TestI03_SearchLimits(t *testing.T) {
	_, m := openInbox(t, mailbox.NewMemory())
	nest := func(n int) crit {
		c := crit{}
		for range n - 1 {
			c = not(c)
		}
		return c
	}
	try := func(c crit) error { _, err := mailbox.Search(t.Context(), m, c); return err }
	require.NoError(t, try(nest(mailbox.MaxSearchDepth)))
	require.ErrorIs(t, try(nest(mailbox.MaxSearchDepth+1)), mailbox.ErrCriteria)
	require.ErrorIs(t, try(nest(100_000)), mailbox.ErrCriteria)
	require.NoError(t, try(and(make([]crit, mailbox.MaxSearchKeys-1)...)))
	require.ErrorIs(t, try(and(make([]crit, mailbox.MaxSearchKeys)...)), mailbox.ErrCriteria)
	texts := func(n int) crit {
		var of []crit
		for range n {
			of = append(of, text("x"))
		}
		return and(of...)
	}
	require.NoError(t, try(texts(mailbox.MaxSearchTexts)))
	require.ErrorIs(t, try(texts(mailbox.MaxSearchTexts+1)), mailbox.ErrCriteria)
	require.ErrorIs(t, try(crit{Key: 200}), mailbox.ErrCriteria)
}

// searcher answers from an index that knows one search only.
type searcher struct {
	mailbox.Mailbox
	err error
}

func (s searcher) Search(_ context.Context, c crit) (mailbox.SearchResult, error) {
	if c.Key == mailbox.KeyText {
		return mailbox.SearchResult{UIDs: mailbox.UIDs(42), ModSeq: 7}, nil
	}
	return mailbox.SearchResult{}, s.err
}

func TestSearcher(t *testing.T) {
	m := searcher{openSearch(t), errors.ErrUnsupported}
	got, err := mailbox.Search(t.Context(), m, text("fire"))
	require.NoError(t, err)
	require.Equal(t, "42", got.UIDs.String())
	got, err = mailbox.Search(t.Context(), m, body("fire"))
	require.NoError(t, err)
	require.Equal(t, "6", got.UIDs.String())
	m.err = errDisk
	_, err = mailbox.Search(t.Context(), m, body("fire"))
	require.ErrorIs(t, err, errDisk)
	got, err = mailbox.Search(t.Context(), intercept(m), text("fire"))
	require.NoError(t, err)
	require.Equal(t, "42", got.UIDs.String(), "Intercept lets it pass")
}

// TestSearchAcrossBlocks puts a word at every place around the edges of what is read at a time.
func TestSearchAcrossBlocks(t *testing.T) {
	word := "Nadelöhr żółw"
	for _, encoding := range []string{"8bit", "base64"} {
		_, m := openInbox(t, mailbox.NewMemory())
		for _, at := range []int{32 << 10, 64 << 10} {
			for off := -2 * len(word); off <= 2; off++ {
				filler := strings.Repeat("abcdefg ", at/8+1)[:at+off]
				content := filler + word + filler
				if encoding == "base64" {
					content = wrap(base64.StdEncoding.EncodeToString([]byte(content)))
				}
				msg := "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + content
				_, err := m.Append(t.Context(), strings.NewReader(msg), mailbox.AppendOptions{})
				require.NoError(t, err)
			}
		}
		v := openView(t, m)
		got, err := mailbox.Search(t.Context(), m, and(body("NADELÖHR ŻÓŁW"), body("nadelo"), not(body("nadelohr"))))
		require.NoError(t, err)
		require.Equal(t, v.UIDSet(), got.UIDs)
	}
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return b.String() + s + "\r\n"
}

// TestSearchModel compares searches in random small mails with a search in the whole text.
func TestSearchModel(t *testing.T) {
	words := []string{"ala", "ma", "kota", "ŻÓŁĆ", "a", "ał", "\r\n", " ", "e\u0301", "é"}
	rapid.Check(t, func(t *rapid.T) {
		_, m := openInbox(t, mailbox.NewMemory())
		var bodies []string
		for range rapid.IntRange(1, 150).Draw(t, "mails") {
			b := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 6).Draw(t, "words"), "")
			bodies = append(bodies, b)
			_, err := m.Append(context.Background(), strings.NewReader("Content-Type: text/plain; charset=utf-8\r\n\r\n"+b), mailbox.AppendOptions{})
			require.NoError(t, err)
		}
		one, two := rapid.SampledFrom(words).Draw(t, "one"), rapid.SampledFrom(words).Draw(t, "two")
		got, err := mailbox.Search(context.Background(), m, and(body(one), not(body(two))))
		require.NoError(t, err)
		plain := strings.NewReplacer("é", "E\u0301", "Ż", "Z\u0307", "Ó", "O\u0301", "Ć", "C\u0301")
		fold := func(s string) string { return plain.Replace(strings.ToUpper(plain.Replace(s))) }
		for i, b := range bodies {
			want := strings.Contains(fold(b), fold(one)) && !strings.Contains(fold(b), fold(two))
			require.Equal(t, want, got.UIDs.Contains(mailbox.UID(i+1)), "%q in %q, not %q", one, b, two)
		}
	})
}

func TestSearchErrors(t *testing.T) {
	m := openSearch(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errDisk)
	_, err := mailbox.Search(ctx, m, text("x"))
	require.ErrorIs(t, err, errDisk)
	f := &flaky{Mailbox: m, sizes: true}
	f.failChanges.Store(failure{errDisk})
	_, err = mailbox.Search(t.Context(), f, text("x"))
	require.ErrorIs(t, err, errDisk)
	broken := mailbox.Intercept(m, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpRead {
			return errDisk
		}
		return next(ctx)
	})
	_, err = mailbox.Search(t.Context(), broken, text("x"))
	require.ErrorIs(t, err, errDisk)
	_, err = mailbox.Search(t.Context(), broken, flags(mailbox.Seen))
	require.NoError(t, err, "flags need no reading")
}

// searchCorpus fills a folder with n mails of about size octets: plain text, or half of it HTML in
// quoted-printable and an attachment.
func searchCorpus(b *testing.B, n, size int, mixed bool) (mailbox.Mailbox, int64) {
	_, m := openInbox(b, mailbox.NewMemory())
	rnd := rand.New(rand.NewPCG(1, 1))
	words := strings.Fields("the quick brown fox jumps over lazy dog and mail that nobody reads goes to printer with many attachments of great value Zoë")
	prose := func(size int) string {
		var s strings.Builder
		for line := 0; s.Len() < size; {
			w := words[rnd.IntN(len(words))]
			if line += len(w) + 1; line > 72 {
				s.WriteString("\r\n")
				line = len(w)
			}
			s.WriteString(w + " ")
		}
		return s.String()
	}
	var total int64
	for i := range n {
		head := fmt.Sprintf("Received: from mx%d.example.org (mx.example.org [192.0.2.1]) by mail.example.net with ESMTPS id ABC%d\r\n"+
			"\tfor <bob@example.net>; Sat, 3 Jan 2026 10:00:00 +0100\r\nFrom: \"Alice Example\" <alice@example.org>\r\nTo: bob@example.net\r\n"+
			"Subject: =?utf-8?Q?Zo=C3=AB_says_%d?=\r\nDate: Sat, 3 Jan 2026 10:00:00 +0100\r\nMessage-ID: <%d@example.org>\r\nMIME-Version: 1.0\r\n", i, i, i, i)
		msg := head + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + prose(size)
		if mixed {
			msg = head + "Content-Type: multipart/mixed; boundary=\"=-xyz\"\r\n\r\n--=-xyz\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + prose(size/4) +
				"\r\n--=-xyz\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
				strings.ReplaceAll(prose(size/4), "ë", "=C3=AB") + "\r\n--=-xyz\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
				wrap(base64.StdEncoding.EncodeToString([]byte(prose(size*3/8)))) + "--=-xyz--\r\n"
		}
		total += int64(len(msg))
		_, err := m.Append(context.Background(), strings.NewReader(msg), mailbox.AppendOptions{})
		require.NoError(b, err)
	}
	return m, total
}

func BenchmarkSearchText(b *testing.B) {
	for _, c := range []struct {
		name    string
		n, size int
		mixed   bool
	}{{"small", 4000, 4000, false}, {"smallMixed", 4000, 5000, true}, {"75KB", 400, 75_000, false}, {"75KBMixed", 400, 75_000, true}} {
		b.Run(c.name, func(b *testing.B) {
			m, total := searchCorpus(b, c.n, c.size, c.mixed)
			b.SetBytes(total)
			b.ReportAllocs()
			for b.Loop() {
				res, err := mailbox.Search(b.Context(), m, text("goniec"))
				require.NoError(b, err)
				require.Empty(b, res.UIDs)
			}
		})
	}
}

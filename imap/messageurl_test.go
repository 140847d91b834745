package imap

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// format writes an URL whose mailbox is named from the root.
func (u *messageURL) format() string {
	text := "/" + urlEncode(u.mailbox)
	if u.validity > 0 {
		text += ";UIDVALIDITY=" + strconv.Itoa(int(u.validity))
	}
	text += "/;UID=" + strconv.Itoa(int(u.uid))
	s := u.section
	s.partial = false
	if name := s.name(); name != "[]" {
		text += "/;SECTION=" + urlEncode(name[1:len(name)-1])
	}
	if u.section.partial {
		text += "/;PARTIAL=" + strconv.FormatInt(u.section.offset, 10)
		if u.section.count < math.MaxInt64 {
			text += "." + strconv.FormatInt(u.section.count, 10)
		}
	}
	return text
}

func urlEncode(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if strings.IndexByte(urlChars, text[i]) >= 0 {
			b.WriteByte(text[i])
		} else {
			b.WriteString("%" + strconv.FormatUint(uint64(text[i])|0x100, 16)[1:])
		}
	}
	return b.String()
}

// The URLs of RFC 5092 §11 and RFC 4469 as far as they name a message of the session's account.
func TestMessageURL(t *testing.T) {
	for text, want := range map[string]string{
		"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER": "/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=HEADER",
		"/Drafts;uidvalidity=385759045/;uid=20/;Section=1.MIME": "/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME",
		"/Drafts/;UID=20":                                                "/Drafts/;UID=20",
		"/inbox/;UID=20":                                                 "/INBOX/;UID=20",
		"/a/b%20c/%C5%BC;UIDVALIDITY=1/;UID=1":                           "/a/b%20c/%c5%bc;UIDVALIDITY=1/;UID=1",
		"/Drafts/;UID=4294967295/;PARTIAL=0":                             "/Drafts/;UID=4294967295/;PARTIAL=0",
		"/Drafts/;UID=1/;PARTIAL=10.4294967295":                          "/Drafts/;UID=1/;PARTIAL=10.4294967295",
		"/Drafts/;UID=1/;SECTION=2/;PARTIAL=1.2":                         "/Drafts/;UID=1/;SECTION=2/;PARTIAL=1.2",
		"/Drafts/;UID=1/;SECTION=HEADER.FIELDS.NOT%20(to%20%22a%20b%22)": "/Drafts/;UID=1/;SECTION=HEADER.FIELDS.NOT%20(to%20%22a%20b%22)",
		";UID=3":               "/Work/Deep/;UID=3",
		";UID=3/;SECTION=TEXT": "/Work/Deep/;UID=3/;SECTION=TEXT",
		"Other/;UID=3":         "/Work/Other/;UID=3",
		"Other/x/;UID=3":       "/Work/Other/x/;UID=3",
	} {
		u, ok := parseMessageURL(text, "Work/Deep")
		require.True(t, ok, text)
		require.Equal(t, want, u.format(), text)
	}
}

func TestNotAMessageURL(t *testing.T) {
	for _, text := range []string{
		"", "/", "//", "/Drafts", "/Drafts/", "/Drafts;UIDVALIDITY=1", "/Drafts;UIDVALIDITY=1/", "/Drafts?SUBJECT%20x", "?x",
		"imap://mx.test/Drafts/;UID=1", "imap:/Drafts/;UID=1", "//mx.test/Drafts/;UID=1", "//;UID=1", "///;UID=1",
		"/Drafts;UID=1", "/;UID=1", "//Drafts/;UID=1", "/Drafts/;UID=0", "/Drafts/;UID=01", "/Drafts/;UID=4294967296", "/Drafts/;UID=-1",
		"/Drafts/;UID=1/", "/Drafts/;UID=1/;UID=2", "/Drafts/;UID=1/x", "/Drafts/;UID=1;SECTION=1", "/Drafts/;UID=", "/Drafts/;UID",
		"/Drafts;UIDVALIDITY=0/;UID=1", "/Drafts;UIDVALIDITY=x/;UID=1", ";UIDVALIDITY=1/;UID=1",
		"/Drafts/;UID=1/;SECTION=", "/Drafts/;UID=1/;SECTION=1]", "/Drafts/;UID=1/;SECTION=1%5D", "/Drafts/;UID=1/;SECTION=NONSENSE",
		"/Drafts/;UID=1/;SECTION=1.", "/Drafts/;UID=1/;SECTION=MIME", "/Drafts/;UID=1/;SECTION=1%0D%0A", "/Drafts/;UID=1/;SECTION=HEADER.FIELDS%20(%7B3+%7D)",
		"/Drafts/;UID=1/;SECTION=1/;SECTION=2", "/Drafts/;UID=1/;PARTIAL=1/;SECTION=2",
		"/Drafts/;UID=1/;PARTIAL=", "/Drafts/;UID=1/;PARTIAL=1.", "/Drafts/;UID=1/;PARTIAL=1.0", "/Drafts/;UID=1/;PARTIAL=-1", "/Drafts/;UID=1/;PARTIAL=+1",
		"/Drafts/;UID=1;URLAUTH=anonymous", "/Drafts/;UID=1/;SECTION=1;URLAUTH=user+bob:internal:0",
		"/a%/;UID=1", "/a%2/;UID=1", "/a%zz/;UID=1", "/a%00/;UID=1", "/a%FF/;UID=1", "/a b/;UID=1", "/a\"b/;UID=1", "/ż/;UID=1", "/a\\b/;UID=1",
	} {
		_, ok := parseMessageURL(text, "Work/Deep")
		require.False(t, ok, text)
	}
	for _, text := range []string{";UID=1", ";UID=1/;SECTION=1"} { // without a selected mailbox
		_, ok := parseMessageURL(text, "")
		require.False(t, ok, text)
	}
	u, ok := parseMessageURL("Drafts/;UID=1", "")
	require.True(t, ok)
	require.Equal(t, "Drafts", u.mailbox)
	long := "/" + strings.Repeat("a", maxURL-len("//;UID=1")) + "/;UID=1"
	_, ok = parseMessageURL(long, "")
	require.True(t, ok)
	_, ok = parseMessageURL("/a"+long[1:], "")
	require.False(t, ok)
}

// What is read of an URL is what it says: written again, it is read as the same.
func FuzzMessageURL(f *testing.F) {
	f.Add("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER", "INBOX")
	f.Add(";UID=1/;SECTION=1.2.HEADER.FIELDS%20(to%20cc)/;PARTIAL=3.4", "a/b")
	f.Add("/a%20b/;UID=1/;PARTIAL=0", "")
	f.Fuzz(func(t *testing.T, text, base string) {
		u, ok := parseMessageURL(text, base)
		code := urlText(text)
		require.NotContains(t, code, "]")
		require.Equal(t, -1, strings.IndexFunc(code, func(r rune) bool { return r <= ' ' || r > '~' }))
		if !ok || strings.ContainsAny(u.mailbox, "\x00") {
			return
		}
		require.NotZero(t, u.uid)
		again := u.format()
		if len(again) > maxURL || strings.HasPrefix(u.mailbox, "/") || base != "" {
			return
		}
		v, ok := parseMessageURL(again, "")
		require.True(t, ok, again)
		require.Equal(t, u, v, again)
	})
}

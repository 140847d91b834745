package imap_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bodyOf returns the one literal of a FETCH response.
func bodyOf(t *testing.T, lines []string) string {
	head, rest, ok := strings.Cut(strings.Join(lines, ""), "}\r\n")
	require.True(t, ok, "%q", lines)
	n := atoi(t, head[strings.LastIndexByte(head, '{')+1:])
	require.GreaterOrEqual(t, len(rest), n)
	return rest[:n]
}

// What CATENATE makes of literals and URLs is what FETCH shows of them, put together.
func TestCatenateIsFetch(t *testing.T) {
	f, _ := newMaildirFixture(t)
	addr := f.start(t)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 4))
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "INBOX", mixedMail)
	c := login(t, addr)
	c.ok("CREATE Made")
	c.ok("SELECT INBOX")
	sections := []string{"", "HEADER", "TEXT", "1", "2", "1.MIME", "HEADER.FIELDS (SUBJECT)", "HEADER.FIELDS.NOT (SUBJECT)"}
	made := 0
	for range 60 {
		var parts, want strings.Builder
		for range 1 + rng.IntN(6) {
			if parts.Len() > 0 {
				parts.WriteString(" ")
			}
			if rng.IntN(3) == 0 {
				text := strings.Repeat("line\r\n", rng.IntN(4))
				fmt.Fprintf(&parts, "TEXT {%d+}\r\n%s", len(text), text)
				want.WriteString(text)
				continue
			}
			uid, section := 1+rng.IntN(2), sections[rng.IntN(len(sections))]
			if uid == 1 && (section == "2" || section == "1.MIME") {
				section = "TEXT"
			}
			url, item := fmt.Sprintf("/INBOX/;UID=%d", uid), "BODY.PEEK["+section+"]"
			if section != "" {
				url += "/;SECTION=" + strings.ReplaceAll(section, " ", "%20")
			}
			if rng.IntN(3) == 0 {
				from, n := rng.IntN(60), 1+rng.IntN(60)
				url += fmt.Sprintf("/;PARTIAL=%d.%d", from, n)
				item += fmt.Sprintf("<%d.%d>", from, n)
			}
			fmt.Fprintf(&parts, "URL \"%s\"", url)
			want.WriteString(bodyOf(t, c.ok(fmt.Sprintf("UID FETCH %d %s", uid, item))))
		}
		c.ok("APPEND Made CATENATE (" + parts.String() + ")")
		made++
		each := login(t, addr)
		each.ok("EXAMINE Made")
		require.Equal(t, want.String(), bodyOf(t, each.ok(fmt.Sprintf("UID FETCH %d BODY.PEEK[]", made))), parts.String())
		each.Close()
	}
}

// A message of which a part can not be had leaves nothing in the Maildir, wherever the part stands; nor do the messages with it.
func TestCatenateAllOrNothing(t *testing.T) {
	f, dir := newMaildirFixture(t)
	f.MaxMessageBytes = -1
	addr := f.start(t)
	f.deliver(t, "alice", "INBOX", mixedMail)
	c := login(t, addr)
	c.ok("CREATE Made")
	files := func() (names []string) {
		for _, sub := range []string{"new", "cur", "tmp"} {
			list, err := os.ReadDir(filepath.Join(dir, "alice", ".Made", sub))
			require.NoError(t, err)
			for _, e := range list {
				names = append(names, e.Name())
			}
		}
		return names
	}
	big := strings.Repeat("x", 200<<10)
	literal := fmt.Sprintf("TEXT {%d+}\r\n%s", len(big), big)
	for _, parts := range []string{
		`URL "/INBOX/;UID=2"`, literal + ` URL "/INBOX/;UID=2" ` + literal, literal + ` URL "/INBOX/;UID=1" URL "/Gone/;UID=1"`,
	} {
		_, tagged := c.do("APPEND Made CATENATE (" + parts + ")")
		require.Regexp(t, `^NO \[BADURL /`, tagged)
		_, tagged = c.do("APPEND Made {3+}\r\nabc CATENATE (" + parts + ") {3+}\r\nabc")
		require.Regexp(t, `^NO \[BADURL /`, tagged)
	}
	require.Empty(t, files())
	// A client that goes away in the middle has stored nothing either.
	_, err := io.WriteString(c, `x APPEND Made CATENATE (URL "/INBOX/;UID=1" TEXT {500000+}`+"\r\n"+big)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return len(files()) == 0 && f.Stats().Conns == 0 }, time.Minute, 10*time.Millisecond)
	require.NotZero(t, login(t, addr))
}

// A message has 1,000 parts at the most; an URL 4,096 octets.
func TestCatenateLimits(t *testing.T) {
	f := newFixture(t)
	f.deliver(t, "alice", "INBOX", "x")
	c := login(t, f.start(t))
	parts := func(n int) string { return strings.TrimSpace(strings.Repeat("URL /INBOX/;UID=1 ", n)) }
	c.ok("APPEND INBOX CATENATE (" + parts(1000) + ")")
	_, tagged := c.do("APPEND INBOX CATENATE (" + parts(1001) + ")")
	require.Equal(t, "NO [LIMIT] too many parts in a message", tagged)
	text := strings.TrimSpace(strings.Repeat("TEXT {1+}\r\na ", 1000))
	c.ok("APPEND INBOX CATENATE (" + text + ")")
	_, tagged = c.do("APPEND INBOX CATENATE (" + text + " TEXT {1+}\r\na)")
	require.Equal(t, "NO [LIMIT] too many parts in a message", tagged)
	long := "/" + strings.Repeat("a", 4096-len("//;UID=1")) + "/;UID=1"
	_, tagged = c.do("APPEND INBOX CATENATE (URL " + long + ")")
	require.Equal(t, "NO [BADURL "+long+"] no such message or part", tagged)
	_, tagged = c.do("APPEND INBOX CATENATE (URL /a" + long[1:] + ")")
	require.Equal(t, "NO [LIMIT] URL is longer than 4096 octets", tagged)
}

// Memory does not depend on the size of the parts.
func TestCatenateStreams(t *testing.T) {
	f, _ := newMaildirFixture(t)
	addr := f.start(t)
	f.deliver(t, "alice", "INBOX", "Subject: big\r\n\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 80_000))
	c := login(t, addr)
	c.ok("CREATE Made")
	require.Less(t, allocated(func() { c.ok("APPEND Made CATENATE (URL /INBOX/;UID=1/;SECTION=TEXT URL /INBOX/;UID=1/;SECTION=TEXT)") }), int64(8<<20))
	require.Contains(t, strings.Join(c.ok("STATUS Made (SIZE)"), ""), "SIZE 16000000")
}

// An URL in the selected mailbox is never one of another mailbox that has taken its name, whose messages have the same UIDs.
func TestCatenateOfTheSelectedMailbox(t *testing.T) {
	for _, url := range []string{";UID=1", "/Box/;UID=1", "Box/;UID=1"} {
		f := newFixture(t)
		f.deliver(t, "alice", "Box", "mine")
		c := login(t, f.start(t))
		c.ok("SELECT Box")
		c.ok("APPEND INBOX CATENATE (URL " + url + ")")
		require.NoError(t, f.account(t, "alice").Rename(t.Context(), "Box", "Moved"))
		f.deliver(t, "alice", "Box", "another's")
		_, err := io.WriteString(c, "a APPEND INBOX CATENATE (URL "+url+")\r\nb LOGOUT\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(c.r) // the session may end at that
		require.NoError(t, err)
		texts, _ := f.messages(t, "alice", "INBOX")
		require.Equal(t, []string{"mine"}, texts, url)
	}
}

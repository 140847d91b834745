package imap_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// I03: as many keys as a search may have, over a big mailbox: the search ends soon after its time is up, whatever the keys
// look at, and the session is as good as before.
func TestI03_SearchTimeout(t *testing.T) {
	const keys = mailbox.MaxSearchKeys - 2
	for name, program := range map[string]string{
		"flags":    strings.Repeat("NOT SEEN ", keys/2),
		"fields":   strings.Repeat("NOT SUBJECT nonsense ", keys/2),
		"others":   strings.Repeat("NOT HEADER X-Other nonsense ", keys/2),
		"texts":    strings.Repeat("NOT BODY nonsense ", mailbox.MaxSearchTexts),
		"identity": "EMAILID Mnone",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.SearchTimeout = time.Millisecond
			addr := f.start(t)
			f.fill(t, "alice", "INBOX", 20_000)
			c := login(t, addr)
			c.ok("SELECT INBOX")
			for range 2 { // also when something was kept by the first one
				began := time.Now()
				_, tagged := c.do("UID SEARCH " + strings.TrimSuffix(program, " "))
				require.Equal(t, "NO [LIMIT] search takes longer than 1ms", tagged)
				require.Less(t, time.Since(began), time.Minute)
			}
			c.ok("FETCH 7 FLAGS")
		})
	}
}

// Negative means no limit; zero the default.
func TestSearchTimeoutDefault(t *testing.T) {
	for timeout, want := range map[time.Duration]string{0: "OK", -1: "OK", time.Nanosecond: "NO [LIMIT]"} {
		f := newFixture(t)
		f.SearchTimeout = timeout
		f.deliver(t, "alice", "INBOX", plainMail)
		c := login(t, f.start(t))
		c.ok("SELECT INBOX")
		_, tagged := c.do("SEARCH BODY x")
		require.Contains(t, tagged, want)
	}
}

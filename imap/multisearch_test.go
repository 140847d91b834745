package imap_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// What ESEARCH finds in many mailboxes is what UID SEARCH finds in each, whatever the program.
func TestMultiSearchIsSearch(t *testing.T) {
	f, _ := newMaildirFixture(t)
	addr := f.start(t)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 3))
	boxes := []string{"INBOX", "Work", "Work/Deep", "Lists"}
	flags := []string{`\Seen`, `\Flagged`, `\Deleted`}
	for range 60 {
		msg := fmt.Sprintf("Subject: %d\r\nFrom: u%d@x\r\n\r\n%s", rng.IntN(9), rng.IntN(5), strings.Repeat("x", rng.IntN(40)))
		f.deliver(t, "alice", boxes[rng.IntN(len(boxes))], msg, flags[rng.IntN(len(flags))])
	}
	c, each := login(t, addr), login(t, addr)
	leaves := []string{"SEEN", "UNFLAGGED", "SUBJECT 3", "FROM u1", "BODY xxxxx", "UID 3:7", "UID *", "1", "NOT *", "LARGER 50", "MODSEQ 1"}
	program := func() string {
		a, b := leaves[rng.IntN(len(leaves))], leaves[rng.IntN(len(leaves))]
		return []string{a, "OR " + a + " " + b, a + " " + b, "NOT (" + a + " " + b + ")"}[rng.IntN(4)]
	}
	for range 40 {
		p := program()
		var want []string
		for _, box := range boxes {
			each.ok("EXAMINE " + box)
			for _, line := range each.ok("UID SEARCH RETURN (ALL COUNT) " + p) {
				if m := esearchLine.FindStringSubmatch(line); m != nil && strings.Contains(m[3], " ALL ") {
					want = append(want, box+" UID"+m[3])
				}
			}
		}
		var got []string
		for _, line := range c.ok("ESEARCH IN (mailboxes (" + strings.Join(boxes, " ") + ")) RETURN (ALL COUNT) " + p) {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), " MAILBOX ")
			name, _, _ := strings.Cut(rest, " ")
			_, rest, _ = strings.Cut(rest, ") ")
			got = append(got, name+" "+rest)
		}
		require.Equal(t, want, got, p)
	}
}

// §5: a mailbox that may not be read is not even opened.
func TestMultiSearchOpensNoForbiddenMailbox(t *testing.T) {
	f := newFixture(t)
	f.users.passwords["bob"] = "bobsecret"
	var mu sync.Mutex
	opened := map[string]bool{}
	f.Store = mailbox.InterceptStore(f.Store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		mu.Lock()
		opened[op.Name+" "+string(op.Kind)] = true
		mu.Unlock()
		return next(ctx)
	})
	f.share("")
	for _, box := range []string{"Open", "Closed", "Listed"} {
		f.deliver(t, "alice", box, plainMail)
	}
	addr := f.start(t)
	owner := login(t, addr)
	owner.ok("SETACL Open bob lr")
	owner.ok("SETACL Listed bob l")
	c := dial(t, addr)
	c.ok("LOGIN bob bobsecret")
	mu.Lock()
	clear(opened)
	mu.Unlock()
	found := c.ok(`ESEARCH IN (subtree "Other Users" mailboxes ("Other Users/alice/Closed" "Other Users/alice/Listed")) ALL`)
	require.Len(t, found, 1)
	mu.Lock()
	defer mu.Unlock()
	require.True(t, opened["Open Changes"], "%v", opened)
	for what := range opened { // the store is asked for their lists
		require.NotRegexp(t, "^(Closed|Listed) (Open|Changes|Read)", what)
	}
}

// What was found in one mailbox is told before the next one is searched.
func TestMultiSearchStreams(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	f.Store = mailbox.InterceptStore(f.Store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpRead && op.Name == "Work" {
			<-release
		}
		return next(ctx)
	})
	addr := f.start(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	f.deliver(t, "alice", "Work", plainMail)
	c := login(t, addr)
	_, err := fmt.Fprintf(c, "x ESEARCH IN (mailboxes (INBOX Work)) NOT BODY nonsense\r\n")
	require.NoError(t, err)
	require.Contains(t, c.line(), "MAILBOX INBOX")
	close(release)
	require.Contains(t, c.line(), "MAILBOX Work")
	require.Equal(t, "x OK ESEARCH done\r\n", c.line())
}

// The time limit is that of the command, not of each mailbox; and the client is told that it goes on, however short each is.
func TestMultiSearchTime(t *testing.T) {
	f := newFixture(t)
	f.SearchTimeout, f.ProgressInterval = 1500*time.Millisecond, 200*time.Millisecond
	f.Store = mailbox.InterceptStore(f.Store, func(ctx context.Context, op mailbox.Op, next func(context.Context) error) error {
		if op.Kind == mailbox.OpRead {
			time.Sleep(20 * time.Millisecond)
		}
		return next(ctx)
	})
	addr := f.start(t)
	names := ""
	for i := range 100 {
		names += fmt.Sprintf("box%d ", i)
		f.deliver(t, "alice", fmt.Sprintf("box%d", i), plainMail)
	}
	c := login(t, addr)
	began := time.Now()
	untagged, tagged := c.do("ESEARCH IN (mailboxes (" + strings.TrimSpace(names) + ")) BODY nonsense")
	require.Equal(t, "NO [LIMIT] search takes longer than 1.5s", tagged)
	require.Less(t, time.Since(began), time.Minute)
	require.Contains(t, strings.Join(untagged, ""), "INPROGRESS")
}

// The limits of an ESEARCH: specifiers, names, mailboxes.
func TestMultiSearchLimits(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	c := login(t, addr)
	specifiers := func(n int) string {
		return "ESEARCH IN (" + strings.TrimSpace(strings.Repeat("mailboxes INBOX ", n)) + ") ALL"
	}
	names := func(n int) string {
		return "ESEARCH IN (mailboxes (" + strings.TrimSpace(strings.Repeat("a ", n)) + ")) ALL"
	}
	const refused = "NO [LIMIT] too many mailbox specifiers or names"
	c.ok(specifiers(100))
	_, tagged := c.do(specifiers(101))
	require.Equal(t, refused, tagged)
	c.ok(names(1000))
	_, tagged = c.do(names(1001))
	require.Equal(t, refused, tagged)

	const limit = 10_000 // INBOX is one of them
	a := f.account(t, "alice")
	for i := range limit - 1 {
		require.NoError(t, a.Create(t.Context(), fmt.Sprintf("box%d", i), mailbox.CreateOptions{}))
	}
	f.deliver(t, "alice", "box7", plainMail)
	require.Len(t, c.ok("ESEARCH IN (personal) ALL"), 1)
	require.NoError(t, a.Create(t.Context(), "another", mailbox.CreateOptions{}))
	_, tagged = c.do("ESEARCH IN (personal) ALL")
	require.Equal(t, "NO [LIMIT] more than 10000 mailboxes", tagged)
	require.Len(t, c.ok("ESEARCH IN (mailboxes box7) ALL"), 1)
}

// Search sets of an ESEARCH are limited by each mailbox's size, as those of SEARCH are.
func TestMultiSearchSetLimit(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	f.deliver(t, "alice", "INBOX", plainMail)
	c := login(t, addr)
	require.Len(t, c.ok("ESEARCH IN (personal) UID 1:4000000000"), 1)
	require.Len(t, c.ok("ESEARCH IN (personal) 1:4000000000"), 1)
}

package imap_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

var (
	allItem   = regexp.MustCompile(` ALL ([0-9:,]+)`)
	movesItem = regexp.MustCompile(`(REMOVEFROM|ADDTO) \(([0-9:, ]+)\)`)
)

// orderedSet reads a set as SORT gives it: the order counts.
func orderedSet(t *testing.T, text string) (out []uint32) {
	for item := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(item, ":")
		if !isRange {
			last = first
		}
		for n := atoi(t, first); n <= atoi(t, last); n++ {
			out = append(out, uint32(n))
		}
	}
	return out
}

// sortClient keeps sorted results as it is told.
type sortClient struct {
	contextClient
	lists map[string][]uint32 // UIDs, by tag
}

func (c *sortClient) believe(line string) {
	m := esearchLine.FindStringSubmatch(line)
	if m == nil {
		c.contextClient.believe(line)
		return
	}
	uids := func(set string) []uint32 {
		list := orderedSet(c.t, set)
		if m[2] == "" {
			for i, n := range list {
				list[i] = c.order[n-1]
			}
		}
		return list
	}
	if all := allItem.FindStringSubmatch(m[3]); all != nil {
		c.lists[m[1]] = uids(all[1])
	}
	for _, item := range movesItem.FindAllStringSubmatch(m[3], -1) {
		words := strings.Fields(item[2])
		for i := 0; i < len(words); i += 2 {
			at, run := atoi(c.t, words[i])-1, uids(words[i+1])
			if item[1] == "ADDTO" {
				c.lists[m[1]] = slices.Insert(c.lists[m[1]], at, run...)
				continue
			}
			require.Equal(c.t, run, c.lists[m[1]][at:at+len(run)], "%s", line)
			c.lists[m[1]] = slices.Delete(c.lists[m[1]], at, at+len(run))
		}
	}
}

func (c *sortClient) run(tag, command string) {
	_, err := io.WriteString(c, tag+" "+command+"\r\n")
	require.NoError(c.t, err)
	for line := c.line(); !strings.HasPrefix(line, tag+" "); line = c.line() {
		c.believe(line)
	}
}

// Whatever happens to a mailbox, what a client makes of ADDTO and REMOVEFROM is what it would find, in the order that it would find.
func TestContextSortModel(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 2))
	message := func() string {
		return fmt.Sprintf("Subject: %d\r\nFrom: u%d@x\r\n\r\n%s", rng.IntN(9), rng.IntN(5), strings.Repeat("x", rng.IntN(40)))
	}
	for range 20 {
		f.deliver(t, "alice", "INBOX", message())
	}
	searches := map[string]string{
		"subject": "UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 UNSEEN",
		"size":    "SORT RETURN (UPDATE ALL) (REVERSE SIZE FROM) UTF-8 OR FLAGGED UNSEEN",
		"arrival": "UID SORT RETURN (UPDATE ALL) (REVERSE ARRIVAL FROM) UTF-8 NOT KEYWORD k1",
	}
	c := &sortClient{contextClient{client: login(t, addr), t: t}, map[string][]uint32{}}
	c.run("s", "SELECT INBOX")
	c.run("s", "FETCH 1:* UID")
	for tag, command := range searches {
		c.run(tag, command)
	}
	c.run("n", "NOTIFY SET (selected-delayed (MessageNew (UID) MessageExpunge FlagChange))")
	for range 200 {
		f.disturb(t, rng)
		if rng.IntN(2) == 0 {
			f.deliver(t, "alice", "INBOX", message())
		}
		if rng.IntN(3) == 0 {
			c.run("n", "NOOP")
		}
	}
	time.Sleep(20 * time.Millisecond) // what is pushed is pushed
	c.run("n", "NOOP")
	for tag, command := range searches {
		_, program, _ := strings.Cut(command, ") (")
		c.run("x", "UID SORT RETURN (ALL) ("+program)
		require.Equal(t, c.lists["x"], c.lists[tag], "%s, seed %d", tag, seed)
		delete(c.lists, "x")
	}
}

// A result that is kept in order has 10,000 messages at the most: at the beginning, and when others come.
func TestContextSortLimit(t *testing.T) {
	const limit = 10_000
	f := newFixture(t)
	addr := f.start(t)
	f.fill(t, "alice", "INBOX", limit)
	c := login(t, addr)
	c.ok("SELECT INBOX")
	require.Equal(t, []string{fmt.Sprintf("* ESEARCH (TAG %q) UID COUNT %d\r\n", c.next(), limit)}, c.ok("UID SORT RETURN (UPDATE COUNT) (SIZE) UTF-8 ALL"))
	f.deliver(t, "alice", "INBOX", plainMail)
	require.Regexp(t, `NOUPDATE "\w+"\] too many messages`, strings.Join(c.ok("NOOP"), ""))
	f.deliver(t, "alice", "INBOX", plainMail)
	require.NotContains(t, strings.Join(c.ok("NOOP"), ""), "ESEARCH")
	tag := c.next()
	require.Equal(t, []string{
		fmt.Sprintf("* NO [NOUPDATE %q] too many messages to be kept in order\r\n", tag),
		fmt.Sprintf("* ESEARCH (TAG %q) UID COUNT %d\r\n", tag, limit+2),
	}, c.ok("UID SORT RETURN (UPDATE COUNT) (SIZE) UTF-8 ALL"))
}

// next is the tag of the next command.
func (c *client) next() string { return fmt.Sprintf("t%d", c.n+1) }

// fill puts n messages into a folder at once.
func (f *fixture) fill(t testing.TB, user, folder string, n int) {
	m, err := f.account(t, user).Open(t.Context(), folder)
	require.NoError(t, err)
	defer m.Close()
	_, err = mailbox.AppendAll(t.Context(), m, func(yield func(mailbox.NewMessage, error) bool) {
		for i := range n {
			if !yield(mailbox.NewMessage{Msg: strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i))}, nil) {
				return
			}
		}
	})
	require.NoError(t, err)
}

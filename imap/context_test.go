package imap_test

import (
	"io"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

var (
	esearchLine  = regexp.MustCompile(`^\* ESEARCH \(TAG "(\w+)"\)( UID)?(.*)\r\n$`)
	contextItem  = regexp.MustCompile(`(ADDTO|REMOVEFROM|ALL) (?:\(0 )?([0-9:,]+)`)
	numberedTags = []string{"flagged", "unseen", "keyword"}
)

func atoi(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// contextClient keeps results as it is told, by UID and by number.
type contextClient struct {
	*client
	t       *testing.T
	results map[string]map[uint32]bool
	order   []uint32 // UIDs by number
}

func (c *contextClient) believe(line string) {
	switch {
	case esearchLine.MatchString(line):
		m := esearchLine.FindStringSubmatch(line)
		for _, item := range contextItem.FindAllStringSubmatch(m[3], -1) {
			set, err := mailbox.ParseUIDSet(item[2])
			require.NoError(c.t, err)
			for n := range set.All() {
				u := uint32(n)
				if m[2] == "" {
					u = c.order[n-1]
				}
				require.Equal(c.t, item[1] == "REMOVEFROM", c.results[m[1]][u], "%s", line)
				c.results[m[1]][u] = item[1] != "REMOVEFROM"
			}
		}
	case existsLine.MatchString(line), expungeLine.MatchString(line), fetchLine.MatchString(line):
		c.renumber(line)
	}
}

func (c *contextClient) renumber(line string) {
	switch {
	case expungeLine.MatchString(line):
		n := atoi(c.t, expungeLine.FindStringSubmatch(line)[1])
		c.order = append(c.order[:n-1:n-1], c.order[n:]...)
	case existsLine.MatchString(line):
		n := atoi(c.t, existsLine.FindStringSubmatch(line)[1])
		c.order = append(c.order, make([]uint32, n-len(c.order))...)
	default:
		m := fetchLine.FindStringSubmatch(line)
		if uid := uidItem.FindStringSubmatch(m[2]); uid != nil {
			c.order[atoi(c.t, m[1])-1] = uint32(atoi(c.t, uid[1]))
		}
	}
}

func (c *contextClient) run(command string) {
	for _, line := range c.ok(command) {
		c.believe(line)
	}
}

// Whatever happens to a mailbox, what a client makes of ADDTO and REMOVEFROM is what it would find.
func TestContextModel(t *testing.T) {
	f := newFixture(t)
	addr := f.start(t)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range 30 {
		f.deliver(t, "alice", "INBOX", "A: b\r\n\r\nx")
	}
	c := &contextClient{client: login(t, addr), t: t, results: map[string]map[uint32]bool{}}
	c.run("SELECT INBOX")
	c.run("FETCH 1:* UID")
	searches := map[string]string{"flagged": "UID SEARCH RETURN (UPDATE ALL) FLAGGED", "unseen": "SEARCH RETURN (UPDATE ALL) UNSEEN", "keyword": "UID SEARCH RETURN (UPDATE (UID) ALL) OR KEYWORD k1 ANSWERED"}
	for _, tag := range numberedTags {
		c.results[tag] = map[uint32]bool{}
		_, err := io.WriteString(c, tag+" "+searches[tag]+"\r\n")
		require.NoError(t, err)
		for line := c.line(); !strings.HasPrefix(line, tag+" OK"); line = c.line() {
			c.believe(line)
		}
	}
	// New messages are told with their UID, so that numbers are known.
	c.run("NOTIFY SET (selected-delayed (MessageNew (UID) MessageExpunge FlagChange))")
	for range 200 {
		f.disturb(t, rng)
		if rng.IntN(3) == 0 {
			c.run("NOOP")
		}
	}
	c.run("NOOP") // tells what was not pushed yet
	for _, tag := range numberedTags {
		want := map[uint32]bool{}
		program := searches[tag][strings.LastIndex(searches[tag], ")")+1:]
		for _, line := range c.ok("UID SEARCH RETURN (ALL)" + program) {
			for _, item := range contextItem.FindAllStringSubmatch(line, -1) {
				set, err := mailbox.ParseUIDSet(item[2])
				require.NoError(t, err)
				for u := range set.All() {
					want[uint32(u)] = true
				}
			}
		}
		for u, is := range c.results[tag] {
			require.Equal(t, want[u], is, "%s: UID %d", tag, u)
			delete(want, u)
		}
		require.Empty(t, want, tag)
	}
}

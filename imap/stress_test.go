package imap_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
)

// tracker is a client that believes every word of the server and checks that the words fit together: what a client's
// cache does, without its patience.
type tracker struct {
	*client
	rng     *rand.Rand
	uids    []uint32          // by sequence number; 0 = not known yet
	flags   map[uint32]string // last told, by UID
	silent  map[uint32]bool   // changed by ourselves without being told
	qresync bool
	pushed  bool // changes are told between commands too
	byUID   bool // numbers may change at any time: UID commands only
	modSeq  uint64
}

var (
	existsLine  = regexp.MustCompile(`^\* (\d+) EXISTS`)
	expungeLine = regexp.MustCompile(`^\* (\d+) EXPUNGE`)
	fetchLine   = regexp.MustCompile(`^\* (\d+) FETCH \((.*)\)\r\n$`)
	vanishLine  = regexp.MustCompile(`^\* VANISHED (\(EARLIER\) )?(\S+)`)
	uidItem     = regexp.MustCompile(`\bUID (\d+)`)
	flagsItem   = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	modSeqItem  = regexp.MustCompile(`\bMODSEQ \((\d+)\)`)
	highestCode = regexp.MustCompile(`\[HIGHESTMODSEQ (\d+)\]`)
)

// run runs a command and believes its answers. holds says that no expunge may come.
func (c *tracker) run(holds bool, command string) string {
	untagged, tagged := c.do(command)
	for _, l := range untagged {
		c.believe(l, holds, command)
	}
	require.Regexp(c.t, `^(OK|NO \[(EXPUNGEISSUED|NONEXISTENT|TRYCREATE)\])`, tagged, command)
	c.noteModSeq(tagged)
	return tagged
}

func (c *tracker) noteModSeq(line string) {
	if m := highestCode.FindStringSubmatch(line); m != nil {
		n, _ := strconv.ParseUint(m[1], 10, 63)
		require.GreaterOrEqual(c.t, n, c.modSeq, "mod-sequence goes down")
		c.modSeq = n
	}
}

func (c *tracker) believe(line string, holds bool, command string) {
	c.noteModSeq(line)
	switch {
	case existsLine.MatchString(line):
		n, _ := strconv.Atoi(existsLine.FindStringSubmatch(line)[1])
		require.GreaterOrEqual(c.t, n, len(c.uids), "EXISTS shrinks after %s", command)
		c.uids = append(c.uids, make([]uint32, n-len(c.uids))...)
	case expungeLine.MatchString(line):
		require.False(c.t, holds, "EXPUNGE during %s", command)
		n, _ := strconv.Atoi(expungeLine.FindStringSubmatch(line)[1])
		require.True(c.t, n >= 1 && n <= len(c.uids), "EXPUNGE %d of %d", n, len(c.uids))
		delete(c.flags, c.uids[n-1])
		c.uids = slices.Delete(c.uids, n-1, n)
	case vanishLine.MatchString(line):
		c.vanished(vanishLine.FindStringSubmatch(line), holds, command)
	case fetchLine.MatchString(line):
		m := fetchLine.FindStringSubmatch(line)
		n, _ := strconv.Atoi(m[1])
		c.fetched(n, m[2], command)
	}
}

func (c *tracker) vanished(m []string, holds bool, command string) {
	require.False(c.t, holds && m[1] == "", "VANISHED during %s", command)
	set, err := mailbox.ParseUIDSet(m[2])
	require.NoError(c.t, err)
	for u := range set.All() {
		i := c.place(uint32(u))
		if m[1] != "" {
			require.Negative(c.t, i, "EARLIER names UID %d, which is there", u)
			continue
		}
		require.GreaterOrEqual(c.t, i, 0, "VANISHED %d in %s, which was not there: %v", u, command, c.uids)
		c.uids = slices.Delete(c.uids, i, i+1)
	}
	maps.DeleteFunc(c.flags, func(u uint32, _ string) bool { return set.Contains(mailbox.UID(u)) })
}

// place returns the index of a UID: where it is known to be, or of a message in the gap where it must be; else -1.
func (c *tracker) place(u uint32) int {
	if i := slices.Index(c.uids, u); i >= 0 {
		return i
	}
	below := -1
	for i, have := range c.uids {
		if have != 0 && have < u {
			below = i
		}
	}
	if below+1 < len(c.uids) && c.uids[below+1] == 0 {
		return below + 1
	}
	return -1
}

func (c *tracker) fetched(n int, items, command string) {
	require.True(c.t, n >= 1 && n <= len(c.uids), "FETCH %d of %d in %s", n, len(c.uids), command)
	if m := uidItem.FindStringSubmatch(items); m != nil {
		u, _ := strconv.ParseUint(m[1], 10, 32)
		if have := c.uids[n-1]; have != 0 {
			require.Equal(c.t, have, uint32(u), "message %d has another UID in %s", n, command)
		}
		c.uids[n-1] = uint32(u)
		c.ascending(command)
	}
	m := flagsItem.FindStringSubmatch(items)
	if u := c.uids[n-1]; m != nil && u != 0 {
		c.flags[u] = m[1]
		delete(c.silent, u)
	}
	if m := modSeqItem.FindStringSubmatch(items); m != nil && c.qresync {
		seq, _ := strconv.ParseUint(m[1], 10, 63)
		require.Positive(c.t, seq)
	}
}

func (c *tracker) ascending(command string) {
	last := uint32(0)
	for _, u := range c.uids {
		if u != 0 {
			require.Greater(c.t, u, last, "UIDs do not ascend after %s: %v", command, c.uids)
			last = u
		}
	}
}

// step runs a random command.
func (c *tracker) step() {
	n := len(c.uids)
	pick := func() int { return 1 + c.rng.IntN(n) }
	flag := []string{`\Seen`, `\Flagged`, `\Answered`, "k1", "k2"}[c.rng.IntN(5)]
	op := []string{"+FLAGS", "-FLAGS", "FLAGS"}[c.rng.IntN(3)]
	choice := c.rng.IntN(16)
	if c.byUID {
		choice = []int{0, 2, 3, 6, 9, 11}[c.rng.IntN(6)]
	}
	if n == 0 && choice > 3 {
		choice = 0
	}
	switch choice {
	case 0, 1:
		c.run(false, "APPEND INBOX {9+}\r\nA: b\r\n\r\nx")
	case 2:
		c.run(false, "NOOP")
	case 3:
		c.idleShortly()
	case 4, 5:
		c.run(true, fmt.Sprintf("FETCH %d:* (UID FLAGS)", pick()))
	case 6:
		c.run(false, "UID FETCH 1:* (FLAGS)")
	case 7, 8:
		c.run(true, fmt.Sprintf("STORE %d %s (%s)", pick(), op, flag))
	case 9:
		i := pick()
		if u := c.uids[i-1]; u != 0 {
			told := c.flags[u]
			c.run(false, fmt.Sprintf("UID STORE %d %s.SILENT (%s)", u, op, flag))
			if c.pushed || c.flags[u] == told { // else it was told all the same; what is pushed may be from before
				c.silent[u] = true
			}
		}
	case 10:
		c.run(true, fmt.Sprintf(`STORE %d +FLAGS (\Deleted)`, pick()))
	case 11:
		c.run(false, "EXPUNGE")
	case 12:
		c.run(true, "SEARCH UNSEEN")
	case 13:
		c.run(false, fmt.Sprintf("COPY %d INBOX", pick()))
	case 14:
		c.run(false, fmt.Sprintf("MOVE %d Other", pick()))
	case 15:
		c.run(true, fmt.Sprintf("FETCH %d BODY[]", pick()))
	}
}

func (c *tracker) idleShortly() {
	_, err := c.Write([]byte("i IDLE\r\n"))
	require.NoError(c.t, err)
	done := false
	for {
		l := c.line()
		switch {
		case l == "+ idling\r\n":
			time.Sleep(time.Duration(c.rng.IntN(3)) * time.Millisecond)
			_, err := c.Write([]byte("DONE\r\n"))
			require.NoError(c.t, err)
			done = true
		case strings.HasPrefix(l, "i "):
			require.True(c.t, done)
			require.Equal(c.t, "i OK IDLE done\r\n", l)
			return
		default:
			c.believe(l, false, "IDLE")
		}
	}
}

// settle compares what the client believes with what the server says when all is quiet.
func (c *tracker) settle() {
	c.run(false, "NOOP")
	believed, silent := maps.Clone(c.flags), maps.Clone(c.silent)
	known := slices.Clone(c.uids)
	c.run(true, "FETCH 1:* (UID FLAGS)")
	require.Len(c.t, c.uids, len(known))
	for u, f := range believed {
		if !silent[u] {
			require.Equal(c.t, sortFlags(c.flags[u]), sortFlags(f), "flags of UID %d: a change was not told", u)
		}
	}
}

func sortFlags(s string) string {
	f := strings.Fields(s)
	slices.Sort(f)
	return strings.Join(f, " ")
}

func stressTime(short, long time.Duration) time.Duration {
	if peertest.LongForm() {
		return long
	}
	return short
}

// I12: ten clients do what they like, and none is told anything that does not fit.
func TestI12_StateTracker(t *testing.T) {
	plain := func(int, *tracker) {}
	t.Run("memory", func(t *testing.T) { trackStates(t, newFixture(t), plain) })
	t.Run("maildir", func(t *testing.T) {
		f, _ := newMaildirFixture(t)
		trackStates(t, f, plain)
	})
}

func trackStates(t *testing.T, f *fixture, begin func(i int, c *tracker)) {
	f.MaxConnsPerIP = -1
	require.NoError(t, f.account(t, "alice").Create(t.Context(), "Other", mailbox.CreateOptions{}))
	addr := f.start(t)
	until := time.Now().Add(stressTime(1500*time.Millisecond, 10*time.Minute))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	trackers := make([]*tracker, 10)
	for i := range trackers {
		c := &tracker{client: login(t, addr), rng: rand.New(rand.NewPCG(seed, uint64(i))), flags: map[uint32]string{}, silent: map[uint32]bool{}}
		require.NoError(t, c.SetDeadline(until.Add(3*time.Minute)))
		if i%3 == 0 {
			c.qresync = true
			c.ok("ENABLE QRESYNC")
		}
		c.run(false, "SELECT INBOX")
		begin(i, c)
		trackers[i] = c
	}
	var wg sync.WaitGroup
	for _, c := range trackers {
		wg.Go(func() {
			for time.Now().Before(until) {
				c.step()
			}
		})
	}
	wg.Wait()
	for _, c := range trackers {
		if len(c.uids) > 0 {
			c.run(false, "NOOP")
		}
		if len(c.uids) > 0 {
			c.settle()
		}
	}
}

// offline is a QRESYNC client that comes and goes, with what it remembers.
type offline struct {
	validity uint32
	modSeq   uint64
	flags    map[uint32]string
}

// visit selects with what is remembered, lets the answers bring it up to date, and compares with the whole truth.
func (o *offline) visit(t *testing.T, addr string) {
	c := &tracker{client: login(t, addr), flags: map[uint32]string{}, silent: map[uint32]bool{}, qresync: true}
	defer c.Close()
	c.ok("ENABLE QRESYNC")
	command := "SELECT INBOX"
	if o.modSeq > 0 {
		command = fmt.Sprintf("SELECT INBOX (QRESYNC (%d %d))", o.validity, o.modSeq)
	}
	for _, l := range c.ok(command) {
		switch {
		case strings.HasPrefix(l, "* OK [UIDVALIDITY"):
			_, _ = fmt.Sscanf(l, "* OK [UIDVALIDITY %d]", &o.validity)
		case vanishLine.MatchString(l):
			set, err := mailbox.ParseUIDSet(vanishLine.FindStringSubmatch(l)[2])
			require.NoError(t, err)
			maps.DeleteFunc(o.flags, func(u uint32, _ string) bool { return set.Contains(mailbox.UID(u)) })
		case fetchLine.MatchString(l):
			items := fetchLine.FindStringSubmatch(l)[2]
			u, _ := strconv.ParseUint(uidItem.FindStringSubmatch(items)[1], 10, 32)
			o.flags[uint32(u)] = sortFlags(flagsItem.FindStringSubmatch(items)[1])
		}
		if m := highestCode.FindStringSubmatch(l); m != nil {
			o.modSeq, _ = strconv.ParseUint(m[1], 10, 63)
		}
	}
	truth := map[uint32]string{}
	for _, l := range c.ok("UID FETCH 1:* (FLAGS)") {
		if m := fetchLine.FindStringSubmatch(l); m != nil {
			u, _ := strconv.ParseUint(uidItem.FindStringSubmatch(m[2])[1], 10, 32)
			truth[uint32(u)] = sortFlags(flagsItem.FindStringSubmatch(m[2])[1])
		}
	}
	if command == "SELECT INBOX" {
		o.flags = truth
	}
	require.Equal(t, truth, o.flags, "after %s", command)
}

// A client that comes back knows the mailbox as well as one that asks for everything, whatever happened
// meanwhile, also where the store has forgotten its expunges.
func TestI11_ResyncModel(t *testing.T) {
	for _, history := range []int{1000, 3, -1} {
		t.Run(fmt.Sprint("memory ", history), func(t *testing.T) {
			f := newFixture(t)
			f.store.HistoryLimit = history
			resyncModel(t, f)
		})
	}
	t.Run("maildir", func(t *testing.T) {
		f, _ := newMaildirFixture(t)
		resyncModel(t, f)
	})
}

func resyncModel(t *testing.T, f *fixture) {
	f.MaxConnsPerIP = -1
	addr := f.start(t)
	rng := rand.New(rand.NewPCG(1, 2))
	clients := []*offline{{flags: map[uint32]string{}}, {flags: map[uint32]string{}}, {flags: map[uint32]string{}}}
	until := time.Now().Add(stressTime(500*time.Millisecond, 2*time.Minute))
	for time.Now().Before(until) {
		for range rng.IntN(8) {
			f.disturb(t, rng)
		}
		clients[rng.IntN(len(clients))].visit(t, addr)
	}
}

// disturb changes the mailbox behind the server's back.
func (f *fixture) disturb(t *testing.T, rng *rand.Rand) {
	ctx := context.Background()
	m, err := f.account(t, "alice").Open(ctx, "INBOX")
	require.NoError(t, err)
	ch, err := m.Changes(ctx, 0)
	require.NoError(t, err)
	var uids []mailbox.UID
	for meta := range ch.Messages {
		uids = append(uids, meta.UID)
	}
	if len(uids) == 0 || rng.IntN(3) == 0 {
		f.deliver(t, "alice", "INBOX", "A: b\r\n\r\nx")
		return
	}
	uid := mailbox.UIDs(uids[rng.IntN(len(uids))])
	if rng.IntN(2) == 0 {
		_, err = m.Expunge(ctx, uid)
	} else {
		op := []mailbox.FlagOp{mailbox.FlagsAdd, mailbox.FlagsRemove}[rng.IntN(2)]
		_, err = m.SetFlags(ctx, uid, mailbox.FlagChange{Op: op, Flags: flagList([]string{[]string{`\Seen`, `\Flagged`, "k1"}[rng.IntN(3)]})})
	}
	require.True(t, err == nil || errors.Is(err, mailbox.ErrGone))
}

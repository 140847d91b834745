package imap_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// memory is what a client with a cache keeps of a mailbox.
type memory struct {
	key      string // MAILBOXID and UIDVALIDITY
	validity string
	modSeq   uint64            // how far it knows the mailbox
	flags    map[uint32]string // by UID; "?" = changed by ourselves and not told since
	modSeqs  map[uint32]uint64
}

// walker is a client of the world: it goes from folder to folder, does what it likes, loses its connection, comes back,
// and believes nothing that does not fit what it was told before.
type walker struct {
	*tracker
	w      *world
	known  map[string]*memory // by name
	lowest map[string]uint64  // by key: mod-sequences never go below
	name   string             // of the selected folder
	box    *memory
	blind  bool   // an EXPUNGE came for a number whose UID is not known yet: without QRESYNC only
	high   uint64 // the highest mod-sequence told in this selection
	epoch  int64  // of the world, when we connected
	trail  []string
}

var (
	errLost     = errors.New("connection lost")
	appendUID   = regexp.MustCompile(`\[APPENDUID (\d+) (\d+)\]`)
	copyUIDs    = regexp.MustCompile(`\[COPYUID (\d+) (\S+) (\S+)\]`)
	validityNow = regexp.MustCompile(`^\* OK \[UIDVALIDITY (\d+)\]`)
	mailboxID   = regexp.MustCompile(`^\* OK \[MAILBOXID \((\S+)\)\]`)
	xID         = regexp.MustCompile(`(?i)X-Id: (\S+)`)
	movable     = regexp.MustCompile(`\b(Alpha|Beta|Gamma)\b`) // what is renamed in the middle of a command fails it
	goneBye     = regexp.MustCompile(`the selected mailbox was (deleted or made anew|renamed or deleted)`)
	refusals    = regexp.MustCompile(`^(OK|NO \[(EXPUNGEISSUED|NONEXISTENT|TRYCREATE|ALREADYEXISTS|CANNOT|UNAVAILABLE|LIMIT)\])`)
)

func (c *walker) note(s string) {
	if c.trail = append(c.trail, strings.TrimSpace(s)); len(c.trail) > 120 {
		c.trail = c.trail[60:]
	}
}

// connect logs in and turns the extensions on.
func (c *walker) connect() error {
	c.w.mu.Lock()
	addr := c.w.addr
	c.w.mu.Unlock()
	c.epoch = c.w.epoch.Load()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return errLost
	}
	_ = nc.SetDeadline(time.Now().Add(3 * time.Minute))
	c.note("-- connected")
	c.client, c.uids, c.box, c.name, c.silent = newClient(c.w.t, nc), nil, nil, "", map[uint32]bool{}
	if l, err := c.read(); err != nil || strings.HasPrefix(l, "* BYE") {
		return errLost
	}
	for _, text := range []string{"LOGIN alice secret", map[bool]string{true: "ENABLE QRESYNC", false: "ENABLE CONDSTORE"}[c.qresync]} {
		if _, err := c.run(false, text); err != nil {
			return err
		}
	}
	return nil
}

func (c *walker) send(text string) (tag string) {
	c.n++
	tag = fmt.Sprintf("t%d ", c.n)
	c.note("C: " + tag + text)
	_, _ = io.WriteString(c, tag+text+"\r\n") // an error shows at the next read
	return tag
}

// next reads a line. A connection may end only when the server was stopped, or when the selected folder went away.
func (c *walker) next() (string, error) {
	l, err := c.read()
	c.note("S: " + l)
	switch {
	case strings.HasPrefix(l, "* BYE"):
		stopped := c.w.epoch.Load() != c.epoch
		moved := goneBye.MatchString(l) && c.name != "INBOX" && c.name != "Keep"
		require.True(c.t, stopped || moved, "%s: %s", c.name, l)
		return l, errLost
	case err != nil:
		require.NotEqual(c.t, c.epoch, c.w.epoch.Load(), "the connection broke: %v", err)
		return l, errLost
	}
	return l, nil
}

// run runs a command and believes its answers.
func (c *walker) run(holds bool, text string) (tagged string, err error) {
	return c.finish(holds, text, c.send(text), c.hear)
}

// finish reads the answers of a command. When it may have been told everything, and knows all new messages, the cache is as new
// as the newest thing it was told.
func (c *walker) finish(holds bool, text, tag string, hear func(line string, holds bool, text string)) (tagged string, err error) {
	for {
		l, err := c.next()
		if err != nil {
			return "", err
		}
		rest, ok := strings.CutPrefix(l, tag)
		if !ok {
			hear(l, holds, text)
			continue
		}
		require.Regexp(c.t, refusals, rest, text)
		if strings.Contains(rest, "[UNAVAILABLE]") && !movable.MatchString(c.name+" "+text) { // the store fails only while it is stopped
			require.NotEqual(c.t, c.epoch, c.w.epoch.Load(), "%s: %s", text, rest)
		}
		c.noteHighest(rest)
		if !holds && c.box != nil && strings.HasPrefix(rest, "OK") && !slices.Contains(c.uids, 0) {
			c.box.modSeq = max(c.box.modSeq, c.high)
		}
		return strings.TrimSpace(rest), nil
	}
}

func (c *walker) noteHighest(line string) {
	if m := highestCode.FindStringSubmatch(line); m != nil && c.box != nil {
		n, _ := strconv.ParseUint(m[1], 10, 63)
		require.GreaterOrEqual(c.t, n, c.lowest[c.box.key], "HIGHESTMODSEQ of %s goes down", c.box.key)
		c.lowest[c.box.key], c.high = n, max(n, c.high)
	}
}

// hear believes a line, and checks it against what was told before.
func (c *walker) hear(line string, holds bool, text string) {
	c.noteHighest(line)
	if strings.HasPrefix(line, "* OK [CLOSED]") { // we have deleted what we had selected
		c.box, c.uids, c.name = nil, nil, ""
	}
	before := slices.Clone(c.uids)
	c.believe(line, holds, text)
	if c.box == nil {
		return
	}
	if m := expungeLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		c.blind = c.blind || before[n-1] == 0
	}
	if len(c.uids) < len(before) {
		for _, u := range before { // what has no number any more leaves the cache
			if u != 0 && !slices.Contains(c.uids, u) {
				c.forget(u)
			}
		}
	}
	if m := vanishLine.FindStringSubmatch(line); m != nil {
		set, _ := mailbox.ParseUIDSet(m[2])
		for u := range c.box.modSeqs {
			if set.Contains(mailbox.UID(u)) {
				c.forget(u)
			}
		}
	}
	if m := fetchLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		c.hearFetch(c.uids[n-1], m[2], text)
	}
}

func (c *walker) forget(u uint32) {
	delete(c.box.flags, u)
	delete(c.box.modSeqs, u)
}

// hearFetch checks a FETCH response: mod-sequences rise, and with the same mod-sequence the flags are the same.
func (c *walker) hearFetch(u uint32, items, text string) {
	if u == 0 {
		return
	}
	if id := xID.FindStringSubmatch(items); id != nil {
		c.identify(u, id[1])
	}
	flags := "?"
	if m := flagsItem.FindStringSubmatch(items); m != nil {
		flags = sortFlags(m[1])
	}
	m := modSeqItem.FindStringSubmatch(items)
	if m == nil { // asked for without it
		if old, known := c.box.flags[u]; !known || old != flags && flags != "?" {
			c.box.flags[u], c.box.modSeqs[u] = flags, 0
		}
		return
	}
	seq, _ := strconv.ParseUint(m[1], 10, 63)
	old, was := c.box.modSeqs[u], c.box.flags[u]
	require.GreaterOrEqual(c.t, seq, old, "UID %d of %s: its mod-sequence goes down in %s", u, c.box.key, text)
	if seq == old && was != "?" && flags != "?" {
		require.Equal(c.t, was, flags, "UID %d of %s: other flags with the same mod-sequence in %s", u, c.box.key, text)
		c.w.compared.Add(1)
	}
	if seq > old || flags != "?" {
		c.box.flags[u] = flags
	}
	c.box.modSeqs[u], c.high = seq, max(c.high, seq)
}

// identify checks that a UID names the same message for everybody and for ever.
func (c *walker) identify(u uint32, id string) {
	key := fmt.Sprint(c.box.key, "/", u)
	was, _ := c.w.seen.LoadOrStore(key, id)
	require.Equal(c.t, was, id, "UID %s names another message", key)
}

// visit selects a folder: where it is known already, with what is known; and compares what the client knows then with what is there.
func (c *walker) visit(name string) error {
	old := c.known[name]
	text := "SELECT " + name
	if old != nil && c.qresync {
		text += fmt.Sprintf(" (QRESYNC (%s %d))", old.validity, old.modSeq)
	}
	c.name, c.box, c.uids, c.high, c.blind = name, nil, nil, 0, false
	var answer []string
	tagged, err := c.finish(true, text, c.send(text), func(l string, _ bool, _ string) { answer = append(answer, l) })
	if err != nil {
		return err
	}
	if !strings.HasPrefix(tagged, "OK") {
		require.NotContains(c.t, []string{"INBOX", "Keep"}, name, tagged)
		c.name = ""
		delete(c.known, name)
		return nil
	}
	fresh := c.opened(answer, old)
	c.known[name] = c.box
	if !fresh && !c.qresync {
		if err := c.catchUp(); err != nil {
			return err
		}
	}
	return c.compare(fresh)
}

// opened takes in the answer of SELECT. fresh says that nothing was known before.
func (c *walker) opened(answer []string, old *memory) (fresh bool) {
	var id, validity string
	var high uint64
	for _, l := range answer {
		if m := existsLine.FindStringSubmatch(l); m != nil {
			n, _ := strconv.Atoi(m[1])
			c.uids = make([]uint32, n)
		} else if m := validityNow.FindStringSubmatch(l); m != nil {
			validity = m[1]
		} else if m := mailboxID.FindStringSubmatch(l); m != nil {
			id = m[1]
		} else if m := highestCode.FindStringSubmatch(l); m != nil {
			high, _ = strconv.ParseUint(m[1], 10, 63)
		}
	}
	key := id + "/" + validity
	fresh = old == nil || old.validity != validity
	if fresh {
		c.box = &memory{key: key, validity: validity, flags: map[uint32]string{}, modSeqs: map[uint32]uint64{}}
	} else {
		require.Equal(c.t, old.key, key, "another mailbox with the UIDVALIDITY of %s", c.name)
		c.box = old
		c.w.resyncs.Add(1)
	}
	for _, l := range answer {
		if m := vanishLine.FindStringSubmatch(l); m != nil {
			require.Equal(c.t, "(EARLIER) ", m[1])
			set, err := mailbox.ParseUIDSet(m[2])
			require.NoError(c.t, err)
			maps.DeleteFunc(c.box.flags, func(u uint32, _ string) bool { return set.Contains(mailbox.UID(u)) })
			maps.DeleteFunc(c.box.modSeqs, func(u uint32, _ uint64) bool { return set.Contains(mailbox.UID(u)) })
		} else if fetchLine.MatchString(l) {
			c.hear(l, true, "SELECT")
		}
	}
	require.GreaterOrEqual(c.t, high, c.lowest[key], "HIGHESTMODSEQ of %s goes down", key)
	c.lowest[key] = high
	c.high = max(c.high, high)
	if c.qresync && !fresh { // everything else was told in the answer
		c.box.modSeq = max(c.box.modSeq, high)
	}
	return fresh
}

// catchUp is what a client without QRESYNC does: it asks for what changed, and for what is there (RFC 7162 §6).
func (c *walker) catchUp() error {
	if _, err := c.run(false, fmt.Sprintf("UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)", c.box.modSeq)); err != nil {
		return err
	}
	var there mailbox.UIDSet
	_, err := c.finish(true, "UID SEARCH ALL", c.send("UID SEARCH RETURN (ALL) ALL"), func(l string, holds bool, text string) {
		if _, all, ok := strings.Cut(strings.TrimSpace(l), " UID ALL "); ok {
			there, _ = mailbox.ParseUIDSet(all)
			require.LessOrEqual(c.t, there.Len(), len(c.uids), "there are more messages than EXISTS said")
			return
		}
		if strings.HasPrefix(l, "* ESEARCH") {
			return
		}
		c.hear(l, false, text)
	})
	if err != nil {
		return err
	}
	for u := range c.box.modSeqs {
		if !there.Contains(mailbox.UID(u)) {
			c.forget(u)
		}
	}
	return nil
}

// compare asks for everything: what did not change since the cache was brought up to date has to be in it, as it is, and nothing else.
func (c *walker) compare(fresh bool) error {
	if len(c.uids) == 0 {
		require.Empty(c.t, c.box.modSeqs, "%s is empty", c.box.key)
		_, err := c.run(false, "NOOP")
		return err
	}
	known, flags, upTo := maps.Clone(c.box.modSeqs), maps.Clone(c.box.flags), c.box.modSeq
	_, err := c.finish(true, "FETCH", c.send("FETCH 1:* (UID FLAGS MODSEQ)"), func(l string, holds bool, text string) {
		if m := fetchLine.FindStringSubmatch(l); m != nil && !fresh && uidItem.MatchString(m[2]) && modSeqItem.MatchString(m[2]) {
			u, _ := strconv.ParseUint(uidItem.FindStringSubmatch(m[2])[1], 10, 32)
			seq, _ := strconv.ParseUint(modSeqItem.FindStringSubmatch(m[2])[1], 10, 63)
			if was, had := known[uint32(u)]; seq <= upTo {
				now, told := sortFlags(flagsItem.FindStringSubmatch(m[2])[1]), flags[uint32(u)]
				require.True(c.t, had && (was == seq || was == 0 && (told == "?" || told == now)),
					"UID %d of %s changed or came, and the client was not told; it knows up to %d, and this: %d %s", u, c.box.key, upTo, was, told)
			}
		}
		c.hear(l, holds, text)
	})
	if err != nil {
		return err
	}
	if _, err := c.run(false, "NOOP"); err != nil {
		return err
	}
	for u := range c.box.modSeqs {
		if !slices.Contains(c.uids, u) {
			require.True(c.t, c.blind, "UID %d of %s is gone, and the client was not told", u, c.box.key)
			c.forget(u)
		}
	}
	return nil
}

// act does something.
func (c *walker) act() error {
	c.w.steps.Add(1)
	folders := []string{"INBOX", "INBOX", "INBOX", "Keep", "Alpha", "Beta", "Gamma"}
	folder := func() string { return folders[c.rng.IntN(len(folders))] }
	if c.rng.IntN(60) == 0 {
		_ = c.Close() // as a telephone does
		return errLost
	}
	switch n := c.rng.IntN(40); {
	case c.box == nil || n < 3:
		return c.visit(folder())
	case slices.Contains(c.uids, 0) && n < 20:
		return c.plain("UID FETCH 1:* (FLAGS)")
	case n < 8 || len(c.uids) == 0:
		return c.store(folder())
	case n == 8:
		return c.plain("RENAME " + folders[4+c.rng.IntN(3)] + " " + folders[4+c.rng.IntN(3)])
	case n == 9:
		return c.plain("CREATE " + folders[4+c.rng.IntN(3)])
	case n == 10 && c.rng.IntN(4) == 0:
		return c.plain("DELETE " + folders[4+c.rng.IntN(3)])
	case n < 13:
		return c.idleAWhile()
	case n < 16:
		return c.pipeline()
	}
	return c.onMessages(folder())
}

// plain runs a command whose refusal is an answer too.
func (c *walker) plain(text string) error {
	_, err := c.run(false, text)
	return err
}

// store appends; what is acknowledged for Keep has to be there in the end.
func (c *walker) store(folder string) error {
	id := fmt.Sprintf("a%d", c.w.serial.Add(1))
	msg := "X-Id: " + id + "\r\n\r\nx\r\n"
	tagged, err := c.run(false, fmt.Sprintf("APPEND %s (\\Seen k%d) {%d+}\r\n%s", folder, c.rng.IntN(3), len(msg), msg))
	if m := appendUID.FindStringSubmatch(tagged); m != nil && folder == "Keep" {
		c.w.kept.Store(m[2], id)
	}
	return err
}

// onMessages works on messages of the selected folder.
func (c *walker) onMessages(to string) error {
	n := 1 + c.rng.IntN(len(c.uids))
	u := c.uids[n-1]
	flag := []string{`\Seen`, `\Flagged`, `\Answered`, "k1", "k2"}[c.rng.IntN(5)]
	op := []string{"+FLAGS", "-FLAGS", "FLAGS"}[c.rng.IntN(3)]
	keep := c.name == "Keep"
	switch choice := c.rng.IntN(15); {
	case choice < 3:
		_, err := c.run(true, fmt.Sprintf("STORE %d %s (%s)", n, op, flag))
		return err
	case choice < 5:
		_, err := c.run(false, fmt.Sprintf("UID STORE %d:* %s.SILENT (%s)", max(u, 1), op, flag))
		return err
	case choice == 5:
		return c.plain(fmt.Sprintf("UID STORE %d (UNCHANGEDSINCE %d) +FLAGS (k0)", max(u, 1), c.box.modSeq))
	case choice == 6 && !keep:
		_, err := c.run(true, fmt.Sprintf(`STORE %d +FLAGS.SILENT (\Deleted)`, n))
		return err
	case choice == 7 && !keep:
		return c.plain("EXPUNGE")
	case choice == 8 && !keep && u > 0:
		return c.plain(fmt.Sprintf("UID EXPUNGE %d:%d", u, u+3))
	case choice == 9:
		return c.copy("COPY", u, to)
	case choice == 10 && !keep:
		return c.copy("MOVE", u, to)
	case choice == 11:
		_, err := c.finish(true, "SEARCH", c.send("SEARCH UNSEEN"), func(l string, holds bool, text string) {
			for _, f := range strings.Fields(strings.TrimPrefix(l, "* SEARCH")) {
				if i, err := strconv.Atoi(f); err == nil && strings.HasPrefix(l, "* SEARCH") {
					require.LessOrEqual(c.t, i, len(c.uids), "SEARCH names %d of %d", i, len(c.uids))
				}
			}
			c.hear(l, holds, text)
		})
		return err
	case choice == 12:
		return c.plain("NOOP")
	}
	return c.plain(fmt.Sprintf("UID FETCH %d (FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (X-Id)])", max(u, 1)))
}

// copy copies or moves; the new UID names the same message.
func (c *walker) copy(verb string, u uint32, to string) error {
	if u == 0 || verb == "MOVE" && to == c.name {
		return nil
	}
	id, known := c.w.seen.Load(fmt.Sprint(c.box.key, "/", u))
	there := ""
	tagged, err := c.finish(false, verb+" "+to, c.send(fmt.Sprintf("UID %s %d %s", verb, u, to)), func(l string, holds bool, text string) {
		if m := copyUIDs.FindStringSubmatch(l); m != nil {
			there = m[3]
		}
		c.hear(l, holds, text)
	})
	if m := copyUIDs.FindStringSubmatch(tagged); m != nil {
		there = m[3]
	}
	if strings.HasPrefix(tagged, "OK") && there != "" && to == "Keep" && known {
		c.w.kept.Store(there, id)
	}
	return err
}

// pipeline sends several commands at once (RFC 9051 §5.5: none whose meaning depends on the answers of those before).
func (c *walker) pipeline() error {
	var texts, tags []string
	for range 2 + c.rng.IntN(4) {
		texts = append(texts, []string{
			"NOOP", "UID FETCH 1:* (FLAGS)", "UID STORE 1:* +FLAGS (k1)", "UID STORE 1:* -FLAGS (k1)", "STATUS Keep (MESSAGES HIGHESTMODSEQ)", "CHECK", `LIST "" *`,
		}[c.rng.IntN(7)])
	}
	for _, text := range texts {
		tags = append(tags, c.send(text))
	}
	for i, text := range texts {
		if _, err := c.finish(false, text, tags[i], c.hear); err != nil {
			return err
		}
	}
	return nil
}

func (c *walker) idleAWhile() error {
	tag := c.send("IDLE")
	l, err := c.next()
	for ; err == nil && !strings.HasPrefix(l, "+ "); l, err = c.next() {
		c.hear(l, false, "IDLE")
	}
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(c.rng.IntN(30)) * time.Millisecond)
	c.note("C: DONE")
	_, _ = io.WriteString(c, "DONE\r\n")
	_, err = c.finish(false, "IDLE", tag, c.hear)
	return err
}

// walk does things until the time is up, then compares all that it knows with all that is there.
func (c *walker) walk(quiet *sync.WaitGroup) {
	fine, settled := false, false
	defer func() {
		if !settled {
			quiet.Done()
		}
		if !fine {
			log := c.w.f.log.String()
			c.w.t.Logf("the server logged:\n%s", log[max(0, len(log)-6000):])
			c.w.t.Logf("walker (QRESYNC %v):\n%s", c.qresync, strings.Join(c.trail, "\n"))
		}
	}()
	err := errLost
	for time.Now().Before(c.w.until) {
		if err != nil {
			err = c.connect()
			continue
		}
		err = c.act()
	}
	if c.client != nil {
		_ = c.Close()
	}
	settled = true
	quiet.Done()
	quiet.Wait()
	require.NoError(c.t, c.connect())
	for name := range maps.Clone(c.known) {
		require.NoError(c.t, c.visit(name))
	}
	_ = c.Close()
	fine = true
}

// I11, I12: ten clients with caches, on a Maildir in which other programs work too, with a server that is started again, and indexes that are lost:
// no client is told what does not fit, none misses a change or sees one that was not, and what was acknowledged stays.
func TestI12_WalkersOfAWorld(t *testing.T) {
	w := newWorld(t, stressTime(3*time.Second, 10*time.Minute))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var quiet, all sync.WaitGroup
	quiet.Add(11)
	for i := range 10 {
		c := &walker{w: w, known: map[string]*memory{}, lowest: map[string]uint64{}}
		c.tracker = &tracker{client: newClient(t, nil), rng: rand.New(rand.NewPCG(seed, uint64(i))), flags: map[uint32]string{}, silent: map[uint32]bool{}, qresync: i%3 != 2}
		c.client = nil
		all.Go(func() { c.walk(&quiet) })
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	for i := 1; time.Now().Before(w.until); i++ {
		time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
		w.disturb(rng)
		if i%60 == 0 {
			w.restart(i%120 == 0)
		}
	}
	quiet.Done()
	all.Wait()
	w.checkKept()
	t.Logf("%d steps, %d resyncs, %d restarts, %d foreign changes, %d flags compared", w.steps.Load(), w.resyncs.Load(), w.restarts.Load(), w.foreign.Load(), w.compared.Load())
}

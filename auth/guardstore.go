package auth

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// guardFormat is the first line of a saved state.
const guardFormat = `{"format":"goniec-guard","version":1}`

// guardRecord is one further line.
type guardRecord struct {
	Table  string       `json:"table"` // "addr", "user", "pair" or "known"
	Prefix netip.Prefix `json:"prefix,omitzero"`
	User   string       `json:"user,omitzero"`
	Level  int          `json:"level,omitzero"`
	At     time.Time    `json:"at"`
	Until  time.Time    `json:"until,omitzero"`
}

// Save writes what the Guard knows: counts, refusals, and from where users have logged in. It
// holds no passwords, nor anything made of them. A program saves now and then and at its end,
// and loads at its start, so that a restart is no amnesty.
func (g *Guard) Save(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, guardFormat)
	enc := json.NewEncoder(b)
	for _, r := range g.records() {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return b.Flush()
}

// records copies the state, so that nobody waits for a slow writer.
func (g *Guard) records() (out []guardRecord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready()
	for name, t := range g.tables() {
		for k, b := range t.m {
			out = append(out, guardRecord{Table: name, Prefix: k.prefix, User: k.user, Level: b.level, At: b.at, Until: b.until})
		}
	}
	return out
}

func (g *Guard) tables() map[string]*guardTable {
	s := &g.state
	return map[string]*guardTable{"addr": &s.addrs, "user": &s.users, "pair": &s.pairs, "known": &s.known}
}

// Load adds what Save wrote. Entries beyond MaxEntries make room for each other; times in the future
// are brought back to now, and to Refusal from now. An error tells the line; the lines before it count.
func (g *Guard) Load(r io.Reader) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 4096)
	for line := 1; scan.Scan(); line++ {
		if line == 1 {
			if scan.Text() != guardFormat {
				return fmt.Errorf("auth: guard state: line 1 is not %s", guardFormat)
			}
			continue
		}
		var rec guardRecord
		if err := json.Unmarshal(scan.Bytes(), &rec); err != nil {
			return fmt.Errorf("auth: guard state: line %d: %w", line, err)
		}
		g.restore(rec)
	}
	return scan.Err()
}

func (g *Guard) restore(r guardRecord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ready()
	t := g.tables()[r.Table]
	if t == nil || len(r.User) > MaxUser || r.Level < 0 {
		return
	}
	now := g.now()
	b := t.put(guardName{r.Prefix.Masked(), r.User}, g.maxEntries(), now)
	b.level, b.at, b.until, b.prefix, b.user = r.Level, r.At, r.Until, r.Prefix.Masked(), r.User
	if b.at.After(now) {
		b.at = now
	}
	if latest := now.Add(orElse(g.Refusal, 30*time.Minute)); b.until.After(latest) {
		b.until = latest
	}
}

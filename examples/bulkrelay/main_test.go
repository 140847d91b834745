package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"

	"github.com/goniec-mail/goniec/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.VerifyTestMain(m) }

// A small mailing meets every temper, and the ledger adds up.
func TestRun(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	o := options{count: 600, destinations: 6, seed: 1, out: filepath.Join(t.TempDir(), "plot.svg"), every: 200 * time.Millisecond, backoff: 100 * time.Millisecond}
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), o, &out), out.String())
	require.Regexp(t, `(?m)^600 messages queued in `, out.String())
	require.Regexp(t, `(?m)^ +\d\.\d s  \d+ of 600 \(\d+ %\)  \d+/s  left (\d+ s|\?)  windows: steady \d+ moody \d+ slow \d+ narrow \d+ grey \d+ picky \d+$`, out.String())
	require.Regexp(t, `(?m)^ledger: accepted 600 = delivered 59\d \+ bounced [1-9]; lost 0, duplicates 0$`, out.String())
	require.NotContains(t, out.String(), "        0 attempts")
	svg, err := os.ReadFile(o.out)
	require.NoError(t, err)
	shapes := shapesOf(t, svg)
	require.Equal(t, 6*2+6, shapes["polyline"], "six lines in two panels, and the legend")
	require.Contains(t, string(svg), ">grey5.test: 451 at first sight<")
	entries, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, entries, "the temporary queue is gone")
}

// shapesOf counts the elements of a drawing, which has to be well-formed.
func shapesOf(t *testing.T, svg []byte) map[string]int {
	count := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		require.NoError(t, err)
		if e, ok := tok.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
}

// The ledger sees what it is there to see: a message that is lost, one that came twice, a bounce that did not reach the sender.
func TestLedger(t *testing.T) {
	to := func(n string) goniec.Address { return goniec.MustAddress("user" + n + "@x.test") }
	for want, change := range map[string]func(b *ledger){
		"lost 0, duplicates 0": func(*ledger) {},
		"lost 1, duplicates 0": func(b *ledger) { b.taken[0] = 0 },
		"lost 0, duplicates 1": func(b *ledger) { b.take(0) },
		"0 bounces":            func(b *ledger) { b.reports = 0 },
	} {
		b := newLedger(2)
		b.take(0)
		b.event(queue.Event{Kind: queue.Deferred, Rcpt: to("0"), Dest: "x.test"})
		b.event(queue.Event{Kind: queue.Delivered, Rcpt: to("0"), Dest: "x.test"})
		b.event(queue.Event{Kind: queue.Failed, Rcpt: to("1"), Dest: "x.test"})
		_, _, over := b.progress()
		require.False(t, over, "the bounce is under way")
		b.report()
		done, byDest, over := b.progress()
		require.Equal(t, 2, done)
		require.Equal(t, map[string]int{"x.test": 2}, byDest)
		require.True(t, over)
		change(b)
		var out strings.Builder
		err := b.close(&out)
		require.Equal(t, want == "lost 0, duplicates 0", err == nil, want)
		require.Contains(t, out.String(), want)
	}
}

func TestNiceStep(t *testing.T) {
	for limit, want := range map[float64]float64{0: 1, 1: 0.2, 4: 1, 7: 1, 9: 2, 20: 5, 22: 5, 100: 20, 9999: 2000, 50_000: 10_000} {
		require.InDelta(t, want, niceStep(limit), 1e-9, "%v", limit)
	}
}

// A drawing of nothing, and one with names that are no markup, are well-formed too.
func TestPlotEdges(t *testing.T) {
	shapesOf(t, (&plot{}).svg())
	p := &plot{Title: "<&>", Names: []string{"]]>\x00"}, Panels: []panel{{Label: `"'`, Lines: [][]point{{{0, 0}}}}}}
	require.Equal(t, 2, shapesOf(t, p.svg())["polyline"])
	require.NotContains(t, string(p.svg()), "NaN")
}

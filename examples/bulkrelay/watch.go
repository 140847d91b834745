package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/goniec-mail/goniec/queue"
)

const (
	sampleEvery = 250 * time.Millisecond // points of the plot
	lookBack    = 5 * time.Second        // over which the rate of the progress line is taken
)

// sample is how far things were at a time.
type sample struct {
	at     time.Duration
	done   int
	byDest map[string]int
	window map[string]int
}

// watcher prints progress, and keeps samples for the plot.
type watcher struct {
	q       *queue.Queue
	book    *ledger
	servers []*server
	out     io.Writer
	start   time.Time
	every   time.Duration

	samples []sample
}

// watch returns when every message has an outcome.
func (w *watcher) watch(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for shown := time.Duration(0); ; {
		last, over := w.sample()
		if last.at-shown >= w.every {
			shown = last.at
			w.print(last)
		}
		if over {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *watcher) sample() (s sample, over bool) {
	s = sample{at: time.Since(w.start), window: map[string]int{}}
	s.done, s.byDest, over = w.book.progress()
	for _, d := range w.q.Dests() {
		if !d.Dead {
			s.window[d.Name] = d.Window
		}
	}
	w.samples = append(w.samples, s)
	return s, over
}

// print writes one line: count, rate over the last seconds, the time that is left at this rate, and the windows.
func (w *watcher) print(now sample) {
	total := len(w.book.taken)
	before := w.samples[0]
	for _, s := range w.samples {
		if now.at-s.at >= lookBack {
			before = s
		}
	}
	rate := float64(now.done-before.done) / max((now.at-before.at).Seconds(), 0.001)
	left := "?"
	if rate > 0 {
		left = fmt.Sprintf("%.0f s", math.Ceil(float64(total-now.done)/rate))
	}
	fmt.Fprintf(w.out, "%5.1f s  %d of %d (%d %%)  %.0f/s  left %s  windows:", now.at.Seconds(), now.done, total, 100*now.done/max(total, 1), rate, left)
	for _, s := range w.servers {
		fmt.Fprintf(w.out, " %s %d", s.temper.name, now.window[s.domain])
	}
	fmt.Fprintln(w.out)
}

// plot makes lines of the samples.
func (w *watcher) plot() *plot {
	p := &plot{Title: fmt.Sprintf("%d messages to %d destinations", len(w.book.taken), len(w.servers))}
	rates, windows := panel{Label: "messages a second"}, panel{Label: "window: deliveries at a time (0 = idle, or waits for a probe)", Steps: true}
	for _, s := range w.servers {
		var rate, window []point
		for i, x := range w.samples {
			window = append(window, point{x.at.Seconds(), float64(x.window[s.domain])})
			if i > 0 {
				before := w.samples[i-1]
				rate = append(rate, point{x.at.Seconds(), float64(x.byDest[s.domain]-before.byDest[s.domain]) / max((x.at-before.at).Seconds(), 0.001)})
			}
		}
		p.Names = append(p.Names, s.domain+": "+s.temper.what)
		rates.Lines, windows.Lines = append(rates.Lines, rate), append(windows.Lines, window)
	}
	p.Panels = []panel{rates, windows}
	return p
}

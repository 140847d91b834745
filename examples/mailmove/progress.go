package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

// progress shows how far the work is: on one line that changes, in a terminal; else a line a minute.
type progress struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	start    time.Time
	last     time.Time
	first    int64 // messages done by earlier runs
	begun    bool
	width    int
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: time.Minute, start: time.Now(), last: time.Now()}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.terminal, p.every = true, 200*time.Millisecond
		}
	}
	return p
}

func (p *progress) update(s mailbox.Progress) {
	now := time.Now()
	if !p.begun { // the first batch tells what was there before it
		p.begun, p.first = true, s.Messages
		p.start = now
	}
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	p.print(p.line(s, now))
}

func (p *progress) line(s mailbox.Progress, now time.Time) string {
	octets, left := s.Rate(p.start, now, p.first)
	percent := 100.0
	if s.Total > 0 {
		percent = 100 * float64(s.Messages) / float64(s.Total)
	}
	line := fmt.Sprintf("%5.1f %%  %d of %d messages, folder %d of %d (%.40s), %.1f MB/s", percent, s.Messages, s.Total,
		min(s.Finished+1, s.Folders), s.Folders, s.Folder, octets/1e6)
	if left > 0 {
		line += ", " + left.Round(time.Second).String() + " left"
	}
	return line
}

func (p *progress) print(line string) {
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// end leaves the terminal's line.
func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintln(p.w)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

// progress shows how far the work is: on one line that changes, in a terminal; else a line a minute.
type progress struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	begin    time.Time // of the program
	start    time.Time // of the copying
	last     time.Time
	first    int64 // messages done by earlier runs
	begun    bool
	width    int
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: time.Minute, begin: time.Now(), start: time.Now(), last: time.Now()}
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

const (
	barWidth = 10
	columns  = 79 // a longer line would not go back to its start
)

func (p *progress) line(s mailbox.Progress, now time.Time) string {
	done := 1.0
	if s.Total > 0 {
		done = float64(s.Messages) / float64(s.Total)
	}
	folder := fmt.Sprintf("folder %d of %d (%.40s)", min(s.Finished+1, s.Folders), s.Folders, s.Folder)
	if s.Phase == mailbox.PhaseVerify {
		return fmt.Sprintf("%5.1f %% %s comparing: %d messages, %s", 100*done, bar(done), s.Verified, folder)
	}
	line := fmt.Sprintf("%5.1f %% %s %d of %d", 100*done, bar(done), s.Messages, s.Total)
	octets, left := s.Rate(p.start, now, p.first)
	if octets > 0 {
		line += fmt.Sprintf(", %.0f/s, %.1f MB/s", float64(s.Messages-p.first)/now.Sub(p.start).Seconds(), octets/1e6)
	}
	if left > 0 {
		line += ", " + left.Round(time.Second).String() + " left"
	}
	return line + ", " + folder
}

func bar(done float64) string {
	n := min(max(int(done*barWidth), 0), barWidth)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}

func (p *progress) print(line string) {
	if !p.terminal {
		fmt.Fprintln(p.w, line)
		return
	}
	if r := []rune(line); len(r) > columns {
		line = string(r[:columns])
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

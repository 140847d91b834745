package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
)

// ledger knows what became of every message, from both sides: what the queue says and what servers took.
type ledger struct {
	mu        sync.Mutex
	taken     []uint8        // by servers; 2 is a duplicate
	bounced   []uint8        // by the queue's word
	delivered int            // by the queue's word
	deferred  int            // attempts that were put off
	reports   int            // bounces that came home
	byDest    map[string]int // messages with an outcome
}

func newLedger(n int) *ledger {
	return &ledger{taken: make([]uint8, n), bounced: make([]uint8, n), byDest: map[string]int{}}
}

// number is the message that a recipient gets: user17@… the one with number 17.
func number(to goniec.Address) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(to.Local(), "user"))
	return n
}

// take notes what a server takes.
func (b *ledger) take(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[n]++
}

// event is the queue's word.
func (b *ledger) event(e queue.Event) {
	if e.Rcpt.IsZero() || e.Rcpt.ASCIIDomain() == home {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e.Kind {
	case queue.Delivered:
		b.delivered++
		b.byDest[e.Dest]++
	case queue.Failed, queue.Expired:
		b.bounced[number(e.Rcpt)]++
		b.byDest[e.Dest]++
	case queue.Deferred:
		b.deferred++
	}
}

// report notes a bounce that came home.
func (b *ledger) report() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports++
}

// progress counts the messages with an outcome, by destination too. over: there is nothing more to come.
func (b *ledger) progress() (done int, byDest map[string]int, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	byDest = maps.Clone(b.byDest)
	for _, n := range byDest {
		done += n
	}
	return done, byDest, done >= len(b.taken) && b.delivered+b.reports >= done
}

// close prints the balance. It is an error when it is not even.
func (b *ledger) close(out io.Writer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken, bounced, lost, twice int
	for i := range b.taken {
		taken += min(int(b.taken[i]), 1)
		bounced += min(int(b.bounced[i]), 1)
		switch n := b.taken[i] + b.bounced[i]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
	}
	fmt.Fprintf(out, "ledger: accepted %d = delivered %d + bounced %d; lost %d, duplicates %d\n", len(b.taken), taken, bounced, lost, twice)
	fmt.Fprintf(out, "        %d attempts were put off and made again; %d bounces reached the sender\n", b.deferred, b.reports)
	if lost+twice > 0 || len(b.taken) != taken+bounced || taken != b.delivered || bounced != b.reports {
		return errors.New("the ledger does not add up")
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mime"
)

// ticket is a row of the table. What makes the message is never changed.
type ticket struct {
	id                  int
	from, subject, text string
	opened              time.Time

	read, urgent, done bool
}

// tickets is the table, and the mailbox.Source that shows it.
type tickets struct {
	mu      sync.Mutex
	rows    []*ticket
	waiting map[chan struct{}]bool
}

func newTickets() *tickets { return &tickets{waiting: make(map[chan struct{}]bool)} }

// add makes a ticket, and tells every session.
func (t *tickets) add(from, subject, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, &ticket{id: len(t.rows) + 1, from: from, subject: subject, text: text, opened: time.Now()})
	t.changed()
}

// changed is called with the lock held. A channel that is full has been told already.
func (t *tickets) changed() {
	for c := range t.waiting {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// The five methods of mailbox.Source.

// Folders implements mailbox.Source: the queues.
func (t *tickets) Folders(context.Context, string) iter.Seq2[mailbox.Info, error] {
	return func(yield func(mailbox.Info, error) bool) {
		for _, name := range []string{"Open", "Done"} {
			if !yield(mailbox.Info{Name: name}, nil) {
				return
			}
		}
	}
}

// List implements mailbox.Source: the tickets of a queue. A ticket that is done moves to the other one.
func (t *tickets) List(_ context.Context, _, folder string) iter.Seq2[mailbox.Item, error] {
	return func(yield func(mailbox.Item, error) bool) {
		for _, row := range t.queue(folder) {
			if !yield(row.item(), nil) {
				return
			}
		}
	}
}

// queue copies the rows of a folder, so that nobody is called with the lock held.
func (t *tickets) queue(folder string) (rows []ticket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.rows {
		if folder == "Open" && !row.done || folder == "Done" && row.done {
			rows = append(rows, *row)
		}
	}
	return rows
}

func (row *ticket) item() mailbox.Item {
	var f mailbox.FlagList
	if row.read {
		f.System |= mailbox.Seen
	}
	if row.urgent {
		f.System |= mailbox.Flagged
	}
	return mailbox.Item{Key: strconv.Itoa(row.id), Date: row.opened, Size: -1, Flags: f}
}

// Read implements mailbox.Source: a ticket as a message.
func (t *tickets) Read(_ context.Context, _, folder, key string) (goniec.Content, error) {
	for _, row := range t.queue(folder) {
		if strconv.Itoa(row.id) == key {
			return row.message()
		}
	}
	return nil, mailbox.ErrNotFound
}

// message writes the ticket as mail. Everything that makes it is in the row, so that it is the same each time.
func (row *ticket) message() (goniec.Content, error) {
	from, err := mime.ParseAddress(row.from)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	m := &mime.Message{
		From: mime.Addresses{from}, Subject: row.subject, Text: row.text, Date: row.opened,
		MessageID: "ticket." + strconv.Itoa(row.id) + "@tickets.example",
		Rand:      strings.NewReader(strings.Repeat("tickets need no boundaries ", 10)),
	}
	if _, err := m.WriteTo(&b); err != nil {
		return nil, err
	}
	return bytes.NewReader(b.Bytes()), nil
}

// SetFlags implements mailbox.Source: reading, flagging and deleting mean something to the table.
func (t *tickets) SetFlags(_ context.Context, _, _, key string, f mailbox.FlagList) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.rows, func(row *ticket) bool { return strconv.Itoa(row.id) == key })
	if i < 0 {
		return mailbox.ErrNotFound
	}
	row := t.rows[i]
	row.read, row.urgent = f.System&mailbox.Seen != 0, f.System&mailbox.Flagged != 0
	row.done = row.done || f.System&mailbox.Answered != 0 // what was answered is done
	t.changed()
	return nil
}

// Notify implements mailbox.Source.
func (t *tickets) Notify(ctx context.Context, _ string) <-chan struct{} {
	c := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting[c] = true
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.waiting, c)
	})
	return c
}

// take makes a ticket of a form.
func (t *tickets) take(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	from, subject, text := r.PostFormValue("from"), r.PostFormValue("subject"), r.PostFormValue("text")
	if _, err := mime.ParseAddress(from); err != nil {
		http.Error(w, "from is no address", http.StatusBadRequest)
		return
	}
	if strings.ContainsAny(subject, "\r\n\x00") {
		http.Error(w, "subject is no line", http.StatusBadRequest)
		return
	}
	t.add(from, subject, text)
	_, _ = w.Write([]byte("thank you\n"))
}

// listen is net.Listen under a context.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	return l, nil
}

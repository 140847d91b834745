package imap_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/mailbox"
)

// withoutOptions hides the optional interfaces of a store's mailboxes, so that every message is opened each time.
func withoutOptions(s mailbox.Store) mailbox.Store { return plainStore{s} }

// What is answered from kept fields is what the messages themselves would answer.
func TestKeptFieldsAnswerAlike(t *testing.T) {
	var messages []string
	for i := range 30 {
		messages = append(messages, fmt.Sprintf("From: \"P%d\" <p%d@x>\r\nTo: t%d@x\r\nSubject: %s\r\n folded %d\r\nDate: Mon, %d Jan 2024 10:00:00 +0000\r\n"+
			"X-Other: o%d\r\nMessage-ID: <%d@x>\r\nReferences: <%d@x>\r\n\r\nbody with Subject: trap\r\n",
			(i*7)%30, i, (i*11)%30, []string{"alpha", "=?utf-8?q?b=C3=A9ta?=", "Re: alpha", ""}[i%4], i, 1+i%28, i, i, i/3))
	}
	messages = append(messages, "no header at all", "", "\r\nbody\r\n", "Subject: only\r\n")
	commands := []string{
		"SEARCH SUBJECT alpha", `SEARCH SUBJECT "BÉTA"`, "SEARCH SUBJECT trap", "SEARCH FROM p3 NOT TO t7", "SEARCH HEADER X-Other o1",
		"SEARCH HEADER Subject \"\"", "SEARCH HEADER Message-ID 5@x", "SEARCH SENTSINCE 10-Jan-2024", "SEARCH SENTON 3-Jan-2024", "SEARCH SUBJECT folded LARGER 10",
		"SEARCH OR SUBJECT alpha BODY trap", "UID SEARCH CC x", "SORT (SUBJECT DATE) UTF-8 ALL", "SORT (FROM) UTF-8 ALL", "SORT (DISPLAYTO REVERSE SIZE) UTF-8 ALL",
		"SORT (REVERSE ARRIVAL) UTF-8 SUBJECT alpha", "THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL",
	}
	var answers [2][]string
	for i := range answers {
		f := newFixture(t)
		if i == 1 {
			f.Store = withoutOptions(f.store)
		}
		for _, m := range messages {
			f.deliver(t, "alice", "INBOX", m)
		}
		c := login(t, f.start(t))
		c.ok("SELECT INBOX")
		for range 2 { // cold and warm
			for _, cmd := range commands {
				answers[i] = append(answers[i], fmt.Sprint(cmd, c.ok(cmd)))
			}
		}
	}
	require.Equal(t, answers[1], answers[0])
}

type (
	plainStore   struct{ mailbox.Store }
	plainAccount struct{ mailbox.Account }
	plainMailbox struct{ mailbox.Mailbox }
)

func (s plainStore) Account(ctx context.Context, user string) (mailbox.Account, error) {
	a, err := s.Store.Account(ctx, user)
	return plainAccount{a}, err
}

func (a plainAccount) Open(ctx context.Context, name string) (mailbox.Mailbox, error) {
	m, err := a.Account.Open(ctx, name)
	return plainMailbox{m}, err
}

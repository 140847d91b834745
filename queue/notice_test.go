package queue

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

// moodyStore is a Store that has no space, or can not record, on request.
type moodyStore struct {
	Store
	full, stuck atomic.Bool
}

func (s *moodyStore) Put(ctx context.Context, m Message) (ID, error) {
	if s.full.Load() {
		return "", ErrFull
	}
	return s.Store.Put(ctx, m)
}

func (s *moodyStore) Settle(ctx context.Context, l Lease, st Settlement) error {
	if s.stuck.Load() {
		return errors.New("input/output error")
	}
	return s.Store.Settle(ctx, l, st)
}

// noticesOf runs f over a queue with some classes on, which before may change, and returns the notices by subject that postmaster got within a day.
func noticesOf(t *testing.T, classes Notices, before, f func(q *Queue, store *moodyStore)) map[string][]string {
	got := map[string][]string{}
	synctest.Test(t, func(t *testing.T) {
		s := &sink{whole: func(env *goniec.Envelope) error {
			switch {
			case env.To[0].Address.Local() == "panic":
				panic("bug")
			case env.To[0].Address.Local() == "later":
				return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "wait")
			case env.To[0].Address.Local() == "gone":
				return goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no")
			}
			return nil
		}}
		store := &moodyStore{Store: memStore(t)}
		q := &Queue{Store: store, Deliverer: s, Hostname: "mx.example.net", Notices: classes, Postmaster: goniec.MustAddress("postmaster@example.net")}
		if before != nil {
			before(q, store)
		}
		runQueue(t, q)
		f(q, store)
		time.Sleep(24 * time.Hour)
		for _, c := range s.calls() {
			if c.env.To[0].Address == q.Postmaster {
				_, subject, _ := strings.Cut(c.msg, "Subject: ")
				subject, _, _ = strings.Cut(subject, "\r\n")
				got[subject] = append(got[subject], c.msg)
			}
		}
	})
	return got
}

// Each class is told of when it is on, and only then; nobody is told of anything without a postmaster.
func TestNoticeClasses(t *testing.T) {
	send := func(q *Queue, to string) error {
		return q.Deliver(t.Context(), testEnvelope(t, to), strings.NewReader(testBody))
	}
	happen := map[Notices]func(q *Queue, store *moodyStore){
		NoticeBounce:   func(q *Queue, _ *moodyStore) { _ = send(q, "gone@x.example") },
		NoticeDelay:    func(q *Queue, _ *moodyStore) { _ = send(q, "later@x.example") },
		NoticePolicy:   func(q *Queue, _ *moodyStore) { q.Notice(NoticePolicy, "relaying denied") },
		NoticeProtocol: func(q *Queue, _ *moodyStore) { q.Notice(NoticeProtocol, "no such command") },
		NoticeResource: func(q *Queue, s *moodyStore) {
			s.full.Store(true)
			_ = send(q, "ok@x.example")
			time.Sleep(time.Minute) // the notice finds no space either
			s.full.Store(false)
		},
		NoticeSoftware: func(q *Queue, _ *moodyStore) { _ = send(q, "panic@x.example") },
	}
	const all = NoticeBounce | NoticeDelay | NoticePolicy | NoticeProtocol | NoticeResource | NoticeSoftware
	require.Len(t, happen, 6)
	for class, f := range happen {
		for _, on := range []Notices{class, all, all &^ class, 0} {
			got := noticesOf(t, on, nil, f)
			subject := "Postmaster notice: " + class.String()
			if on&class == 0 {
				require.Empty(t, got[subject], "%s is off", class)
				continue
			}
			require.NotEmpty(t, got[subject], "%s is on", class)
			for _, msg := range got[subject] {
				require.Contains(t, msg, "Auto-Submitted: auto-generated\r\n")
				require.Contains(t, msg, "Events of class "+class.String()+":")
			}
		}
	}
	require.Contains(t, noticesOf(t, NoticeResource, nil, happen[NoticeResource])["Postmaster notice: resource"][0], "mail is refused: no space for the queue")
	q := &Queue{Store: &Memory{}, Deliverer: goniec.Discard(), Notices: all}
	q.Notice(NoticePolicy, "nobody to tell")
	require.Empty(t, q.notes.classes[2].lines)
}

// Notices are never about notices: neither a callback that panics over each message, nor a store that can not record, makes one from the
// other for ever.
func TestNoticesNotOfNotices(t *testing.T) {
	const all = NoticeBounce | NoticeDelay | NoticePolicy | NoticeProtocol | NoticeResource | NoticeSoftware
	for name, f := range map[string]func(q *Queue, store *moodyStore){
		"panics in Event": func(q *Queue, _ *moodyStore) { q.Event = func(Event) { panic("bug") } },
		"nothing recorded": func(_ *Queue, s *moodyStore) {
			s.stuck.Store(true)
			time.AfterFunc(12*time.Hour, func() { s.stuck.Store(false) })
		},
		"postmaster panics": func(q *Queue, _ *moodyStore) { q.Postmaster = goniec.MustAddress("panic@example.net") },
		"postmaster waits":  func(q *Queue, _ *moodyStore) { q.Postmaster = goniec.MustAddress("later@example.net") },
		"postmaster gone":   func(q *Queue, _ *moodyStore) { q.Postmaster = goniec.MustAddress("gone@example.net") },
	} {
		t.Run(name, func(t *testing.T) {
			// What happens to the one notice about policy must bring no other.
			got := noticesOf(t, all, f, func(q *Queue, _ *moodyStore) {
				q.Notice(NoticePolicy, "relaying denied")
				time.Sleep(23 * time.Hour)
			})
			delete(got, "Postmaster notice: policy")
			require.Empty(t, got)
		})
	}
}

func TestNoticesText(t *testing.T) {
	for n := range Notices(1 << 6) {
		text, err := n.MarshalText()
		require.NoError(t, err)
		var back Notices
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, n, back)
	}
	var n Notices
	require.NoError(t, n.UnmarshalText([]byte(" software,resource ,, ")))
	require.Equal(t, NoticeResource|NoticeSoftware, n)
	require.ErrorContains(t, n.UnmarshalText([]byte("bounce,2bounce")), `no class of notices "2bounce"; there are bounce, delay,`)
	require.Equal(t, NoticeResource|NoticeSoftware, n, "unchanged")
}

// What can not be queued is bounded as everything else.
func TestNoticePutBack(t *testing.T) {
	var n noticeState
	n.putBack(NoticeResource, make([]string, 30), 5)
	n.putBack(NoticeResource, make([]string, 30), 1)
	require.Len(t, n.classes[4].lines, noticeLines)
	require.Equal(t, 16, n.classes[4].more)
}

package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// past reads all that is known of a message.
func past(t testing.TB, h History, id ID) (all []Event) {
	t.Helper()
	for e, err := range h.Of(context.Background(), id) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

func kindsOf(events []Event) (kinds []EventKind) {
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// What happened to a message is known when it is gone, and after a restart.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := faultfs.NewCrash(1)
		h, err := OpenHistory("/history", HistoryOptions{FS: fsys})
		require.NoError(t, err)
		d := &sink{}
		d.answer = func(_ *goniec.Envelope, to goniec.Recipient) error {
			if to.Address.Local() == "later" && len(d.calls()) < 3 {
				return goniec.NewStatus(451, goniec.EnhancedCode{4, 7, 1}, "come \"back\"\tlater")
			}
			return nil
		}
		q := &Queue{Store: memStore(t), Deliverer: d, History: h, Jitter: -1}
		runQueue(t, q)
		env := testEnvelope(t, "later@x.example", "ża@y.example")
		id, err := q.Enqueue(t.Context(), env, strings.NewReader(testBody), Options{})
		require.NoError(t, err)
		waiting := testEnvelope(t, "c@z.example")
		waiting.HoldUntil = time.Now().Add(24 * time.Hour) // so that it does not go between Release and Hold
		other, err := q.Enqueue(t.Context(), waiting, strings.NewReader(testBody), Options{Hold: true})
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.NoError(t, q.Release(t.Context(), other))
		require.NoError(t, q.Hold(t.Context(), other))
		require.NoError(t, q.Delete(t.Context(), other))
		require.NoError(t, h.Close())
		h.Add(Event{Kind: Queued, ID: id}) // dropped

		h, err = OpenHistory("/history", HistoryOptions{FS: fsys})
		require.NoError(t, err)
		defer h.Close()
		got := past(t, h, id)
		require.Equal(t, Queued, got[0].Kind)
		require.Equal(t, env.From, got[0].From)
		byRcpt := map[string][]EventKind{}
		for _, e := range got[1:] {
			byRcpt[e.Rcpt.String()] = append(byRcpt[e.Rcpt.String()], e.Kind)
			require.Equal(t, id, e.ID)
			if e.Kind == Deferred {
				require.Contains(t, e.Reason, "come \"back\" later")
				require.Equal(t, 1, e.Attempt)
				require.False(t, e.Due.IsZero())
			}
		}
		require.Equal(t, map[string][]EventKind{"later@x.example": {Deferred, Delivered}, "ża@y.example": {Delivered}}, byRcpt)
		require.Subset(t, kindsOf(past(t, h, other)), []EventKind{Queued, Released, Held, Removed})
		require.Empty(t, past(t, h, "000000000000"))
		for range h.Of(t.Context(), id) {
			break
		}
	})
}

func TestPastWithoutHistory(t *testing.T) {
	q := &Queue{Store: &Memory{}, Deliverer: goniec.Discard()}
	for _, err := range q.Past(t.Context(), "X") {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	h, err := OpenHistory(t.TempDir(), HistoryOptions{})
	require.NoError(t, err)
	defer h.Close()
	q.History = h
	for _, err := range q.Past(t.Context(), "X") {
		require.ErrorIs(t, err, ErrNotFound)
	}
	id, err := q.Enqueue(t.Context(), testEnvelope(t, "a@x.example"), strings.NewReader("x"), Options{})
	require.NoError(t, err)
	for e, err := range q.Past(t.Context(), id) {
		require.NoError(t, err)
		require.Equal(t, Queued, e.Kind)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range q.Past(cancelled, id) {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// The history is bounded by octets and by age: the newest events stay, in order.
func TestHistoryBounds(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(1_800_000_000, 0)
	open := func(o HistoryOptions) *FileHistory {
		o.Now = func() time.Time { return now }
		h, err := OpenHistory(dir, o)
		require.NoError(t, err)
		return h
	}
	size := func() (n int64) {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, f := range files {
			info, err := f.Info()
			require.NoError(t, err)
			n += info.Size()
		}
		return n
	}
	const limit = 64 << 10
	h := open(HistoryOptions{MaxBytes: limit})
	for i := range 5000 {
		h.Add(Event{Kind: Delivered, ID: "ONE", Attempt: i + 1, At: now})
		now = now.Add(-time.Minute) // a clock that goes back changes no order
	}
	got := past(t, h, "ONE")
	require.LessOrEqual(t, size(), int64(limit))
	require.Greater(t, size(), int64(limit/2))
	require.Equal(t, 5000, got[len(got)-1].Attempt)
	for i := range got {
		require.Equal(t, got[0].Attempt+i, got[i].Attempt)
	}
	require.NoError(t, h.Close())
	require.NoError(t, h.Close(), "twice is harmless")

	now = time.Unix(1_800_000_000, 0)
	h = open(HistoryOptions{Keep: 80 * time.Minute, MaxBytes: -1})
	for i := range 300 { // five hours
		h.Add(Event{Kind: Queued, ID: "TWO", Attempt: i + 1, At: now})
		now = now.Add(time.Minute)
	}
	got = past(t, h, "TWO")
	require.Equal(t, 300, got[len(got)-1].Attempt)
	require.GreaterOrEqual(t, len(got), 80)
	require.LessOrEqual(t, len(got), 105)
	require.Empty(t, past(t, h, "ONE"))
	require.NoError(t, h.Close())

	now = now.Add(100 * 24 * time.Hour)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600))
	h = open(HistoryOptions{})
	h.Add(Event{Kind: Queued, ID: "THREE"})
	require.Empty(t, past(t, h, "TWO"), "older than asked for")
	require.Len(t, past(t, h, "THREE"), 1)
	require.NoError(t, h.Close())
	require.FileExists(t, filepath.Join(dir, "notes.txt"))
}

// Torn, damaged, foreign and endless lines are passed over; a reply that looks like another message's line is not.
func TestHistoryDamage(t *testing.T) {
	dir := t.TempDir()
	h, err := OpenHistory(dir, HistoryOptions{})
	require.NoError(t, err)
	h.Add(Event{Kind: Queued, ID: "VICTIM"})
	h.Add(Event{Kind: Deferred, ID: "EVIL", Reason: "x\"}\n{\"kind\":\"delivered\",\"id\":\"VICTIM\"}"})
	h.Add(Event{Kind: Deferred, ID: "HUGE", Reason: strings.Repeat("x", maxHistoryLine)})
	require.Empty(t, past(t, h, "HUGE"), "beyond the limit of a line")
	h.Add(Event{Kind: Deferred, ID: "LARGE", Reason: strings.Repeat("x", maxHistoryLine-200)})
	require.Len(t, past(t, h, "LARGE"), 1)
	require.Equal(t, []EventKind{Queued}, kindsOf(past(t, h, "VICTIM")))
	require.NoError(t, h.Close())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("not JSON \"VICTIM\"\n{\"id\":\"VICTIM\",\"kind\":5}\n" + strings.Repeat("\"VICTIM\" ", maxHistoryLine) + "\n" +
		`{"kind":"dance","id":"VICTIM"}` + "\n" + `{"kind":"queued","id":"VICTIM"`)
	require.NoError(t, errors.Join(err, f.Close()))
	h, err = OpenHistory(dir, HistoryOptions{})
	require.NoError(t, err)
	defer h.Close()
	require.Equal(t, []EventKind{Queued, 0}, kindsOf(past(t, h, "VICTIM")), "a kind of a later version is 0")
}

// F02: whatever fails, mail goes on, the failure is in the log, and events are kept again later.
func TestHistoryFaults(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.OpCreate, faultfs.OpWrite, faultfs.OpClose} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			var log bytes.Buffer
			now := time.Unix(1_800_000_000, 0)
			var broken atomic.Bool
			fsys := faultfs.NewFault(faultfs.OS{})
			fail := faultfs.FailOp(op, syscall.ENOSPC)
			fsys.Inject = func(c faultfs.Call) error {
				if broken.Load() {
					return fail(c)
				}
				return nil
			}
			h, err := OpenHistory(t.TempDir(), HistoryOptions{
				FS: fsys, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			require.NoError(t, err)
			broken.Store(true)
			h.Add(Event{Kind: Queued, ID: "A"})
			h.flush()
			now = now.Add(6 * 24 * time.Hour) // another file
			h.Add(Event{Kind: Queued, ID: "B"})
			h.flush()
			require.Contains(t, log.String(), "no space left")
			broken.Store(false)
			now = now.Add(historyRest)
			h.Add(Event{Kind: Queued, ID: "C"})
			require.Len(t, past(t, h, "C"), 1)
			require.NoError(t, h.Close())
			require.Empty(t, fsys.Open())
		})
	}
}

package imap_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// world is a Maildir with a server that is started again and again, and with other programs at work in it.
type world struct {
	t     *testing.T
	dir   string // of alice
	f     *fixture
	store *maildir.Store
	until time.Time

	mu     sync.Mutex
	addr   string
	done   chan error
	epoch  atomic.Int64 // counts restarts: connections may break when it changes
	seen   sync.Map     // "mailbox id/UID" → X-Id: what a UID names never changes
	kept   sync.Map     // "UID" in Keep → X-Id, acknowledged: must be there in the end
	serial atomic.Int64

	steps, resyncs, restarts, foreign, compared atomic.Int64
}

func newWorld(t *testing.T, length time.Duration) *world {
	f, root := newMaildirFixture(t)
	f.MaxConnsPerIP = -1
	w := &world{t: t, dir: filepath.Join(root, "alice"), f: f, until: time.Now().Add(length)}
	w.store = f.mail.(*maildir.Store)
	for _, name := range []string{"Keep", "Alpha", "Beta"} {
		require.NoError(t, f.account(t, "alice").Create(t.Context(), name, mailbox.CreateOptions{}))
	}
	w.serve()
	t.Cleanup(w.stop)
	return w
}

func (w *world) serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	server := w.f.Server
	w.addr, w.done = l.Addr().String(), make(chan error, 1)
	go func() { w.done <- server.Serve(l) }()
}

func (w *world) stop() {
	_ = w.f.Close()
	require.ErrorIs(w.t, <-w.done, imap.ErrServerClosed)
	require.Zero(w.t, w.f.Stats().Panics)
	require.NoError(w.t, w.store.Close())
}

// restart ends the server, in good manners or not, and starts another one on the same tree.
func (w *world) restart(gently bool) {
	w.epoch.Add(1)
	if gently {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = w.f.Shutdown(ctx)
	}
	w.stop()
	w.store = &maildir.Store{Root: filepath.Dir(w.dir)}
	old := w.f.Server
	w.f.Server = &imap.Server{Store: w.store, Auth: old.Auth, AllowInsecureAuth: true, Hostname: old.Hostname, Logger: old.Logger, MaxConnsPerIP: -1}
	w.f.mail = w.store
	w.serve()
	w.epoch.Add(1)
	w.restarts.Add(1)
}

func (w *world) folderDir(name string) string {
	if name == "INBOX" {
		return w.dir
	}
	return filepath.Join(w.dir, "."+name)
}

// disturb is what other programs do: deliver, change flags, delete, rename folders, remove the index.
func (w *world) disturb(rng *rand.Rand) {
	w.foreign.Add(1)
	names := []string{"INBOX", "Alpha", "Beta", "Gamma"}
	dir := w.folderDir(names[rng.IntN(len(names))])
	files, _ := filepath.Glob(filepath.Join(dir, "cur", "*"))
	n := rng.IntN(20)
	if len(files) > 50 && n < 8 {
		n = 13 // folders stay small: the more often each is looked at
	}
	switch {
	case n < 8 || len(files) == 0 && n < 16:
		id := w.serial.Add(1)
		name := fmt.Sprintf("%d.f%d.other", time.Now().Unix(), id)
		if os.WriteFile(filepath.Join(dir, "tmp", name), fmt.Appendf(nil, "X-Id: f%d\n\nforeign\n", id), 0o600) == nil {
			_ = os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name))
		}
	case n < 13: // whoever renames a file that is renamed at the same time fails, as mutt would
		old := files[rng.IntN(len(files))]
		base, _, _ := strings.Cut(old, ":2,")
		_ = os.Rename(old, base+":2,"+[]string{"", "S", "F", "FS", "RS"}[rng.IntN(5)])
	case n < 16:
		_ = os.Remove(files[rng.IntN(len(files))])
	case n < 18:
		from, to := w.folderDir(names[1+rng.IntN(3)]), w.folderDir(names[1+rng.IntN(3)])
		if _, err := os.Stat(to); errors.Is(err, os.ErrNotExist) {
			_ = os.Rename(from, to)
		}
	default:
		_ = os.Remove(filepath.Join(dir, "goniec-index"))
	}
}

// checkKept looks for everything that was acknowledged for the folder from which nobody deletes.
func (w *world) checkKept() {
	texts, metas := w.f.messages(w.t, "alice", "Keep")
	there := map[string]string{}
	for i, text := range texts {
		if id := xID.FindStringSubmatch(text); id != nil {
			there[fmt.Sprint(metas[i].UID)] = id[1]
		}
	}
	n := 0
	w.kept.Range(func(uid, id any) bool {
		require.Equal(w.t, id, there[uid.(string)], "UID %v of Keep", uid)
		n++
		return true
	})
	w.t.Logf("%d acknowledged messages are there", n)
}

// I11: a client that comes back to a Maildir whose server was started again, whose index was lost, in which others delivered, flagged and
// deleted, knows it as well as one that asks for everything.
func TestI11_ResyncModelOfAWorld(t *testing.T) {
	w := newWorld(t, stressTime(time.Second, 2*time.Minute))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	clients := []*offline{{flags: map[uint32]string{}}, {flags: map[uint32]string{}}, {flags: map[uint32]string{}}}
	visits := 0
	for ; time.Now().Before(w.until); visits++ {
		for range rng.IntN(10) {
			w.disturb(rng)
		}
		for range rng.IntN(4) {
			w.f.disturb(t, rng)
		}
		if rng.IntN(8) == 0 {
			w.restart(rng.IntN(2) == 0)
		}
		clients[rng.IntN(len(clients))].visit(t, w.addr)
	}
	t.Logf("%d visits, %d restarts, %d foreign changes", visits, w.restarts.Load(), w.foreign.Load())
}

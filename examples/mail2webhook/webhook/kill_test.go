package webhook

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/smtp"
)

// The test binary is the application behind the hook when this variable names its ledger; asHookAddr says where it listens.
const (
	asHook     = "GONIEC_TEST_HOOK"
	asHookAddr = "GONIEC_TEST_HOOK_ADDR"
)

// record is a line of the application's ledger.
type record struct{ ID, Subject, Text string }

// hookProcess is an application as the documentation wants it: it verifies, stores durably, then answers. It keeps every copy,
// so that the test sees duplicates too.
func hookProcess() {
	ledger, err := os.OpenFile(os.Getenv(asHook), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", os.Getenv(asHookAddr))
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var m Message
		if err := errors.Join(Verify(r.Header, body, time.Now(), testSecret), json.Unmarshal(body, &m)); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		line, _ := json.Marshal(record{r.Header.Get(HeaderID), m.Subject, m.Text})
		if _, err := ledger.Write(append(line, '\n')); err != nil || ledger.Sync() != nil {
			http.Error(w, "disk", http.StatusServiceUnavailable)
			return
		}
		time.Sleep(time.Millisecond) // so that a kill falls between storing and answering, too
	}))
}

// startHook starts the application, and returns what kills it.
func startHook(t *testing.T, ledger, addr string) (bound string, kill func()) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asHook+"="+ledger, asHookAddr+"="+addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill() // SIGKILL
			_ = cmd.Wait()
		})
	}
	t.Cleanup(kill)
	bound, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(bound), kill
}

// readLedger reads what the application has stored.
func readLedger(t *testing.T, path string) []record {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var list []record
	for line := range strings.Lines(string(b)) {
		var r record
		if json.Unmarshal([]byte(line), &r) == nil { // the last line may be torn by the kill
			list = append(list, r)
		}
	}
	return list
}

// receive starts a server in front of a hook.
func receive(t *testing.T, hook *Hook) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &smtp.Server{Hostname: "mx.test", Handler: smtp.DeliverTo(hook, "example.org")}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
		require.NoError(t, hook.Close())
	})
	return l.Addr().String()
}

// text is a message's body: some fit into a socket's buffer, some do not.
func text(i int) string {
	return strings.Repeat(fmt.Sprintf("line of message %d\r\n", i), 1+i%5*2500) + "the end\r\n"
}

// sender is one that queues: it tries each message until it is told 250, and counts how often it was not.
func sender(t *testing.T, ctx context.Context, addr string, i int, retries *atomic.Int64) {
	env := &goniec.Envelope{From: goniec.MustAddress("you@example.net"), To: []goniec.Recipient{{Address: goniec.MustAddress("hooks@example.org")}}}
	msg := fmt.Sprintf("Subject: %d\r\nMessage-ID: <%d@example.net>\r\n\r\n%s", i, i, text(i))
	for ctx.Err() == nil {
		err := once(ctx, addr, env, msg)
		if err == nil || !assertTemporary(t, err) {
			return
		}
		retries.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("message %d was not taken in time", i)
}

func assertTemporary(t *testing.T, err error) bool {
	if goniec.Permanent(err) {
		t.Errorf("a message bounces: %v", err)
		return false
	}
	return true
}

func once(ctx context.Context, addr string, env *goniec.Envelope, msg string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	client, err := smtp.NewClient(ctx, c, goniec.RouteHost{Name: "mx.test", TLS: goniec.TLSNone})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Send(ctx, env, strings.NewReader(msg))
	return err
}

// SIGKILL of the application in the middle of messages loses none: what was acknowledged is in its ledger at that moment, the senders'
// retries bring the rest, and the ids tell the copies that were stored twice.
func TestKilledHookLosesNothing(t *testing.T) {
	messages, senders, kills := 24, 4, 2
	if peertest.LongForm() {
		messages, kills = 400, 20
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ledger := filepath.Join(t.TempDir(), "ledger")
	addr, kill := startHook(t, ledger, peertest.FreeAddr(t))
	hook := &Hook{URL: "http://" + addr + "/", Secrets: []auth.Secret{testSecret}, Timeout: time.Minute}
	mx := receive(t, hook)

	var acked, retries atomic.Int64
	var next, limit atomic.Int64 // the messages up to limit may be sent
	part := int64(messages / (kills + 1))
	limit.Store(part)
	var wg sync.WaitGroup
	var mu sync.Mutex // of acknowledged
	acknowledged := map[int]bool{}
	for range senders {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= messages; i = int(next.Add(1)) {
				waitFor(ctx, func() bool { return int64(i) <= limit.Load() })
				sender(t, ctx, mx, i, &retries)
				mu.Lock()
				acknowledged[i] = true
				mu.Unlock()
				acked.Add(1)
			}
		})
	}
	for k := range kills {
		waitFor(ctx, func() bool { return acked.Load() >= limit.Load()-part/2 })
		kill()
		mu.Lock()
		stored := subjects(readLedger(t, ledger))
		for i := range acknowledged {
			require.NotZero(t, stored[fmt.Sprint(i)], "message %d was acknowledged and is not stored", i)
		}
		mu.Unlock()
		told := retries.Load()
		if limit.Add(part); k == kills-1 {
			limit.Store(int64(messages))
		}
		waitFor(ctx, func() bool { return retries.Load() >= told+int64(senders) }) // senders are told 451
		_, kill = startHook(t, ledger, addr)
	}
	wg.Wait()

	distinct := map[string]record{}
	copies := readLedger(t, ledger)
	for _, r := range copies {
		distinct[r.ID] = r
	}
	require.Len(t, distinct, messages, "one id for each message")
	for _, r := range distinct {
		var i int
		_, err := fmt.Sscan(r.Subject, &i)
		require.NoError(t, err)
		require.True(t, r.Text == text(i), "message %d is whole", i)
	}
	require.Len(t, subjects(copies), messages)
	t.Logf("%d messages, %d kills, %d retries, %d stored twice, 0 lost", messages, kills, retries.Load(), len(copies)-messages)
}

// waitFor waits until something is so, or the context ends.
func waitFor(ctx context.Context, so func() bool) {
	for !so() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

func subjects(list []record) map[string]int {
	m := map[string]int{}
	for _, r := range list {
		m[r.Subject]++
	}
	return m
}

// Each way in which an application can fail in the middle, through the server: the sender is told 451 each time, and 250 once.
func TestFlakyHook(t *testing.T) {
	var stored []string
	failures := []func(w http.ResponseWriter, r *http.Request){
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, // before it reads
		func(_ http.ResponseWriter, r *http.Request) {
			io.CopyN(io.Discard, r.Body, 50)
			panic(http.ErrAbortHandler)
		}, // while it reads
		func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); w.WriteHeader(500) },
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) },
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(422) },
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) },
		func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		func(_ http.ResponseWriter, r *http.Request) { // after it has stored
			io.Copy(io.Discard, r.Body)
			stored = append(stored, r.Header.Get(HeaderID))
			panic(http.ErrAbortHandler)
		},
	}
	n := 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= len(failures) {
			failures[n-1](w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		stored = append(stored, r.Header.Get(HeaderID))
	})}
	go app.Serve(l)
	t.Cleanup(func() { app.Close() })
	mx := receive(t, &Hook{URL: "http://" + l.Addr().String(), Secrets: []auth.Secret{testSecret}})
	var retries atomic.Int64
	sender(t, t.Context(), mx, 2, &retries)
	require.EqualValues(t, len(failures), retries.Load())
	require.Len(t, stored, 2)
	require.Equal(t, stored[0], stored[1], "the application knows it again")
}

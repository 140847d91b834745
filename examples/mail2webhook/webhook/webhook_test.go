package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/leaktest"
	"github.com/goniec-mail/goniec/internal/peertest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(asHook) != "" {
		hookProcess()
		return
	}
	leaktest.VerifyTestMain(m)
}

var (
	testSecret = auth.NewSecret("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	testNow    = time.Unix(1767322800, 0)
)

func testEnvelope() *goniec.Envelope {
	return &goniec.Envelope{
		ID: "01ARZ3NDEKTS", From: goniec.MustAddress("you@example.net"),
		To:       []goniec.Recipient{{Address: goniec.MustAddress("hooks@example.org")}, {Address: goniec.MustAddress(`"a b"@example.org`)}},
		Body:     goniec.Body8BitMIME,
		Received: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Origin: goniec.Origin{
			Remote: netip.MustParseAddrPort("192.0.2.1:4711"), Helo: "mx.example.net", RDNS: "mx.example.net", Protocol: "ESMTPS", TLSVersion: "TLS1.3",
		},
	}
}

// post delivers a message to a handler and returns the request's body.
func post(t testing.TB, h *Hook, env *goniec.Envelope, msg io.Reader, answer func(w http.ResponseWriter, r *http.Request, body []byte)) ([]byte, error) {
	var got []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		if answer != nil {
			answer(w, r, got)
		}
	}))
	defer srv.Close()
	h.URL = srv.URL + "/mail"
	if h.Secrets == nil {
		h.Secrets = []auth.Secret{testSecret}
	}
	defer h.Close()
	err := h.Deliver(t.Context(), env, msg)
	return got, err
}

func parse(t testing.TB, body []byte) *Message {
	m := &Message{}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(m), string(body))
	return m
}

// Each testdata/*.eml gives its *.json, byte for byte: the documented form.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			msg := strings.ReplaceAll(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n", "\r\n")
			body, err := post(t, &Hook{Now: func() time.Time { return testNow }}, testEnvelope(), strings.NewReader(msg), nil)
			require.NoError(t, err)
			parse(t, body)
			var pretty bytes.Buffer
			require.NoError(t, json.Indent(&pretty, body, "", "  "))
			pretty.WriteByte('\n')
			golden := strings.TrimSuffix(name, ".eml") + ".json"
			if *update {
				require.NoError(t, os.WriteFile(golden, pretty.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), pretty.String())
		})
	}
}

// The request is one that receivers can verify, and nobody can change or send again later.
func TestSignature(t *testing.T) {
	other := NewSecret()
	h := &Hook{Now: func() time.Time { return testNow }, Secrets: []auth.Secret{other, testSecret}}
	_, err := post(t, h, testEnvelope(), strings.NewReader("Subject: x\r\n\r\nx\r\n"), func(_ http.ResponseWriter, r *http.Request, body []byte) {
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		require.EqualValues(t, len(body), r.ContentLength)
		require.Len(t, r.Header.Get(HeaderID), 64)
		require.NoError(t, Verify(r.Header, body, testNow, testSecret))
		require.NoError(t, Verify(r.Header, body, testNow.Add(Tolerance), other))
		require.NoError(t, Verify(r.Header, body, testNow, NewSecret(), other), "secrets are changed on the receiver's side too")
		require.ErrorIs(t, Verify(r.Header, body, testNow.Add(Tolerance+time.Second), other), ErrSignature)
		require.ErrorIs(t, Verify(r.Header, body, testNow.Add(-Tolerance-time.Second), other), ErrSignature)
		require.ErrorIs(t, Verify(r.Header, body, testNow, NewSecret()), ErrSignature)
		require.ErrorIs(t, Verify(http.Header{}, body, testNow, other), ErrSignature)
		for i := range body {
			bad := bytes.Clone(body)
			bad[i] ^= 1
			require.ErrorIs(t, Verify(r.Header, bad, testNow, testSecret), ErrSignature, "octet %d", i)
		}
		for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
			bad := r.Header.Clone()
			bad.Set(name, "1"+bad.Get(name)[1:]+"0")
			require.ErrorIs(t, Verify(bad, body, testNow, testSecret), ErrSignature, name)
		}
	})
	require.NoError(t, err)
}

// The vector is that of the reference implementation of Standard Webhooks, so that its libraries verify ours.
func TestStandardWebhooksVector(t *testing.T) {
	k, err := key(auth.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
	require.NoError(t, err)
	s := newSigner([][]byte{k}, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330")
	_, _ = io.WriteString(s, `{"test": 2432232314}`)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", s.header())
}

// The snippet of the documentation, with Python as the receiver.
func TestPythonVerifies(t *testing.T) {
	python := peertest.Need(t, "python3")
	_, err := post(t, &Hook{}, testEnvelope(), strings.NewReader("Subject: gr\xfc\xdfe\r\n\r\n\x00x\r\n"), func(_ http.ResponseWriter, r *http.Request, body []byte) {
		script := `import sys, json, base64, hmac, hashlib, time
secret, headers, body = sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer.read()
key = base64.b64decode(secret.removeprefix("whsec_"))
signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
ok = any(hmac.compare_digest(want, s) for s in headers["webhook-signature"].split(" "))
ok = ok and abs(time.time() - int(headers["webhook-timestamp"])) < 300
print(ok, json.loads(body)["envelope"]["from"])`
		headers, err := json.Marshal(map[string]string{HeaderID: r.Header.Get(HeaderID), HeaderTimestamp: r.Header.Get(HeaderTimestamp), HeaderSignature: r.Header.Get(HeaderSignature)})
		require.NoError(t, err)
		cmd := peertest.Command(t, python, "-c", script, testSecret.Reveal(), string(headers))
		cmd.Stdin = bytes.NewReader(body)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, "True you@example.net\n", string(out))
	})
	require.NoError(t, err)
}

// The id is the same at each attempt of the sender, whatever our own server adds, and another one for another message.
func TestIDIsStable(t *testing.T) {
	id := func(env *goniec.Envelope, msg string) (id string) {
		_, err := post(t, &Hook{}, env, strings.NewReader(msg), func(_ http.ResponseWriter, r *http.Request, _ []byte) { id = r.Header.Get(HeaderID) })
		require.NoError(t, err)
		require.NotEmpty(t, id)
		return id
	}
	first := id(testEnvelope(), "Received: by us id 1;\r\n\t1 Jan\r\nSubject: x\r\n\r\nx\r\n")
	again := testEnvelope()
	again.ID, again.Received, again.Origin = "OTHER", time.Now(), goniec.Origin{}
	again.To[0], again.To[1] = again.To[1], again.To[0]
	again.To[0].Address = goniec.MustAddress(`"a b"@EXAMPLE.org`)
	require.Equal(t, first, id(again, "Received: by us id 2;\r\n\t2 Jan\r\nSubject: x\r\n\r\nx\r\n"))
	require.Equal(t, first, id(again, "Subject: x\r\n\r\nx\r\n"))
	fewer := testEnvelope()
	fewer.To = fewer.To[:1]
	require.NotEqual(t, first, id(fewer, "Subject: x\r\n\r\nx\r\n"))
	from := testEnvelope()
	from.From = goniec.Address{}
	require.NotEqual(t, first, id(from, "Subject: x\r\n\r\nx\r\n"))
	require.NotEqual(t, first, id(testEnvelope(), "Received: 1\r\nReceived: 2\r\nSubject: x\r\n\r\nx\r\n"))
}

// Unknown is temporary: of all statuses, 2xx takes the message, and 422 refuses it if it says so.
func TestVerdicts(t *testing.T) {
	for _, verdict := range []string{"", "refuse"} {
		testVerdicts(t, verdict)
	}
}

func testVerdicts(t *testing.T, verdict string) {
	var status int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/elsewhere")
		w.Header().Set(HeaderVerdict, verdict)
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = io.WriteString(w, "secret \x1b[2J path /srv/app"+strings.Repeat("x", 5000))
		}
	}))
	defer srv.Close()
	var log bytes.Buffer
	h := &Hook{URL: srv.URL, Secrets: []auth.Secret{testSecret}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	defer h.Close()
	for status = 200; status < 600; status++ {
		log.Reset()
		err := h.Deliver(t.Context(), testEnvelope(), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
		switch {
		case status < 300:
			require.NoError(t, err, status)
			require.Contains(t, log.String(), "level=INFO")
			continue
		case status == 422 && verdict != "":
			require.Equal(t, "554 5.7.1 message refused by the application it is for", goniec.StatusOf(err).Reply())
		default:
			require.Equal(t, 451, goniec.StatusOf(err).Code, status)
		}
		require.NotContains(t, goniec.StatusOf(err).Reply(), "/srv/app", "what the hook says stays in the log")
		require.NotContains(t, log.String(), "\x1b")
		require.NotContains(t, log.String(), testSecret.Reveal())
		require.Contains(t, log.String(), fmt.Sprintf("hook answered %d", status))
		require.Less(t, log.Len(), 2000)
	}
}

// What is no answer is temporary too.
func TestNoAnswer(t *testing.T) {
	hold := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"hangs up":           func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":              func(_ http.ResponseWriter, r *http.Request) { <-hold },
		"hangs after a part": func(_ http.ResponseWriter, r *http.Request) { io.CopyN(io.Discard, r.Body, 10000); <-hold },
		"answers too early": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-hold
		},
		"endless header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxAnswerHeader))
			w.WriteHeader(200)
		},
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(c, "220 smtp.example ESMTP\r\n")
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			h := &Hook{URL: srv.URL, Secrets: []auth.Secret{testSecret}, Timeout: 300 * time.Millisecond}
			err := h.Deliver(t.Context(), testEnvelope(), strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat("0123456789\r\n", 1<<20)))
			require.Error(t, err)
			require.Equal(t, 451, goniec.StatusOf(err).Code)
			srv.CloseClientConnections()
			if strings.HasPrefix(name, "hangs") || name == "answers too early" {
				close(hold)
				hold = make(chan struct{})
			}
			srv.Close()
			require.NoError(t, h.Close())
		})
	}
	h := &Hook{URL: "http://127.0.0.1:1/", Secrets: []auth.Secret{testSecret}}
	require.Equal(t, 451, goniec.StatusOf(h.Deliver(t.Context(), testEnvelope(), strings.NewReader("\r\n"))).Code)
}

// The context of the transaction ends a request.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel(errors.New("server stops"))
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer srv.Close()
	h := &Hook{URL: srv.URL, Secrets: []auth.Secret{testSecret}, Timeout: -1}
	defer h.Close()
	err := h.Deliver(ctx, testEnvelope(), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	require.Equal(t, 451, goniec.StatusOf(err).Code)
	require.Equal(t, 451, goniec.StatusOf(h.Deliver(ctx, testEnvelope(), iotest.OneByteReader(strings.NewReader("x")))).Code)
}

// S12 and the header's limit, at the limit and beyond; a message that breaks off is nobody's.
func TestLimits(t *testing.T) {
	h := &Hook{MaxMessageBytes: 100}
	for _, as := range []func(string) io.Reader{
		func(s string) io.Reader { return strings.NewReader(s) },
		func(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} },
	} {
		_, err := post(t, h, testEnvelope(), as("Subject: x\r\n\r\n"+strings.Repeat("x", 86)), nil)
		require.NoError(t, err)
		got, err := post(t, h, testEnvelope(), as("Subject: x\r\n\r\n"+strings.Repeat("x", 87)), nil)
		require.Equal(t, "552 5.3.4 message is larger than the limit", goniec.StatusOf(err).Reply())
		require.Nil(t, got)
	}
	header := strings.Repeat("A: "+strings.Repeat("x", 59)+"\r\n", maxHeaderBytes/64)
	_, err := post(t, &Hook{}, testEnvelope(), strings.NewReader(header[:len(header)-2-len("\r\n")]+"\r\n\r\nx"), nil)
	require.NoError(t, err)
	_, err = post(t, &Hook{}, testEnvelope(), strings.NewReader(header+"\r\nx"), nil)
	require.Equal(t, 552, goniec.StatusOf(err).Code)
	got, err := post(t, &Hook{}, testEnvelope(), io.MultiReader(strings.NewReader("Subject: x\r\n\r\n"), iotest.ErrReader(io.ErrUnexpectedEOF)), nil)
	require.Equal(t, 451, goniec.StatusOf(err).Code)
	require.Nil(t, got)
}

// Mail and secrets go where they should only.
func TestCheck(t *testing.T) {
	good := []auth.Secret{testSecret}
	for name, c := range map[string]struct {
		h    *Hook
		want string
	}{
		"https":            {&Hook{URL: "https://app.example/x", Secrets: good}, ""},
		"loopback":         {&Hook{URL: "http://[::1]:80/x", Secrets: good}, ""},
		"localhost":        {&Hook{URL: "http://localhost/x", Secrets: good}, ""},
		"plain":            {&Hook{URL: "http://app.example/x", Secrets: good}, "without TLS"},
		"plain, looks so":  {&Hook{URL: "http://localhost.example/x", Secrets: good}, "without TLS"},
		"plain, allowed":   {&Hook{URL: "http://app.example/x", Secrets: good, AllowPlainHTTP: true}, ""},
		"no host":          {&Hook{URL: "https:///x", Secrets: good}, "is not https://host/path"},
		"no scheme":        {&Hook{URL: "app.example/x", Secrets: good}, "is not https://host/path"},
		"nothing":          {&Hook{}, "is not https://host/path"},
		"unreadable":       {&Hook{URL: "https://u:hunter2@app.example\x00/", Secrets: good}, "can not be read"},
		"other scheme":     {&Hook{URL: "ftp://u:hunter2@app.example/", Secrets: good}, "is not https://host/path"},
		"no secret":        {&Hook{URL: "https://app.example/x"}, "no secret"},
		"short secret":     {&Hook{URL: "https://app.example/x", Secrets: []auth.Secret{auth.NewSecret("whsec_aHVudGVyMg==")}}, "24 to 64 octets"},
		"secret, bad form": {&Hook{URL: "https://app.example/x", Secrets: []auth.Secret{auth.NewSecret("hunter2")}}, "24 to 64 octets"},
	} {
		err := c.h.Check()
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, err.Error(), "aHVudGVyMg")
		require.Equal(t, "451 4.3.5", goniec.StatusOf(c.h.Deliver(t.Context(), testEnvelope(), strings.NewReader(""))).Reply()[:9], name)
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	made, err := SecretFile(path)
	require.NoError(t, err)
	again, err := SecretFile(path)
	require.NoError(t, err)
	require.True(t, made.Equal(again))
	require.False(t, made.Equal(NewSecret()))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	require.NoError(t, os.WriteFile(path, []byte("hunter2"), 0o600))
	_, err = SecretFile(path)
	require.ErrorContains(t, err, path)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = SecretFile(t.TempDir())
	require.Error(t, err)
}

// Bounded: a message of 16 MiB, most of it one attachment, is posted in little memory.
func TestMemoryIsFlat(t *testing.T) {
	line := strings.Repeat("QUJD", 19) + "\r\n"
	msg := func() io.Reader {
		return io.MultiReader(
			strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
			io.LimitReader(&repeat{text: line}, int64(len(line)*(16<<20/len(line)))), strings.NewReader("--b--\r\n"))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	h := &Hook{URL: srv.URL, Secrets: []auth.Secret{testSecret}}
	defer h.Close()
	require.NoError(t, h.Deliver(t.Context(), testEnvelope(), strings.NewReader("\r\n"))) // warm
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.NoError(t, h.Deliver(t.Context(), testEnvelope(), msg()))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3<<20), "octets allocated in all")
}

// repeat is an endless text.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// Whatever the message, the document is valid JSON that says the same as its parts, however it is read.
func FuzzDocument(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.eml")
	for _, name := range files {
		b, _ := os.ReadFile(name)
		f.Add(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
	}
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n--b--"))
	f.Add([]byte("\xff\xfe:\x00\r\nDate: 1 Jan 99999\r\n\r\n\"\\\x00\x7f\u2028\xe2\x80"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		p, err := newPayload(testEnvelope(), bytes.NewReader(msg), len(msg) > 0)
		if errors.Is(err, errHeader) {
			return
		}
		require.NoError(t, err)
		whole, err := io.ReadAll(p.open())
		require.NoError(t, err)
		if len(whole) < 10000 {
			chopped, err := io.ReadAll(iotest.OneByteReader(p.open()))
			require.NoError(t, err)
			require.Equal(t, string(whole), string(chopped))
		}
		m := parse(t, whole)
		require.True(t, bytes.Equal(msg, m.Raw), "raw")
		again, err := json.Marshal(m)
		require.NoError(t, err)
		require.JSONEq(t, string(whole), string(again))
		for _, a := range m.Attachments {
			require.EqualValues(t, len(a.Content), a.Size)
			require.NotContains(t, a.Filename, "/")
		}
	})
}

// The encoders agree with encoding/json at every cut.
func TestTextReader(t *testing.T) {
	text := "a\"b\\c\r\n\t\x00\x1f\x7f ü€\U0001f600\u2028 " + strings.Repeat("ż", pieceSize)
	for cut := range pieceSize + 10 {
		if cut > 50 && cut < pieceSize-10 {
			continue
		}
		got, err := io.ReadAll(textReader(io.MultiReader(strings.NewReader(text[:cut]), strings.NewReader(text[cut:]))))
		require.NoError(t, err)
		back := ""
		require.NoError(t, json.Unmarshal([]byte(`"`+string(got)+`"`), &back))
		require.Equal(t, text, back)
	}
	got, err := io.ReadAll(textReader(strings.NewReader("x\xe2\x80")))
	require.NoError(t, err)
	require.Equal(t, "x\ufffd\ufffd", string(got))
	_, err = io.ReadAll(textReader(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("disk on fire")))))
	require.ErrorContains(t, err, "disk on fire")
}

func ExampleHook() {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 100<<20))
		if err != nil || Verify(r.Header, body, time.Now(), testSecret) != nil {
			http.Error(w, "not for us", http.StatusUnauthorized)
			return
		}
		var m Message
		if err := json.Unmarshal(body, &m); err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		fmt.Println(m.Envelope.Recipients, m.Subject, strconv.Quote(m.Text))
	}))
	defer app.Close()
	hook := &Hook{URL: app.URL, Secrets: []auth.Secret{testSecret}}
	defer hook.Close()
	// server := &smtp.Server{Handler: smtp.DeliverTo(hook, "example.org")}
	err := hook.Deliver(context.Background(), testEnvelope(), strings.NewReader("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello\r\n"))
	fmt.Println(err)
	// Output:
	// [hooks@example.org "a b"@example.org] Grüße "Hello\r\n"
	// <nil>
}

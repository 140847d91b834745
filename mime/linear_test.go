package mime

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// hostile are inputs that are made to be slow, by size in octets.
var hostile = []struct {
	name  string
	build func(size int) string
	work  func(t testing.TB, s string)
}{
	{"M01 empty siblings", func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + repeat("--b\r\n\r\n", n)
	}, readAll},
	{"M01 siblings without empty line", func(n int) string { return "Content-Type: multipart/mixed; boundary=b\n\n" + repeat("--b\n", n) }, readAll},
	{"M01 nested multiparts", func(n int) string { return nestedMultiparts(n / 60) }, readAll},
	{"M01 nested messages", func(n int) string { return repeat("Content-Type: message/rfc822\r\n\r\n", n) }, readAll},
	{"M01 one boundary for all", func(n int) string { return repeat("Content-Type: multipart/mixed; boundary=b\n\n--b\n", n) }, readAll},
	{"M01 digests", func(n int) string {
		return "Content-Type: multipart/digest; boundary=b\r\n\r\n" + repeat("--b\r\n\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n", n)
	}, readAll},
	{"M02 address lines", func(n int) string { return repeat("To: a@example.org\r\n", n) + "\r\n" }, readAll},
	{"M02 address continuations", func(n int) string { return "To: " + repeat("a@example.org,\r\n ", n) + "b@c\r\n\r\n" }, readAll},
	{"M02 one field", func(n int) string { return "Subject: " + repeat("x", n) + "\r\n\r\n" }, readAll},
	{"M02 no line end", func(n int) string { return repeat("x", n) }, readAll},
	{"M02 continuations of nothing", func(n int) string { return repeat(" \r\n", n) }, readAll},
	{"M02 short fields", func(n int) string { return repeat("a:\n", n) + "\n" }, readAll},
	{"M03 continued parameter", func(n int) string {
		var b strings.Builder
		b.WriteString("Content-Type: text/plain")
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "; name*%d=x", i)
		}
		return b.String() + "\r\n\r\n"
	}, readAll},
	{"M03 parameters inside comments", func(n int) string {
		return "Content-Type: text/plain" + repeat(";a=x(", n/2) + repeat(")", n/2) + "y\r\n\r\n"
	}, readAll},
	{"M03 unfinished quotes", func(n int) string { return "Content-Type: text/plain; a=\"" + repeat("\\\"", n) + "\r\n\r\n" }, readAll},
	{"M04 words", func(n int) string { return repeat("=?utf-8?q?=C3=BC?= ", n) }, decodeText},
	{"M04 words of many charsets", func(n int) string { return repeat("=?utf-8?q?a?= =?koi8-r?q?a?= ", n) }, decodeText},
	{"M04 beginnings of words", func(n int) string { return repeat("=?utf-8?q?", n) }, decodeText},
	{"M04 beginnings and one end", func(n int) string { return repeat("=?utf-8?q?a", n) + "?=" }, decodeText},
	{"M04 marks", func(n int) string { return repeat("=?", n) }, decodeText},
	{"M04 ends", func(n int) string { return repeat("?=", n) }, decodeText},
	{"M04 escapes of a charset", func(n int) string {
		return "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + repeat("\x1b$B\x1b(B", n)
	}, readAll},
	{"M05 dashes", func(n int) string { return "Content-Type: multipart/mixed; boundary=b\n\n" + repeat("--\n", n) }, readAll},
	{"M05 dashes below 100 boundaries", func(n int) string { return nestedMultiparts(99) + "\n" + repeat("--xx\n", n) }, readAll},
	{"M05 beginnings of a boundary", func(n int) string {
		b := strings.Repeat("b", 70)
		return "Content-Type: multipart/mixed; boundary=" + b + "\n\n" + repeat("--"+b[1:]+"\n", n)
	}, readAll},
	{"M05 one long dashed line", func(n int) string { return "Content-Type: multipart/mixed; boundary=b\n\n--" + repeat("b", n) }, readAll},
	{"M06 CRs", func(n int) string { return "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat("\r", n) }, readAll},
	{"M06 equal signs", func(n int) string { return "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat("=", n) }, readAll},
	{"M06 soft breaks", func(n int) string { return "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat("=\r\n", n) }, readAll},
	{"M06 spaces", func(n int) string {
		return "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat(" ", n) + "x"
	}, readAll},
	{"M06 base64 of one character a line", func(n int) string { return "Content-Transfer-Encoding: base64\r\n\r\n" + repeat("Q\n", n) }, readAll},
	{"M06 base64 padding", func(n int) string { return "Content-Transfer-Encoding: base64\r\n\r\n" + repeat("=", n) }, readAll},
	{"M06 uuencode", func(n int) string {
		return "Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\n" + repeat("`\n", n)
	}, readAll},
	{"P04 comments", func(n int) string { return repeat("(", n/2) + repeat(")", n/2) + "a@b" }, parseValues},
	{"P04 open comments", func(n int) string { return repeat("(", n) }, parseValues},
	{"P04 backslashes", func(n int) string { return "(" + repeat("\\", n) }, parseValues},
	{"P04 quotes", func(n int) string { return repeat("\"\\", n) }, parseValues},
	{"P04 brackets", func(n int) string { return repeat("<", n) }, parseValues},
	{"P04 missing commas", func(n int) string { return repeat("a <b@c> ", n) }, parseValues},
	{"P04 at signs and a bracket", func(n int) string { return repeat("@", n) + "<" }, parseValues},
	{"P04 groups", func(n int) string { return repeat("g:", n) + repeat(";", n) }, parseValues},
	{"P04 spaced domain", func(n int) string { return "a@" + repeat("b . ", n) }, parseValues},
	{"P04 spaced words", func(n int) string { return repeat("a ", n) + "@b" }, parseValues},
	{"P04 routes", func(n int) string { return repeat("<@a:", n) }, parseValues},
	{"P04 commas", func(n int) string { return repeat(",", n) }, parseValues},
	{"header fields decoded", func(n int) string { return repeat("Subject: =?utf-8?q?=C3=BC?= and =?koi8-r?b?wQ==?=\r\n", n) }, decodeFields},
	{"markup", func(n int) string { return "Content-Type: text/html\r\n\r\n" + repeat("<style><!--</", n) }, readAll},
	{"entities", func(n int) string { return "Content-Type: text/html\r\n\r\n" + repeat("&amp", n) }, readAll},
}

func repeat(s string, size int) string { return strings.Repeat(s, size/len(s)+1) }

// readAll does with a message what a server does: structure, bodies in UTF-8, envelope, preview, serialised form.
func readAll(t testing.TB, msg string) {
	c := strings.NewReader(msg)
	s, err := Parse(c, Options{})
	require.NoError(t, err)
	for i := range s.Parts {
		if p := &s.Parts[i]; p.Kind == Leaf {
			_, err := io.Copy(io.Discard, s.Text(c, i))
			require.NoError(t, err)
			_, _ = p.Filename()
		}
	}
	e := s.Parts[0].Envelope
	e.To()
	DecodeText(e.Subject())
	_, err = s.Preview(c, 0)
	require.NoError(t, err)
	_, err = s.AppendBinary(nil)
	require.NoError(t, err)
}

func decodeFields(_ testing.TB, s string) {
	for _, f := range ParseHeader([]byte(s)).All() {
		f.Text()
	}
}

func decodeText(_ testing.TB, s string) { DecodeText(s) }

func parseValues(_ testing.TB, s string) {
	_, _ = ParseAddresses(s)
	_, _ = ParseDate(s)
	_, _ = ParseContentType(s)
	ParseMessageIDs(s)
}

// TestDoubling: twice the input takes at most 2.5 times as long, in the mean of three doublings: single steps jump where memory comes in
// larger pieces. A measurement that fails is repeated, since other programs run too; an algorithm that is not linear fails each time.
func TestDoubling(t *testing.T) {
	base := 128 << 10
	switch {
	case peertest.LongForm():
		base = 1 << 20
	case raceEnabled:
		base = 32 << 10
	}
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			small, large := h.build(base), h.build(8*base)
			for attempt := 1; ; attempt++ {
				once := peertest.Fastest(2+attempt, func() { h.work(t, small) })
				eight := peertest.Fastest(1+attempt, func() { h.work(t, large) })
				// What is as fast as 500 MB/s is faster still while it fits into the caches.
				floor := 2 * time.Nanosecond * time.Duration(len(small))
				if float64(eight) <= 2.5*2.5*2.5*float64(max(once, floor)) {
					return
				}
				if attempt == 6 {
					t.Fatalf("not linear: %v for %d octets, %v for %d", once, len(small), eight, len(large))
				}
			}
		})
	}
}

// TestHostile25MiB: any message of 25 MiB is read in less than 2 s, with all that a server does with it.
func TestHostile25MiB(t *testing.T) {
	peertest.Long(t)
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			s := h.build(25 << 20)
			took := peertest.Fastest(4, func() { h.work(t, s) })
			t.Log(took)
			require.Less(t, took, 2*time.Second)
		})
	}
}

// allocated returns how many octets f allocates when the pools are warm: the least of some runs, since a pool is empty where the
// scheduler has moved us to another processor.
func allocated(f func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := ^uint64(0)
	for range 4 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// TestMemory: what a parse needs does not depend on the size of bodies.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops pooled memory")
	}
	for _, size := range []int{1 << 20, 10 << 20} {
		msg := bigMessage(size)
		c := strings.NewReader(msg)
		require.LessOrEqual(t, allocated(func() {
			s, err := Parse(c, Options{})
			require.NoError(t, err)
			for i := range s.Parts {
				_, err := s.Decoded(c, i).WriteTo(io.Discard)
				require.NoError(t, err)
			}
		}), uint64(64<<10))
	}
	small := smallMessage()
	c := strings.NewReader(small)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		s, _ := Parse(c, Options{})
		for i := range s.Parts {
			_, _ = s.Decoded(c, i).WriteTo(io.Discard)
		}
	}), 25.0)
}

// TestHostileMemory: not even hostile messages make the parser keep more than a few times their size.
func TestHostileMemory(t *testing.T) {
	size := 1 << 20
	if raceEnabled {
		size >>= 2
	}
	for _, h := range hostile {
		msg := h.build(size)
		got := allocated(func() {
			s, err := Parse(strings.NewReader(msg), Options{})
			require.NoError(t, err)
			_ = s
		})
		require.Less(t, got, uint64(24<<20), h.name)
	}
}

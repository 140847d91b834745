package smtp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
)

var testTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const allExtensions = ^extension(0)

// What is written is read back as it was: the parameters of both sides are one table.
func TestParametersRoundTrip(t *testing.T) {
	env := goniec.Envelope{
		Size: 1 << 40, Body: goniec.Body8BitMIME, UTF8: true, RequireTLS: true, Ret: goniec.RetFull, EnvID: "a+b=c d~é",
		AuthSender: "x+y@example.org", HoldUntil: testTime.Add(90 * time.Second), Priority: -9,
		DeliverBy: &goniec.DeliverBy{Deadline: testTime.Add(-time.Minute), Trace: true},
	}
	s := string(appendMailParams(nil, &env, allExtensions, testTime))
	var back goniec.Envelope
	require.NoError(t, parseMailParams(s, &back, allExtensions, testTime), s)
	require.Equal(t, env, back, s)

	to := goniec.Recipient{
		Notify: goniec.NotifySuccess | goniec.NotifyFailure | goniec.NotifyDelay,
		ORcpt:  goniec.ORcpt{Type: "utf-8", Address: `zażółć\{+=}@exämple 𝄞`}, ValidSince: testTime,
	}
	s = string(appendRcptParams(nil, &to, allExtensions))
	var rback goniec.Recipient
	require.NoError(t, parseRcptParams(s, &rback, allExtensions), s)
	require.Equal(t, to, rback, s)
}

// What was not offered is neither written nor accepted.
func TestParametersNotOffered(t *testing.T) {
	env := goniec.Envelope{Size: 1, Body: goniec.Body8BitMIME, UTF8: true, Ret: goniec.RetFull, Priority: 1}
	require.Empty(t, appendMailParams(nil, &env, 0, testTime))
	for _, p := range mailParams {
		err := parseMailParams(" "+p.name+"=1", new(goniec.Envelope), allExtensions&^p.ext, testTime)
		require.ErrorIs(t, err, errNoParam, p.name)
	}
	for _, p := range rcptParams {
		err := parseRcptParams(" "+p.name+"=1", new(goniec.Recipient), allExtensions&^p.ext)
		require.ErrorIs(t, err, errNoParam, p.name)
	}
	require.ErrorIs(t, parseMailParams(" BODY=BINARYMIME", new(goniec.Envelope), ext8BitMIME, testTime), errNoParam)
}

func TestMailParams(t *testing.T) {
	for s, ok := range map[string]bool{
		"": true, " ": true, " SIZE=1 ": true, "SIZE=1": false, " SIZE": false, " SIZE=": false, " SIZE=-1": false, " SIZE=+1": false,
		" SIZE=18446744073709551615": true, " SIZE=99999999999999999999": true, " SIZE=100000000000000000000": false,
		" BODY=7BIT": true, " body=8bitmime": true, " BODY=9BIT": false, " SMTPUTF8": true, " SMTPUTF8=1": false,
		" AUTH=<>": true, " AUTH=e+3Dmc2@example.com": true, " AUTH=+0d@x": false, " AUTH=nobody": false,
		" RET=HDRS": true, " RET=ALL": false, " ENVID=+2B": true, " ENVID=+2b": false, " ENVID=+": false, " ENVID=+0A": false,
		" ENVID=" + strings.Repeat("x", 100): true, " ENVID=" + strings.Repeat("x", 101): false,
		" BY=1;R": true, " BY=0;R": false, " BY=-5;N": true, " BY=5;NT": true, " BY=5": false, " BY=5;X": false, " BY=1000000000;N": false,
		" HOLDFOR=1": true, " HOLDFOR=0": false, " HOLDFOR=01": false, " HOLDFOR=1000000000": false, " HOLDUNTIL=2030-01-01T00:00:00Z": true,
		" HOLDUNTIL=tomorrow": false, " HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z": false,
		" MT-PRIORITY=9": true, " MT-PRIORITY=-9": true, " MT-PRIORITY=10": false, " MT-PRIORITY=+1": false, " MT-PRIORITY=--1": false, " MT-PRIORITY=-": false,
		" REQUIRETLS": true, " REQUIRETLS=yes": false, " =1": false, " -A=1": false, " A=b=c": false, " SIZE=1\tX": false,
	} {
		err := parseMailParams(s, new(goniec.Envelope), allExtensions, testTime)
		require.Equal(t, ok, err == nil, "%q: %v", s, err)
	}
	// The limit of parameters, at it and beyond: unknown ones stop earlier, so the same question at the splitter.
	n := func(k int) error {
		return eachParam(strings.Repeat(" A=1", k), func(string, string) error { return nil })
	}
	require.NoError(t, n(maxParams))
	require.Error(t, n(maxParams+1))
}

func TestRcptParams(t *testing.T) {
	for s, ok := range map[string]bool{
		" NOTIFY=NEVER": true, " NOTIFY=success,failure": true, " NOTIFY=NEVER,DELAY": false, " NOTIFY=DELAY,DELAY": false, " NOTIFY=,": false,
		" ORCPT=rfc822;a+2Bb@x": true, " ORCPT=rfc822;": false, " ORCPT=;x": false, " ORCPT=rfc822": false, " ORCPT=rfc822;+00": false,
		" ORCPT=rfc822;" + strings.Repeat("x", maxORcpt-7): true, " ORCPT=rfc822;" + strings.Repeat("x", maxORcpt-6): false,
		` ORCPT=utf-8;a\x{FC}@x`: true, ` ORCPT=utf-8;ü@x`: true, ` ORCPT=utf-8;\x{0}`: false, ` ORCPT=utf-8;\x{0A}`: false, ` ORCPT=utf-8;\x{D800}`: false,
		` ORCPT=utf-8;\x{110000}`: false, ` ORCPT=utf-8;\x{41`: false,
		" RRVS=2014-04-03T23:01:00Z": true, " RRVS=2014-04-03T23:01:00Z;C": true, " RRVS=2014-04-03T23:01:00Z;X": false, " RRVS=x": false,
	} {
		err := parseRcptParams(s, new(goniec.Recipient), allExtensions)
		require.Equal(t, ok, err == nil, "%q: %v", s, err)
	}
}

// FuzzParams: what is accepted is written in a form that is accepted and means the same.
func FuzzParams(f *testing.F) {
	for _, s := range []string{" SIZE=1 BODY=8BITMIME", " RET=FULL ENVID=+2Bx", " BY=9;NT MT-PRIORITY=3", " AUTH=<> HOLDFOR=5", ` NOTIFY=DELAY ORCPT=utf-8;\x{FC}+`, " ORCPT=rfc822;+2B RRVS=2014-04-03T23:01:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var env, env2 goniec.Envelope
		if parseMailParams(s, &env, allExtensions, testTime) == nil {
			out := appendMailParams(nil, &env, allExtensions, testTime)
			require.NotContains(t, string(out), "\r")
			require.NotContains(t, string(out), "\n")
			if env.HoldUntil.Before(testTime.Add(time.Second)) || env.HoldUntil.Nanosecond() != 0 || env.HoldUntil.After(testTime.Add(maxDecimals*time.Second)) {
				env.HoldUntil = time.Time{} // is over, or has no exact form
				out = appendMailParams(nil, &env, allExtensions, testTime)
			}
			require.NoError(t, parseMailParams(string(out), &env2, allExtensions, testTime), "%q from %q", out, s)
			require.True(t, env.HoldUntil.Equal(env2.HoldUntil))
			env.HoldUntil, env2.HoldUntil = time.Time{}, time.Time{}
			require.Equal(t, env, env2)
		}
		var to, to2 goniec.Recipient
		if parseRcptParams(s, &to, allExtensions) == nil {
			out := appendRcptParams(nil, &to, allExtensions)
			require.False(t, hasControl(string(out)))
			require.NoError(t, parseRcptParams(string(out), &to2, allExtensions), "%q from %q", out, s)
			require.Equal(t, to.ORcpt, to2.ORcpt)
			require.Equal(t, to.Notify, to2.Notify)
			require.Equal(t, to.ValidSince.Unix(), to2.ValidSince.Unix())
		}
	})
}

func TestReplyRoundTrip(t *testing.T) {
	for _, s := range []goniec.Status{
		{Code: 250},
		{Code: 250, Text: "OK"},
		{Code: 250, Enhanced: goniec.EnhancedCode{2, 1, 5}, Text: "OK"},
		{Code: 550, Enhanced: goniec.EnhancedCode{5, 7, 1}, Text: "first\nsecond\n\nfourth"},
		{Code: 250, Text: "mx.example.org\nSIZE 10\nAUTH PLAIN"},
	} {
		wire := appendReply(nil, &s)
		got, err := readReply(crlf.NewReader(bytes.NewReader(wire)))
		require.NoError(t, err)
		require.Equal(t, s, *got, "%q", wire)
	}
}

// L01, P02: nothing in a text ends the line or reaches a terminal.
func TestReplyTextIsHarmless(t *testing.T) {
	s := goniec.NewStatus(550, goniec.EnhancedCode{5, 0, 0}, "a\r250 OK\x00\x1b[2J\u202e"+strings.Repeat("x", 10_000)+strings.Repeat("\ny", 100))
	wire := string(appendReply(nil, s))
	require.Equal(t, maxOwnLines, strings.Count(wire, "\r\n"))
	for line := range strings.SplitSeq(strings.TrimSuffix(wire, "\r\n"), "\r\n") {
		require.LessOrEqual(t, len(line)+2, 520)
		for _, c := range []byte(line) {
			require.True(t, c >= ' ' && c <= '~', "%q", line)
		}
	}
}

// S10: a hostile server's reply.
func TestReadReplyLimits(t *testing.T) {
	read := func(s string) error {
		_, err := readReply(crlf.NewReader(strings.NewReader(s)))
		return err
	}
	require.NoError(t, read(strings.Repeat("250-x\r\n", maxReplyLines-1)+"250 x\r\n"))
	require.ErrorIs(t, read(strings.Repeat("250-x\r\n", maxReplyLines)+"250 x\r\n"), errReplyLimit)
	require.NoError(t, read("250 "+strings.Repeat("x", maxReplyLine-4)+"\r\n"))
	require.ErrorIs(t, read("250 "+strings.Repeat("x", maxReplyLine-3)+"\r\n"), errReplyLimit)
	require.ErrorIs(t, read(strings.Repeat("250-"+strings.Repeat("x", 4000)+"\r\n", 17)+"250 x\r\n"), errReplyLimit)
	require.ErrorIs(t, read(strings.Repeat("x", 10<<20)), errReplyLimit)
	for _, s := range []string{"", "25\r\n", "250x\r\n", "999 x\r\n", "150 x\r\n", "250-x\r\n251 y\r\n", "x250 x\r\n", "250\n\r\n"} {
		require.Error(t, read(s), "%q", s)
	}
}

// FuzzReply: what is read is written in a form that reads the same, whatever the cut.
func FuzzReply(f *testing.F) {
	f.Add("250-5.1.1 a\r\n250 b\r\n")
	f.Add("421 4.3.2 x\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := readReply(crlf.NewReader(strings.NewReader(s)))
		if err != nil {
			return
		}
		require.True(t, got.Code >= 200 && got.Code < 600)
		again, err := readReply(crlf.NewReader(oneByOne{strings.NewReader(s)}))
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}

// oneByOne gives one octet at a time.
type oneByOne struct{ r *strings.Reader }

func (o oneByOne) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return o.r.Read(p[:1])
}

// S17: Received fields are counted whatever the pieces.
func TestHeaderWatch(t *testing.T) {
	msg := "Received: a\r\n\tfolded Received: b\r\nRECEIVED: c\r\nReceived-SPF: d\r\nX-Received: e\r\n\r\nReceived: body\r\n"
	for size := 1; size <= len(msg); size++ {
		h := headerWatch{max: 2}
		for rest := msg; rest != ""; {
			n := min(size, len(rest))
			require.NoError(t, h.watch([]byte(rest[:n])))
			rest = rest[n:]
		}
		require.Equal(t, 2, h.count, "pieces of %d", size)
		h = headerWatch{max: 1}
		require.Error(t, h.watch([]byte(msg)))
	}
	h := headerWatch{max: -1}
	require.NoError(t, h.watch([]byte(strings.Repeat("Received: x\r\n", 1000))))
}

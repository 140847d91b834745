package goniec_test

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

func fullEnvelope() *goniec.Envelope {
	at := time.Date(2026, 3, 1, 12, 30, 45, 123456789, time.FixedZone("", 3600))
	return &goniec.Envelope{
		ID:   "K7Q2",
		From: goniec.MustAddress(`"odd one"@example.org`),
		To: []goniec.Recipient{
			{Address: goniec.MustAddress("a@[192.0.2.1]"), Notify: goniec.NotifySuccess | goniec.NotifyDelay, ORcpt: goniec.ORcpt{Type: "rfc822", Address: "Bob@x"}, ValidSince: at},
			{Address: goniec.MustAddress("postmaster")},
			{Address: goniec.MustAddress("ż@ó.pl"), Notify: goniec.NotifyNever},
		},
		Body: goniec.BodyBinaryMIME, UTF8: true, RequireTLS: true, Size: 1 << 40,
		Ret: goniec.RetHdrs, EnvID: "id=1", AuthSender: "<>",
		HoldUntil: at.Add(time.Hour), DeliverBy: &goniec.DeliverBy{Deadline: at.UTC(), Return: true, Trace: true}, Priority: -9,
		Received: at,
		Origin: goniec.Origin{
			Remote: netip.MustParseAddrPort("[2001:db8::1]:4567"), Local: netip.MustParseAddrPort("127.0.0.1:25"),
			Helo: "h", RDNS: "r.example", Protocol: "ESMTPSA", TLSVersion: "TLS1.3", TLSCipher: "TLS_AES_128_GCM_SHA256", User: "alice",
		},
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, e := range []*goniec.Envelope{{}, fullEnvelope(), {To: make([]goniec.Recipient, 0)}} {
		got, err := goniec.ParseEnvelope(goniec.AppendEnvelope(nil, e))
		require.NoError(t, err)
		if len(e.To) == 0 {
			got.To = e.To
		}
		require.True(t, e.Received.Equal(got.Received))
		require.Equal(t, e.Received.Format(time.RFC1123Z), got.Received.Format(time.RFC1123Z), "the zone's offset stays")
		require.Equal(t, goniec.AppendEnvelope(nil, e), goniec.AppendEnvelope(nil, got))
		got.Received, got.HoldUntil, got.DeliverBy = e.Received, e.HoldUntil, e.DeliverBy
		if len(e.To) > 0 {
			got.To[0].ValidSince = e.To[0].ValidSince
		}
		require.Equal(t, e, got)
	}
}

// Unknown fields of a newer version survive a pass through this one.
func TestEnvelopeKeepsUnknownFields(t *testing.T) {
	data := goniec.AppendEnvelope(nil, fullEnvelope())
	data = append(data, 99, 3, 'n', 'e', 'w')
	e, err := goniec.ParseEnvelope(data)
	require.NoError(t, err)
	require.Equal(t, data, goniec.AppendEnvelope(nil, e.Clone()))
}

func TestEnvelopeDamage(t *testing.T) {
	data := goniec.AppendEnvelope(nil, fullEnvelope())
	for _, bad := range [][]byte{nil, []byte("GNE"), []byte("GNE\x02"), []byte("XYZ\x01"), append([]byte("GNE\x01"), 0xff), append([]byte("GNE\x01"), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)} {
		_, err := goniec.ParseEnvelope(bad)
		require.ErrorIs(t, err, goniec.ErrEnvelope)
	}
	whole := 0
	for i := range data {
		if _, err := goniec.ParseEnvelope(data[:i]); err == nil {
			whole++ // cut between two fields: the container's length and checksum guard that
		} else {
			require.ErrorIs(t, err, goniec.ErrEnvelope)
		}
	}
	require.LessOrEqual(t, whole, 20)
}

func TestEnvelopeClone(t *testing.T) {
	e := fullEnvelope()
	c := e.Clone()
	require.Equal(t, e, c)
	c.To[0].Notify = 0
	c.DeliverBy.Return = false
	require.Equal(t, fullEnvelope(), e)
}

func TestParameterNames(t *testing.T) {
	require.Equal(t, "SUCCESS,FAILURE,DELAY", (goniec.NotifyDelay | goniec.NotifyFailure | goniec.NotifySuccess).String())
	require.Equal(t, "NEVER", goniec.NotifyNever.String())
	require.Equal(t, "", goniec.Notify(0).String())
	require.Equal(t, []string{"7BIT", "8BITMIME", "BINARYMIME"}, []string{goniec.Body7Bit.String(), goniec.Body8BitMIME.String(), goniec.BodyBinaryMIME.String()})
	require.Equal(t, []string{"", "FULL", "HDRS"}, []string{goniec.RetUnset.String(), goniec.RetFull.String(), goniec.RetHdrs.String()})
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 10000 {
		id := goniec.NewID()
		require.Regexp(t, `^[0-9A-Z]{12}$`, id)
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestRouteString(t *testing.T) {
	r := goniec.Route{Domain: "example.org", Why: "MX of example.org", Hosts: []goniec.RouteHost{
		{Name: "mx1.example.org", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, TLS: goniec.TLSVerified, Why: "MX 10"},
		{Name: "mx2.example.org", Port: 2525, TLS: goniec.TLSLevel(77)},
	}}
	require.Equal(t, "example.org: MX of example.org\n  1 mx1.example.org [192.0.2.1] tls=verified (MX 10)\n  2 mx2.example.org:2525 tls=TLSLevel(77)\n", r.String())
	require.Equal(t, "opportunistic none required dane", goniec.TLSOpportunistic.String()+" "+goniec.TLSNone.String()+" "+goniec.TLSRequired.String()+" "+goniec.TLSDANE.String())
}

// FuzzParseEnvelope: whatever parses, is written and read again the same.
func FuzzParseEnvelope(f *testing.F) {
	f.Add(goniec.AppendEnvelope(nil, fullEnvelope()))
	f.Add([]byte("GNE\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := goniec.ParseEnvelope(data)
		if err != nil {
			return
		}
		first := goniec.AppendEnvelope(nil, e)
		again, err := goniec.ParseEnvelope(first)
		require.NoError(t, err)
		require.Equal(t, first, goniec.AppendEnvelope(nil, again))
	})
}

// The parameters are words in JSON, and come back as they were.
func TestParameterText(t *testing.T) {
	env := fullEnvelope()
	b, err := json.Marshal(env)
	require.NoError(t, err)
	for _, want := range []string{`"Body":"` + env.Body.String() + `"`, `"Ret":"` + env.Ret.String() + `"`, `"Notify":"SUCCESS,DELAY"`} {
		require.Contains(t, string(b), want)
	}
	var back goniec.Envelope
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, []any{env.Body, env.Ret, env.To[0].Notify}, []any{back.Body, back.Ret, back.To[0].Notify})

	for v := goniec.Body7Bit; v <= goniec.BodyBinaryMIME; v++ {
		var got goniec.BodyType
		roundTrip(t, v, &got)
	}
	for v := goniec.RetUnset; v <= goniec.RetHdrs; v++ {
		got := goniec.RetFull
		roundTrip(t, v, &got)
	}
	for v := goniec.Notify(0); v <= goniec.NotifyNever; v++ {
		got := goniec.NotifyNever
		roundTrip(t, v, &got)
	}
	for _, bad := range []string{"9BIT", "8bit mime", "\x00"} {
		require.Error(t, new(goniec.BodyType).UnmarshalText([]byte(bad)))
	}
	require.Error(t, new(goniec.Ret).UnmarshalText([]byte("HALF")))
	for _, bad := range []string{"NEVER,FAILURE", "FAILURE,", ",", "ALWAYS", "SUCCESS FAILURE"} {
		require.Error(t, new(goniec.Notify).UnmarshalText([]byte(bad)), bad)
	}
	var n goniec.Notify
	require.NoError(t, n.UnmarshalText([]byte("delay,Success")))
	require.Equal(t, goniec.NotifyDelay|goniec.NotifySuccess, n)
}

func roundTrip[V interface {
	comparable
	encoding.TextMarshaler
}](t *testing.T, v V, got encoding.TextUnmarshaler,
) {
	t.Helper()
	text, err := v.MarshalText()
	require.NoError(t, err)
	require.NoError(t, got.UnmarshalText(text))
	again, err := got.(encoding.TextMarshaler).MarshalText()
	require.NoError(t, err)
	require.Equal(t, string(text), string(again))
	require.Equal(t, fmt.Sprint(v), string(text))
}

func TestRecipients(t *testing.T) {
	a, b := goniec.MustAddress("a@x.example"), goniec.MustAddress("b@y.example")
	require.Equal(t, []goniec.Recipient{{Address: a}, {Address: b}}, goniec.Recipients(a, b))
	require.Empty(t, goniec.Recipients())
}

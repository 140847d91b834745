package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/delivery"
	"github.com/goniec-mail/goniec/mailbox"
)

// boxes is a store that only takes deliveries and remembers them.
type boxes struct {
	mu   sync.Mutex
	got  map[string][]string // user/folder → messages
	fail map[string]error    // by user
	// writes counts calls: one call is one write.
	writes int
}

func (b *boxes) Account(context.Context, string) (mailbox.Account, error) {
	return nil, mailbox.ErrNotFound
}

func (b *boxes) DeliverAll(_ context.Context, to []mailbox.Target, msg io.Reader, _ mailbox.AppendOptions) []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	text, err := io.ReadAll(msg)
	errs := make([]error, len(to))
	for i, t := range to {
		if errs[i] = errors.Join(err, b.fail[t.User]); errs[i] == nil {
			b.got[t.User+"/"+t.Name] = append(b.got[t.User+"/"+t.Name], string(text))
		}
	}
	return errs
}

// relay remembers what it was handed.
type relay struct {
	to   []string
	env  *goniec.Envelope
	text string
	fail map[string]error
}

func (r *relay) Deliver(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
	b, err := io.ReadAll(msg)
	if err != nil {
		return err
	}
	r.text, r.env = string(b), env.Clone()
	errs := make(goniec.RcptErrors, len(env.To))
	for i, to := range env.To {
		r.to = append(r.to, to.Address.String())
		errs[i] = r.fail[to.Address.String()]
	}
	return errs.Err()
}

func newRouter(t testing.TB) (*delivery.Router, *boxes) {
	b := &boxes{got: map[string][]string{}, fail: map[string]error{}}
	return &delivery.Router{Directory: newTable(t), Store: b}, b
}

func envelope(to ...string) *goniec.Envelope {
	env := &goniec.Envelope{ID: "K7Q2", From: goniec.MustAddress("you@example.org"), Received: time.Now()}
	for _, a := range to {
		env.To = append(env.To, goniec.Recipient{Address: goniec.MustAddress(a)})
	}
	return env
}

const text = "Received: by x\r\nSubject: hi\r\n\r\nHello\r\n"

// message comes in pieces and is no Content.
func message() io.Reader { return iotest.OneByteReader(strings.NewReader(text)) }

func code(err error) string {
	if err == nil {
		return ""
	}
	s := goniec.StatusOf(err)
	return fmt.Sprintf("%d %s", s.Code, s.Enhanced)
}

func TestDeliverToOne(t *testing.T) {
	r, b := newRouter(t)
	env := envelope("Alice@demo.test")
	before := env.Clone()
	require.NoError(t, r.Deliver(t.Context(), env, message()))
	require.Equal(t, before, env, "a Deliverer never changes the envelope")
	require.Equal(t, []string{"Return-Path: <you@example.org>\r\nDelivered-To: Alice@demo.test\r\n" + text}, b.got["alice@demo.test/"])
}

func TestDeliverToSeveralWritesOnce(t *testing.T) {
	r, b := newRouter(t)
	require.NoError(t, r.Deliver(t.Context(), envelope("alice@demo.test", "bob@demo.test", "BOB+x@demo.test"), message()))
	require.Equal(t, 1, b.writes)
	want := []string{"Return-Path: <you@example.org>\r\n" + text}
	require.Equal(t, want, b.got["alice@demo.test/"])
	require.Equal(t, want, b.got["bob@demo.test/"], "two ways to one mailbox give one copy")

	r.DeliveredTo = delivery.DeliveredToAlways
	require.NoError(t, r.Deliver(t.Context(), envelope("alice@demo.test", "bob@demo.test"), message()))
	require.Contains(t, b.got["bob@demo.test/"][1], "Delivered-To: bob@demo.test\r\n")
	require.Contains(t, b.got["alice@demo.test/"][1], "Delivered-To: alice@demo.test\r\n")
}

func TestDeliverThroughAliasAndRelay(t *testing.T) {
	r, b := newRouter(t)
	out := &relay{}
	r.Relay = out
	env := envelope("team@demo.test", "x@PRZYKŁAD.pl", "dave@elsewhere.example")
	env.To[0].Notify = goniec.NotifySuccess
	require.NoError(t, r.Deliver(t.Context(), env, message()))
	require.Len(t, b.got["alice@demo.test/"], 1)
	require.Len(t, b.got["bob@demo.test/"], 1)
	require.Equal(t, []string{"carol@elsewhere.example", "dave@elsewhere.example"}, out.to)
	require.Equal(t, text, out.text, "Return-Path is for final delivery only")
	require.Equal(t, goniec.Recipient{
		Address: goniec.MustAddress("carol@elsewhere.example"), Notify: goniec.NotifySuccess,
		ORcpt: goniec.ORcpt{Type: "rfc822", Address: "team@demo.test"},
	}, out.env.To[0])
}

func TestMixedOutcomes(t *testing.T) {
	r, b := newRouter(t)
	b.fail["bob@demo.test"] = fmt.Errorf("write: %w", syscall.ENOSPC)
	r.Relay = &relay{fail: map[string]error{"gone@elsewhere.example": goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "gone")}}
	err := r.Deliver(t.Context(), envelope("alice@demo.test", "bob@demo.test", "nobody@demo.test", "gone@elsewhere.example", "ok@elsewhere.example"), message())
	var got []string
	for _, e := range goniec.Outcomes(err, 5) {
		got = append(got, code(e))
	}
	require.Equal(t, []string{"", "452 4.3.1", "550 5.1.1", "550 5.1.1", ""}, got)
}

// One dead member of a list neither refuses nor bounces the whole list; a temporary failure asks to try again.
func TestAliasWithDeadMember(t *testing.T) {
	r, _ := newRouter(t)
	r.Relay = &relay{fail: map[string]error{"carol@elsewhere.example": goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "gone")}}
	require.NoError(t, r.Deliver(t.Context(), envelope("team@demo.test"), message()))
	r.Relay = &relay{fail: map[string]error{"carol@elsewhere.example": errors.New("connection lost")}}
	require.True(t, goniec.Temporary(r.Deliver(t.Context(), envelope("team@demo.test"), message())))
}

func TestStoreErrors(t *testing.T) {
	for want, err := range map[string]error{
		"452 4.2.2": fmt.Errorf("x: %w", mailbox.ErrOverQuota), "552 5.2.3": mailbox.ErrTooLarge, "452 4.3.1": syscall.EDQUOT,
		"451 4.3.5": syscall.EROFS, "451 4.3.0": errors.New("anything"), "554 5.6.0": goniec.NewStatus(554, goniec.EnhancedCode{5, 6, 0}, "virus"),
	} {
		r, b := newRouter(t)
		b.fail["alice@demo.test"] = err
		got := r.Deliver(t.Context(), envelope("alice@demo.test"), message())
		require.Equal(t, want, code(got))
	}
}

func TestVerifyRcpt(t *testing.T) {
	r, _ := newRouter(t)
	verify := func(env *goniec.Envelope, to string) string {
		return code(r.VerifyRcpt(t.Context(), env, &goniec.Recipient{Address: goniec.MustAddress(to)}))
	}
	anybody, user := &goniec.Envelope{}, &goniec.Envelope{Origin: goniec.Origin{User: "alice"}}
	for to, want := range map[string]string{
		"alice@demo.test": "", "nobody@demo.test": "550 5.1.1", "postmaster": "", "PostMaster@demo.test": "", "postmaster@elsewhere.example": "550 5.7.1",
		"x@elsewhere.example": "550 5.7.1", "x@[127.0.0.1]": "550 5.7.1", "team@demo.test": "",
		"alice%elsewhere.example@demo.test": "550 5.1.1", `"x@elsewhere.example"@demo.test`: "550 5.1.1", "elsewhere.example!x@demo.test": "550 5.1.1", // S16
	} {
		require.Equal(t, want, verify(anybody, to), to)
	}
	require.Equal(t, "451 4.3.0", verify(user, "x@elsewhere.example"), "no route yet")
	r.Relay = goniec.Discard()
	require.Equal(t, "", verify(user, "x@elsewhere.example"))
	require.Equal(t, "550 5.7.1", verify(anybody, "x@elsewhere.example"))

	r.MayRelay = delivery.Trusted(netip.MustParsePrefix("192.0.2.0/24"))
	from := func(ip string) *goniec.Envelope {
		return &goniec.Envelope{Origin: goniec.Origin{Remote: netip.AddrPortFrom(netip.MustParseAddr(ip), 1)}}
	}
	require.Equal(t, "", verify(from("192.0.2.7"), "x@elsewhere.example"))
	require.Equal(t, "", verify(from("::ffff:192.0.2.7"), "x@elsewhere.example"))
	require.Equal(t, "550 5.7.1", verify(from("198.51.100.7"), "x@elsewhere.example"))
	require.Equal(t, "", verify(user, "x@elsewhere.example"))
}

func TestRelayDomain(t *testing.T) {
	d := newTable(t)
	require.NoError(t, d.AddDomain("backup.test", delivery.ClassRelay))
	out := &relay{}
	r := &delivery.Router{Directory: d, Store: &boxes{}, Relay: out}
	require.NoError(t, r.VerifyRcpt(t.Context(), &goniec.Envelope{}, &goniec.Recipient{Address: goniec.MustAddress("x@backup.test")}))
	require.NoError(t, r.Deliver(t.Context(), envelope("x@backup.test"), message()))
	require.Equal(t, []string{"x@backup.test"}, out.to)
}

func TestPostmaster(t *testing.T) {
	r, b := newRouter(t)
	require.NoError(t, r.Deliver(t.Context(), envelope("postmaster"), message()))
	require.Len(t, b.got["postmaster/"], 1)
	require.NoError(t, r.Deliver(t.Context(), envelope("PostMaster@DEMO.test"), message()))
	require.Len(t, b.got["postmaster@demo.test/"], 1)
	r.Postmaster = goniec.MustAddress("postmaster@demo.test")
	require.NoError(t, r.Deliver(t.Context(), envelope("postmaster"), message()))
	require.Len(t, b.got["postmaster@demo.test/"], 2)
	r.Postmaster = goniec.MustAddress("alice@demo.test")
	require.NoError(t, r.Deliver(t.Context(), envelope("Postmaster@demo.test"), message()))
	require.Len(t, b.got["alice@demo.test/"], 1)
}

// downDirectory does not answer.
type downDirectory struct{}

func (downDirectory) Domain(context.Context, string) (delivery.Domain, error) {
	return delivery.Domain{}, errors.New("no answer")
}

func (downDirectory) Lookup(context.Context, goniec.Address) (delivery.Entry, error) {
	return delivery.Entry{}, errors.New("no answer")
}

func TestDirectoryDown(t *testing.T) {
	r := &delivery.Router{Directory: downDirectory{}, Store: &boxes{}}
	to := &goniec.Recipient{Address: goniec.MustAddress("alice@demo.test")}
	require.Equal(t, "451 4.3.0", code(r.VerifyRcpt(t.Context(), &goniec.Envelope{}, to)), "trouble is never absence")
	require.Equal(t, "451 4.3.0", code(r.Deliver(t.Context(), envelope("alice@demo.test"), message())))
}

// S17: alias loops, depth and width are bounded, at RCPT and on delivery.
func TestS17_AliasLoops(t *testing.T) {
	r, b := newRouter(t)
	d := newTable(t)
	r.Directory = d
	require.NoError(t, d.AddAlias("a@demo.test", "b@demo.test"))
	require.NoError(t, d.AddAlias("b@demo.test", "A@demo.test"))
	require.NoError(t, d.AddAlias("self@demo.test", "self@demo.test"))
	require.NoError(t, d.AddAlias("diamond@demo.test", "l@demo.test", "r@demo.test"))
	require.NoError(t, d.AddAlias("l@demo.test", "alice@demo.test"))
	require.NoError(t, d.AddAlias("r@demo.test", "alice@demo.test"))
	for i := range 12 {
		require.NoError(t, d.AddAlias(fmt.Sprintf("deep%d@demo.test", i), fmt.Sprintf("deep%d@demo.test", i+1)))
	}
	require.NoError(t, d.AddAlias("deep12@demo.test", "alice@demo.test"))
	wide := make([]string, 1001)
	for i := range wide {
		wide[i] = fmt.Sprintf("w%d@elsewhere.example", i)
	}
	require.NoError(t, d.AddAlias("wide1000@demo.test", wide[:999]...))
	require.NoError(t, d.AddAlias("wide1001@demo.test", wide...))
	r.Relay = goniec.Discard()
	for to, want := range map[string]string{
		"a@demo.test": "554 5.4.6", "self@demo.test": "554 5.4.6", "diamond@demo.test": "",
		"deep2@demo.test": "554 5.4.6", "deep3@demo.test": "", "wide1000@demo.test": "", "wide1001@demo.test": "554 5.4.6",
	} {
		require.Equal(t, want, code(r.VerifyRcpt(t.Context(), &goniec.Envelope{}, &goniec.Recipient{Address: goniec.MustAddress(to)})), to)
		require.Equal(t, want, code(r.Deliver(t.Context(), envelope(to), message())), to)
	}
	require.Len(t, b.got["alice@demo.test/"], 2)
}

// S17: a message that came by before is refused, in each form in which it can reach us.
func TestS17_DeliveredToLoop(t *testing.T) {
	looped := "Received: x\r\nDELIVERED-TO: ALICE@demo.test\r\nSubject: x\r\n\r\nbody\r\n"
	body := "Subject: x\r\n\r\nDelivered-To: alice@demo.test\r\n"
	for _, in := range []func(string) io.Reader{
		func(s string) io.Reader { return strings.NewReader(s) },
		func(s string) io.Reader { return iotest.OneByteReader(strings.NewReader(s)) },
		func(s string) io.Reader { return iotest.DataErrReader(iotest.HalfReader(strings.NewReader(s))) },
	} {
		r, b := newRouter(t)
		require.Equal(t, "554 5.4.6", code(r.Deliver(t.Context(), envelope("alice@demo.test"), in(looped))))
		require.NoError(t, r.Deliver(t.Context(), envelope("alice@demo.test"), in(body)), "only the header counts")
		require.NoError(t, r.Deliver(t.Context(), envelope("bob@demo.test"), in(looped)))
		err := r.Deliver(t.Context(), envelope("alice@demo.test", "bob@demo.test"), in(looped))
		require.Equal(t, "554 5.4.6", code(goniec.Outcomes(err, 2)[0]))
		require.NoError(t, goniec.Outcomes(err, 2)[1])
		require.Len(t, b.got["bob@demo.test/"], 2)
		require.True(t, strings.HasSuffix(b.got["bob@demo.test/"][1], looped), "no octet is lost on the way")
	}
}

func TestDeliverReadError(t *testing.T) {
	r, b := newRouter(t)
	boom := errors.New("connection lost")
	for _, to := range [][]string{{"alice@demo.test"}, {"alice@demo.test", "bob@demo.test"}, {"alice@demo.test", "x@elsewhere.example"}} {
		r.Relay = goniec.Discard()
		err := r.Deliver(t.Context(), envelope(to...), io.MultiReader(strings.NewReader(text), iotest.ErrReader(boom)))
		require.True(t, goniec.Temporary(err))
	}
	require.Empty(t, b.got, "nothing is half delivered")
}

func ExampleRouter_Explain() {
	d := &delivery.Table{}
	d.AddDomain("demo.test", delivery.ClassMailbox)
	d.AddUser("alice@demo.test", "", nil)
	d.AddAlias("team@demo.test", "alice@demo.test", "carol@elsewhere.example")
	r := &delivery.Router{Directory: d}
	for _, hop := range r.Explain(context.Background(), goniec.MustAddress("team@demo.test")) {
		fmt.Printf("%s user=%q relay=%v: %s\n", hop.Address, hop.User, hop.Relay, strings.Join(hop.Why, ", "))
	}
	// Output:
	// alice@demo.test user="alice@demo.test" relay=false: alias to alice@demo.test, user alice@demo.test
	// carol@elsewhere.example user="" relay=true: alias to carol@elsewhere.example, not our domain
}

package goniec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
)

var (
	noUser = goniec.NewStatus(550, goniec.EnhancedCode{5, 1, 1}, "no such user")
	full   = goniec.NewStatus(452, goniec.EnhancedCode{4, 2, 2}, "mailbox full")
)

func TestClassification(t *testing.T) {
	unknown := errors.New("disk on fire")
	for _, c := range []struct {
		err                  error
		temporary, permanent bool
	}{
		{nil, false, false},
		{unknown, true, false},
		{context.Canceled, true, false},
		{noUser, false, true},
		{full, true, false},
		{fmt.Errorf("deliver: %w", noUser), false, true},
		{noUser.WithCause(unknown), false, true},
		{full.WithCause(noUser), true, false},
		{goniec.RcptErrors{nil, noUser}, false, true},
		{goniec.RcptErrors{full, noUser}, true, false},
		{goniec.RcptErrors{unknown, noUser}, true, false},
		{goniec.RcptErrors{}, true, false}, // no failure inside an error is a programming error: nothing may bounce
	} {
		require.Equal(t, c.temporary, goniec.Temporary(c.err), "%v", c.err)
		require.Equal(t, c.permanent, goniec.Permanent(c.err), "%v", c.err)
	}
}

func TestStatusOf(t *testing.T) {
	cause := errors.New("open /var/mail: permission denied")
	require.Nil(t, goniec.StatusOf(nil))
	require.Same(t, noUser, goniec.StatusOf(fmt.Errorf("x: %w", noUser)))
	s := goniec.StatusOf(cause)
	require.Equal(t, 451, s.Code)
	require.NotContains(t, s.Reply(), "/var/mail")
	require.ErrorIs(t, s, cause)
	require.Contains(t, s.Error(), "/var/mail")
	require.Equal(t, full, goniec.StatusOf(goniec.RcptErrors{noUser, full}), "the mildest failure speaks for all")
	require.Equal(t, noUser, goniec.StatusOf(goniec.RcptErrors{nil, noUser}))
	require.Equal(t, 451, goniec.StatusOf(goniec.NewStatus(250, goniec.EnhancedCode{}, "fine")).Code, "success inside an error is no success")
	require.Equal(t, 451, goniec.StatusOf(goniec.RcptErrors{}).Code)
}

func TestReply(t *testing.T) {
	require.Equal(t, "550 5.1.1 no such user", noUser.Reply())
	require.Equal(t, "250 one / two", goniec.NewStatus(250, goniec.EnhancedCode{}, "one\ntwo").Reply())
	require.Equal(t, "", goniec.EnhancedCode{}.String())
}

func TestOutcomes(t *testing.T) {
	require.Equal(t, goniec.RcptErrors{nil, nil}, goniec.Outcomes(nil, 2))
	require.Equal(t, goniec.RcptErrors{full, full}, goniec.Outcomes(full, 2))
	mixed := goniec.RcptErrors{nil, full}
	require.Equal(t, mixed, goniec.Outcomes(fmt.Errorf("wrapped: %w", mixed), 2))
	for _, err := range goniec.Outcomes(mixed, 3) {
		require.True(t, goniec.Temporary(err), "a wrong length must neither deliver nor bounce")
	}
	require.NoError(t, goniec.RcptErrors{nil, nil}.Err())
	require.Error(t, mixed.Err())
	require.Equal(t, 1, mixed.Failed())
	require.Contains(t, mixed.Error(), "1 of 2 recipients failed: 452")
}

type verifier struct{ goniec.DelivererFunc }

func (verifier) VerifyRcpt(_ context.Context, _ *goniec.Envelope, to *goniec.Recipient) error {
	if to.Address.Local() == "nobody" {
		return noUser
	}
	return nil
}

func TestVerifyRcpt(t *testing.T) {
	ctx := context.Background()
	to := &goniec.Recipient{Address: goniec.MustAddress("nobody@x")}
	ok, err := goniec.VerifyRcpt(ctx, goniec.Discard(), &goniec.Envelope{}, to)
	require.False(t, ok)
	require.NoError(t, err)
	ok, err = goniec.VerifyRcpt(ctx, verifier{}, &goniec.Envelope{}, to)
	require.True(t, ok)
	require.Equal(t, noUser, err)
}

func ExampleDelivererFunc() {
	var d goniec.Deliverer = goniec.DelivererFunc(func(_ context.Context, env *goniec.Envelope, msg io.Reader) error {
		n, err := io.Copy(io.Discard, msg)
		if err != nil {
			return err
		}
		fmt.Printf("%d octets from %s to %s\n", n, env.From, env.To[0].Address)
		return nil
	})
	env := &goniec.Envelope{
		From: goniec.MustAddress("you@example.org"),
		To:   []goniec.Recipient{{Address: goniec.MustAddress("alice@demo.test")}},
	}
	fmt.Println(d.Deliver(context.Background(), env, strings.NewReader("Subject: hi\r\n\r\nHello\r\n")))
	// Output:
	// 22 octets from you@example.org to alice@demo.test
	// <nil>
}

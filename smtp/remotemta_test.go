package smtp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/smtp"
)

func TestRemoteMTA(t *testing.T) {
	require.Equal(t, "mx.test", (&smtp.StageError{Host: "mx.test", Addr: "192.0.2.1:25"}).RemoteMTA())
	require.Equal(t, "192.0.2.1:25", (&smtp.StageError{Addr: "192.0.2.1:25"}).RemoteMTA())
	require.Empty(t, (&smtp.StageError{Host: "mx.test"}).RemoteMTA(), "nobody answered")
}

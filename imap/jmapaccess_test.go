package imap_test

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/imap"
	"github.com/goniec-mail/goniec/mailbox"
)

// A server does not begin with an address that no client could use.
func TestJMAPSessionIsChecked(t *testing.T) {
	for _, address := range []string{"mx.test", "ftp://mx.test/", "https://", "https://mx.test/a b", "https://mx.test/\"\r\n", "https://mx.test/ż", "%"} {
		f := newFixture(t)
		f.JMAPSession = address
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.ErrorContains(t, f.Serve(l), "JMAPSession", address)
		require.NotErrorIs(t, f.ListenAndServe(), imap.ErrServerClosed)
	}
}

// Without an address, or without identities of mailboxes, JMAP is not spoken of.
func TestJMAPNeedsObjectIDs(t *testing.T) {
	for _, address := range []string{"", "https://mx.test/jmap"} {
		f := newFixture(t)
		f.JMAPSession = address
		if address != "" {
			f.Store = mailbox.FromSource(hugeMail{})
		}
		c := login(t, f.start(t))
		require.NotContains(t, strings.Join(c.ok("CAPABILITY"), ""), "JMAPACCESS")
		_, tagged := c.do("GETJMAPACCESS")
		require.Equal(t, "NO [CANNOT] there is no JMAP server", tagged)
	}
}

package passwd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/peertest"
)

const password = "corréct horse, b@ttery:staple"

// What doveadm pw makes, we verify; what we make, doveadm verifies.
func TestPeerDoveadm(t *testing.T) {
	program := peertest.Need(t, "doveadm")
	doveadm := func(args ...string) string {
		out, err := peertest.Command(t, program, append([]string{"-c", "/dev/null", "pw"}, args...)...).CombinedOutput()
		if err != nil { // some versions want a configuration file of their own
			out, err = peertest.Command(t, program, append([]string{"pw"}, args...)...).CombinedOutput()
		}
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	var h Hasher
	for _, scheme := range []string{
		"ARGON2ID", "ARGON2I", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "DES-CRYPT", "CRYPT", "PBKDF2", "SCRAM-SHA-1", "SCRAM-SHA-256",
		"SSHA512", "SSHA256", "SSHA", "SHA512", "SHA256", "SHA1", "SHA", "SMD5", "LDAP-MD5", "PLAIN-MD5", "MD5", "PLAIN", "CLEARTEXT", "SSHA256.HEX", "SHA512.B64",
	} {
		stored := doveadm("-s", scheme, "-p", password)
		require.NoError(t, h.Verify(ctx, stored, auth.NewSecret(password)), stored)
		require.ErrorIs(t, h.Verify(ctx, stored, auth.NewSecret("x"+password)), ErrMismatch, stored)
	}
	for _, scheme := range []string{"ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SCRAM-SHA-1", "SCRAM-SHA-256", "SSHA512", "SSHA256", "SSHA", "PLAIN", "CRYPT"} {
		stored, err := (&Hasher{Scheme: scheme}).New(ctx, auth.NewSecret(password))
		require.NoError(t, err)
		require.Contains(t, doveadm("-t", stored, "-p", password), "(verified)", scheme)
	}
}

func TestPeerOpenSSL(t *testing.T) {
	program := peertest.Need(t, "openssl")
	for _, method := range []string{"-6", "-5", "-1"} {
		for _, pw := range []string{"secret", strings.Repeat("long ", 30), "é"} {
			out, err := peertest.Command(t, program, "passwd", method, pw).Output()
			require.NoError(t, err)
			stored := strings.TrimSpace(string(out))
			require.NoError(t, (&Hasher{Strict: true}).Verify(ctx, stored, auth.NewSecret(pw)), stored)
			require.ErrorIs(t, (&Hasher{}).Verify(ctx, stored, auth.NewSecret(pw+"x")), ErrMismatch)
		}
	}
}

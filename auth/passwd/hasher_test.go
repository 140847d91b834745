package passwd

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// Hashes of the password "secret", made by doveadm pw (Dovecot 2.3.19), mkpasswd and openssl passwd.
var foreign = map[string]string{
	"ARGON2ID":      "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$3/o9u1bB0/UV7kTH4cORlQ$xHhqnsLbKY6sL24XrZMm7b3EXaqsoln/QjLRouEed/o",
	"ARGON2I":       "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$4ed1ybtQqe9HMqDKYv7Jww$Kseqk9zOCl5dwwYO2xhE66PoyQDxo4wBVga8IWrhQ9c",
	"BLF-CRYPT":     "{BLF-CRYPT}$2y$05$D3mUAPz1u4q7KyBFiQKbxOAFSWSSZWSKkavHnNhMo5RaAA5Vl9via",
	"SHA512-CRYPT":  "{SHA512-CRYPT}$6$5L1eDQ1ljQ8KhLlS$6DjfUVAoNSo2go8V73GNBMXhGhFD4mkVfn9SpAO/7jQWSztMOcvYv.ceP1GLv.47qs247AlxYzYh/cc9RTcBJ.",
	"SHA256-CRYPT":  "{SHA256-CRYPT}$5$hlfMhVCmE7NEbYyC$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2",
	"MD5-CRYPT":     "{MD5-CRYPT}$1$fBAQbl35$oXe2nYPR6Xt5PUhyazx7f0",
	"CRYPT":         "{CRYPT}$2y$05$pASiD9zdXGUckxsqqOCcx.iOpz0dggrAqH4Eo3TGBQBaFKbd70tN2",
	"CRYPT DES":     "{CRYPT}7CSnhXeQ8bpgc",
	"bare":          "$5$hlfMhVCmE7NEbYyC$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2",
	"bare DES":      "7CSnhXeQ8bpgc",
	"SHA":           "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
	"SSHA":          "{SSHA}/3OO9M4zKSi+trAa98aE3M0w1FtxnTVY",
	"SHA256":        "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
	"SSHA256":       "{SSHA256}g4OyMzRyTfHFkvC4khwt4mJDz+0GdnaL3vGvOMHh/lyn+bKg",
	"SHA512":        "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
	"SSHA512":       "{SSHA512}QFeSxjYvIL/1EdoWWjDhWQWTOQf2r8P7oVCXDuDmi1Zss+jAQvhukHSxVMWcpBkPW3LJKAYtQN0P3cjcfMFH8L6n3rA=",
	"PLAIN-MD5":     "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
	"LDAP-MD5":      "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"MD5 hex":       "{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
	"MD5 base64":    "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"MD5 crypt":     "{MD5}$1$ALOSZUGo$PxYzS5Ps/iXT4v9moy5Jm1",
	"SMD5":          "{SMD5}5t7DuWdnOj3WJE2XjcV6MQSisj8=",
	"SCRAM-SHA-1":   "{SCRAM-SHA-1}4096,zvedV/rtfC2y4+gEg0LfGw==,awWRdgn2NqldYsDWc8JzeFUmgGs=,OmPiNZbYYu1kjjE0+jBFnTw4X9g=",
	"SCRAM-SHA-256": "{SCRAM-SHA-256}4096,y52uplXebumGp5iHK5qmig==,5msy0EuAzNuP7CX3RM5TFfGYJaMt1EWPrt6JEBOCN3Y=,iepS0jfiq6TuPIK0j4gm6dl49s5aDVUXsEKn9MyLA6s=",
	"PBKDF2":        "{PBKDF2}$1$GByzediQw/B3A784$5000$f66058551bba88710870947fe96b0b8cdf930807",
	"PLAIN":         "{PLAIN}secret",
	"CLEARTEXT":     "{CLEARTEXT}secret",
	"clear, lower":  "{clear}secret",
	"DES-CRYPT":     "{DES-CRYPT}7CSnhXeQ8bpgc",
	"SSHA.HEX":      "{SSHA.HEX}cac60039b13c8359090352c406c255bc1c50550ebbd80af2",
	"SHA512.B64":    "{SHA512.B64}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
	"SHA hex":       "{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
}

func TestForeignHashes(t *testing.T) {
	ctx := context.Background()
	var h Hasher
	for name, stored := range foreign {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, h.Check(stored))
			require.NoError(t, h.Verify(ctx, stored, auth.NewSecret("secret")))
			for _, wrong := range []string{"secreT", "secre", "secrets", "", "\x00", "sécret"} {
				require.ErrorIs(t, h.Verify(ctx, stored, auth.NewSecret(wrong)), ErrMismatch)
			}
		})
	}
}

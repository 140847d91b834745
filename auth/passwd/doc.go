// Package passwd keeps users in a passwd-file, in Dovecot's format, and knows the ways in which
// passwords have been stored in the last forty years.
//
//	user:password:uid:gid:(gecos):home:(shell):extra fields
//
// File is the auth.Authenticator; it follows changes of the file, and edits it durably. Hasher does
// the passwords and can be used for any other user table.
//
// # Schemes
//
// A stored password is "{SCHEME}hash"; without a scheme it is what crypt(3) makes. Names are Dovecot's
// (doveadm pw -l), a suffix .HEX or .B64 tells the encoding.
//
//	made and verified      ARGON2ID (new hashes), BLF-CRYPT (bcrypt), SHA512-CRYPT, SHA256-CRYPT,
//	                       CRYPT ($y$, yescrypt), SCRAM-SHA-256, SCRAM-SHA-1, SSHA512, SSHA256, SSHA,
//	                       PLAIN (CLEAR, CLEARTEXT)
//	verified only          ARGON2I, PBKDF2, MD5-CRYPT, DES-CRYPT, MD5, PLAIN-MD5, LDAP-MD5, SMD5,
//	                       SHA, SHA1, SHA256, SHA512; CRYPT with $1$ $2$ $5$ $6$ $y$ $argon2$ or DES
//	not known              CRAM-MD5, HMAC-MD5, DIGEST-MD5, PLAIN-MD4, PLAIN-TRUNC, NTLM, OTP: their
//	                       lines are left out and reported
//
// A hash that begins with "!" or "*", or is empty, matches nothing. Outdated hashes (MD5, DES, unsalted
// and salted digests) can be upgraded on login: set File.Upgrade to (*File).ReplaceHash.
//
// # Work
//
// Whatever is asked, one hash is computed: for an unknown or disabled user that of another user of
// the same file, so that the answer comes after the same work. (A password that is wrong and not
// ASCII is tried in its normalised form too.) Hasher.Parallel bounds how many hashes are computed at
// once and so, with Limits, the memory; more attempts wait with their context. Stored hashes that ask for
// more than Limits are left out and reported.
//
// # Extra fields
//
//	userdb_NAME=VALUE   an attribute of the Identity, with home, uid and gid of their own columns
//	user=NAME           the Identity's name in place of the line's
//	nologin             no login
//	allow_nets=NETS     login only from these addresses or networks, separated by commas
//
// Others are ignored, nopassword too: an empty password never lets anybody in. Variables as %u are
// not expanded.
//
// # Mechanisms
//
// PLAIN and LOGIN work with every scheme. SCRAM-SHA-256 works for users stored as {SCRAM-SHA-256} or
// {PLAIN}, SCRAM-SHA-1 likewise, CRAM-MD5 and APOP for {PLAIN}; each is offered only if it works for
// all users who have a password (see File.Offer).
//
// # Limits
//
// File.MaxBytes (4 GiB), File.MaxLine (64 KiB), names of 255 octets, passwords of auth.MaxPassword.
// In memory a file takes its own size and 8 to 16 octets for each line.
// Several processes may edit one file where the system has flock.
//
// Sources: RFC 9106 (argon2), RFC 5802 §3 and RFC 7677 (SCRAM), RFC 8265 (names and passwords), Dovecot's
// documentation of passwd-file and password schemes.
package passwd

// Package cache remembers successful logins, so that a mail client that connects every minute does
// not cost a slow hash, or a question to a directory, each time.
//
// Only successes are remembered: a failure is asked anew, and a guard outside of the cache counts
// it. An entry is for one user, password, protocol, client address, server address and encryption, because tables may
// decide on all of these. It holds no password: entries are found by a keyed digest of it all, whose key lives in
// this process only.
//
// A change ends what was remembered in three ways: after TTL; at once with Forget or ForgetAll, which
// whoever changes passwords calls; and at once where the table is a Versioned, as passwd.File, whose
// reload makes all older entries void.
//
// Passwords only are remembered; tokens and SCRAM are cheap and pass through.
package cache

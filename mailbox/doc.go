// Package mailbox is mail at rest: the seam between stores (maildir, mbox, memory, a database) and
// the protocols that show them (imap, pop3, lmtp).
//
// A back end implements three small interfaces: Store (all users), Account (one user's folders),
// Mailbox (messages with UIDs, flags and mod-sequences). Optional interfaces add speed or
// features; package functions use them or fall back, and callers never assert types.
package mailbox

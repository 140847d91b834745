// Package wire is the grammar of IMAP (RFC 9051 §9, RFC 3501 §9) and nothing else: it knows tokens,
// not commands. It serves server and client.
//
//	Decoder   reads commands or responses token by token, literals included
//	Encoder   writes tokens
//
// Both have a sticky error: code reads like the grammar, and the error surfaces once, at the end of
// the command. What was read after an error is zero.
//
// # Staying in step
//
// An IMAP command has no end of its own: whether a line is the last one is told by the literal at
// its end. Skip therefore finds the end of a refused command: it consumes literals that come
// without being asked for (non-synchronising, RFC 7888) and stops at one that waits for a
// continuation, which a refused command never gets. A line that is too long, or ends in a malformed
// literal, leaves nobody knowing what follows: such an error is Fatal, and the connection has to be
// closed.
//
// # Limits
//
//	Limits.Line          octets of one line                       64 KiB
//	Limits.Literals      literals of one command                  1,000
//	Limits.LiteralBytes  octets of all of them together           1 MiB
//	Limits.Discard       octets of a refused literal, consumed    64 MiB
//	Limits.Depth         parentheses inside each other            100
//
// Literals that a caller streams (LiteralReader) have the caller's limit. Memory follows what was
// received, never what was announced.
//
// # Mailbox names
//
// They are modified UTF-7 (RFC 3501 §5.1.3) until the session has enabled UTF-8 (RFC 6855, RFC
// 9051), and only the canonical spelling is read. In UTF-8 mode they are as they stand.
package wire

// Package crlf reads and writes the text that all mail protocols share: lines that end in CRLF, messages that end in CRLF.CRLF, counted
// octets. It is the one scanner of the module: what it takes for the end of a line or a message, every protocol does.
//
//	Reader      lines within a limit, counted octets, from one connection
//	RawReader   exactly n octets of a Reader: BDAT chunks, IMAP literals
//	DotReader   one dot-stuffed message of a Reader: DATA, RETR
//	TextReader  message text without dots, under the rules of a DotReader: BDAT
//	DotWriter   one message in dot-stuffed form
//	Writer      an output buffer that an idle connection does not hold
//
// # Strictness
//
// Only CRLF ends a line and only CRLF.CRLF ends a message (RFC 5321 §2.3.8, §4.1.1.4). A bare CR or LF is an error (Reject) or becomes a
// CRLF (Normalise); it never passes. A faulty line or message is consumed to its true end before it is answered, so that
// nothing in it can run as a command. All faults are of type Error.
//
// # Limits
//
//	ReadLine's argument     octets of a line           given with each call
//	Reader.MaxSkip          octets of a skipped line   1 MiB
//	TextOptions.MaxLine     octets of a text line      none
//	TextOptions.MaxBytes    octets of a message        none: the caller states it
//	Drain's argument        octets of a drained rest   64 MiB
//
// Time is limited by the deadlines of the connection; after one has passed, the read may be taken up again.
//
// # Memory
//
// A Reader waits with 1 KiB of its own. Longer lines borrow 8, 16, then 64 KiB, message data 64 KiB once it has filled the
// first; the buffer goes back to its pool when it is empty. Lines beyond 64 KiB are possible and allocate. In steady state nothing
// else allocates.
package crlf

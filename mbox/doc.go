// Package mbox reads and writes mbox files: all messages of a folder in one file, each behind a line
// "From sender date" and before an empty line.
//
// Reader and Writer work on any stream; File appends to a mailbox that other programs use too; Store
// is a mailbox.Store over one file, or over a folder of files, for each user.
//
// # Dialects
//
// The format has no standard (RFC 4155 describes its default form), and four dialects:
//
//	mboxrd   ^>*From lines get one more ">"; reversible; what is written by default
//	mboxo    only "From " lines get it; not reversible by other programs
//	mboxcl   as mboxo, with a Content-Length that counts the body in the file
//	mboxcl2  no quotes, only Content-Length
//
// Detect tells which one a file is in, and what it saw. A From_ line counts only if it is plausible
// (ParseFromLine) and comes after an empty line or first; a Content-Length only if a message, or the
// file's end, follows where it points.
//
// # Exactness
//
// What a Writer, File or Store has written is read back octet by octet, in every dialect. Lines end with LF in the file;
// a message with other line ends than CRLF, or with none at its end, is written as it is. That, and
// what else a reader must know, stands behind the date as " remote from goniec-…", where other programs
// do not look. In mboxo and mboxcl a message with lines ">From " is quoted like mboxrd and marked so: other programs
// then show one ">" more than there was. Lone CRs and LFs of messages in files of other programs are read with
// each LF without CR as CRLF; their ">From " lines lose the ">".
//
// # Locks and durability
//
// A mailbox is locked by the dotlock "file.lock" (made with O_EXCL; stale when nobody has touched it for ten minutes and
// its process is dead or unknown), then fcntl's lock, then flock's, each with a bounded wait. On
// the BSDs and macOS the last two are one; elsewhere there is only the dotlock. The directory must be
// writable, for the dotlock and the files named below.
//
// Before the first octet of a message the journal ".file.goniec-append" says what will be where, and is synced; then
// the message is written and synced, and only then acknowledged. An error cuts the file to its old size. After a crash the
// next user finds by the journal's checksums whether the message is whole, and otherwise removes it;
// what other programs have appended meanwhile is never removed.
package mbox

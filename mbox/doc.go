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
// its process is dead or unknown; on Linux at once when it is ours and its process surely is dead), then fcntl's lock, then flock's, with a bounded wait. Where somebody has
// the last two and waits for the first, in the order of bsd-mailx, the dotlock is given back between the attempts. On
// the BSDs and macOS the last two are one; elsewhere there is only the dotlock. The directory must be
// writable, for the dotlock and the files named below.
//
// Before the first octet of a message the journal ".file.goniec-append" says what will be where, and is synced; then
// the message is written and synced, and only then acknowledged. An error cuts the file to its old size. After a crash the
// next user finds by the journal's checksums whether the message is whole, and otherwise removes it;
// what other programs have appended meanwhile is never removed. Several messages of one AppendAll have one journal and one
// sync, and are all there or none. The file's name is made durable before, too, where another program has put a new file in its place.
//
// Store removes messages in place, from ".file.goniec-rewrite", so that a crash leaves the old file or the new.
//
// # Store
//
// UIDs, mod-sequences and flags are in the index ".file.goniec-mbox", which grows with each change and is made
// anew when messages are removed, or when it has become much longer than it need be; without it all messages get new UIDs
// under a higher UIDVALIDITY. Messages that other programs move are known again by their content, and the flags that they change in
// Status, X-Status and X-Keywords are taken over, each by itself. Messages that Store has written begin with these fields in a fixed
// width, kept up to date for other programs; the reader of a message never sees them.
//
// # Limits
//
//   - Of messages that other programs have written, Status, X-Status, X-Keywords, X-UID, X-IMAP, X-IMAPbase and Content-Length
//     (with mutt's Lines behind it) are not shown, and Store does not change them: other programs do not see the flags that it gives these messages.
//   - The zone of other programs' From_ lines is unknown: they count as UTC. Envelope senders are not kept by Store.
//   - The folder-internal message of UW IMAP is shown as a message.
//   - Each message that is read is copied (to a temporary file above 64 KiB). Expunge copies all that follows
//     in the file twice. The index is read again when nobody had the folder open, and when another process has
//     changed it, in time proportional to the folder.
//   - No special uses, subscriptions, quota, notifications or derived data; mailbox's fall-backs serve.
//   - Renaming a folder with children takes two steps; a crash between leaves the children behind.
//   - The files beside the mailbox are left there by Rename only if the system fails; a dotlock that a power
//     cut has left is honoured for ten minutes: for all we know its holder may run on another host.
package mbox

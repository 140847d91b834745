// Package mailbox is mail at rest: the seam between stores (maildir, mbox, memory, a database) and
// the protocols that show them (imap, pop3, lmtp).
//
// A back end implements three small interfaces: Store (all users), Account (one user's folders),
// Mailbox (messages with UIDs, flags and mod-sequences). Optional interfaces add speed or
// features; package functions use them or fall back, and callers never assert types. The smallest
// back end of all is a Source, five methods over a database that knows nothing of mail:
// FromSource makes a Store of it.
//
// # What a reader asks, and what it costs
//
// Changes is the one question about a folder: what is new since a mod-sequence. It is answered from
// an index without opening a message (in SQL: one query on the mod-sequence column, one on a table of expunged
// UIDs), and everything else is built on it:
//
//   - View gives one session its sequence numbers: 8 octets for each gap between UIDs.
//   - Search, Sort and Thread read only messages that their Meta can not decide on, and keep what they find in
//     common header fields with stores that are Derived ("mailbox.header/1"): these are read once.
//   - Count, Watch, UniqueIDs fill in what a store does not tell.
//
// A store of 100,000 messages is asked for its State (Changes since Latest) at each poll, and for a
// list of Metas, 48 octets each, when a folder is opened.
//
// # Guarantees
//
// When Append, SetFlags or Expunge returns nil, the effect survives a crash; see Mailbox for the
// words. UIDs rise and are never used twice under one UIDVALIDITY, which is that of no other folder of the account; mod-sequences rise with every
// change. Of several messages each is changed whole or not at all; AppendAll and Copy are all or
// none as long as the process lives, and after a crash too where the store is a MultiAppender or
// Copier. What is read is what was stored, octet for octet. Package mailboxtest proves all this for
// any store.
//
// # Wrappers
//
// Quota, access control, metrics and tracing are written once for all stores with InterceptStore,
// InterceptAccount or Intercept: the function is asked for every operation, those of optional
// interfaces included. As looks through other wrappers only where they say so.
//
// # Sharing
//
// A store whose accounts keep access control lists (ACLKeeper: Memory, maildir) lets users share folders with each other
// through WithSharing: each account then shows the folders of others too, as far as Rights go, and is an AccessControl,
// which is all that imap needs for its ACL extension. A ShareIndex knows who shares with whom, so that nobody's listing
// depends on how many users there are: ShareFiles keeps it in a directory, durably.
//
//	index, err := mailbox.OpenShareFiles(nil, "/var/lib/mail/shares")
//	store := mailbox.WithSharing(&maildir.Store{Root: "/srv/mail"}, mailbox.Sharing{Index: index})
//
// # Files
//
// FS and MailboxFS show mail as a read-only io/fs.FS, for whatever works on files: archives, indexers, http.FS.
//
// # Specifications
//
//	RFC 9051  messages, flags, UIDs, sequence numbers, SEARCH: NumSet, View, Criterion
//	RFC 3502  several messages in one APPEND: MultiAppender, AppendAll
//	RFC 4315  COPYUID, APPENDUID: CopyResult, Meta
//	RFC 4314  access control: Rights, ACL, ACLKeeper, AccessControl, WithSharing; RFC 2342: Namespaces
//	RFC 5032  SEARCH OLDER, YOUNGER: KeyOlder, KeyYounger
//	RFC 5051  i;unicode-casemap: comparison in Search, Sort, Thread
//	RFC 5256  SORT and THREAD: Sort, Thread, BaseSubject
//	RFC 5464  METADATA: Metadata
//	RFC 5465  NOTIFY: Watcher, AccountWatcher
//	RFC 5957  SORT=DISPLAY: SortDisplayFrom, SortDisplayTo
//	RFC 6154  special use: SpecialUse, WithUse
//	RFC 6851  MOVE: Mover, Move
//	RFC 7162  CONDSTORE, QRESYNC: ModSeq, Changes, FlagChange.UnchangedSince, KeyModSeq
//	RFC 8474  MAILBOXID: Info.ID, State.ID
//	RFC 8514  SAVEDATE: Meta.Saved, AppendOptions.Saved, KeySavedBefore
//	RFC 9208  QUOTA: QuotaKeeper
//	RFC 1939  POP3's lock and UIDL: Locker, Locks, Identified
//
// # Limits
//
// A folder has at most 56 keywords (MaxKeywords), 500 entries in its access control list (MaxACLEntries), a name at most
// 1000 octets, criteria at most 100 levels
// and 1000 keys. INTERNALDATE has no zone of its own: it is shown, and searched by day, in the local
// zone of the process. Search looks into headers and into parts of type text and message, decoded; not into
// other attachments, and not across a line break. Text in HTML is searched as it stands, tags
// included. Memory keeps everything in memory and forgets it with the process. FromSource can not
// make, delete or rename folders. Flags of shared folders are the folder's, \Seen too: nobody has
// his own. Converter does not copy limits of quotas, nor who is in the groups that access control lists name. RightPost is kept and
// asked of nobody: it is for delivery to a folder's own address (RFC 4314 §2.1), and folders have none here. Move without a Mover
// is a copy and an expunge: a crash between, a
// rival at the same moment, or an expunge whose outcome is not known, may leave a copy too many, never one too few.
package mailbox

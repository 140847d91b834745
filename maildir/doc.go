// Package maildir keeps mail in Maildir++ trees: one file per message, folders as ".Name"
// directories. The trees are those of Dovecot and Courier: UIDs lie in dovecot-uidlist, keywords in
// dovecot-keywords, subscriptions in subscriptions, quota in maildirsize, so that a site moves in
// both directions without its clients downloading again, and other programs (mutt, procmail,
// Dovecot itself) may deliver, rename and delete at any time.
//
//	store := &maildir.Store{Root: "/srv/mail/{domain}/{local}/Maildir"}
//	account, err := store.Account(ctx, "alice@example.org")
//
// Store implements mailbox.Store and mailbox.MultiDeliverer; Account and Mailbox implement most of
// the optional interfaces.
//
// # Durability
//
// Delivery writes into tmp/, syncs the file, renames it into new/ and syncs that directory, and only
// then returns; concurrent deliveries into one folder share the directory's syncs. Append also
// records the UID in dovecot-uidlist, durably, before the message shows. Flags are changed by
// rename, followed by a sync of cur/. A change to several messages is noted first (goniec-intent), and
// finished by whoever opens the folder after a crash: each operation is there whole or not at all. A
// move links the messages into the other folder before it removes them here, so that a crash may
// leave them in both.
//
// # Content form
//
// A message whose every line ends in CRLF is stored with LF (Store.CRLF: as it came); any other is
// stored octet by octet. The name tells: S= is the size on disk, W= the size in network form, and a
// file whose S= equals W= is read as it is. In other files each LF without a CR before it is
// read as CRLF. What is read is always what was stored.
//
// # Folder names
//
// A folder "Lists/Go" is the directory ".Lists.Go" beside new/, in canonical modified UTF-7 (RFC 3501
// §5.1.3). A level can not be empty or hold ".", "%", "*", a control character or what is not UTF-8, and the
// directory's name is at most 255 octets long: mailbox.ErrName otherwise. Directories with other names do
// not show; Check tells them.
//
// # UIDs and mod-sequences
//
// A message gets its UID at the first look at the folder after its delivery, in the order of arrival; it is then
// moved from new/ to cur/. A list that was cut off or replaced by an older copy is restored from the
// index; where a UID is in doubt, UIDVALIDITY rises. No two folders of an account get the same one. Mod-sequences are microseconds, or one more than the last where
// that is higher. They live in the index, which all our processes share. When it is lost every
// message gets a new mod-sequence above all that were given (goniec-floor is written ahead of them), and expunges
// from before are not known: State.Horizon. Of new messages a crash may take the note in the index, not the UID: they get
// new mod-sequences then, in the same way.
//
// # Files
//
//	dovecot-uidlist            UIDs (Dovecot's version 3; 1 is read)   under dovecot-uidlist.lock: of a folder in much use
//	                           a second name of a file in tmp/, which goes when nobody has the folder open
//	dovecot-keywords           keywords, 26 a folder at most           under dovecot-uidlist.lock
//	subscriptions              versions 1 and 2 of Dovecot             under subscriptions.lock
//	maildirsize                quota                                   appended to
//	maildirfolder              marks a folder
//	dovecot-acl                access control list of a folder         under dovecot-acl.lock
//	dovecot-acl-list           Dovecot's cache of these lists; removed when one changes
//	goniec-index               cache; may be deleted
//	goniec-derived             cache; may be deleted
//	goniec-floor               what the index may not forget: deleting it risks mod-sequences that go down
//	goniec-intent              a change under way
//	goniec-rename              a renaming of folders under way
//	goniec-special-use         the folder's special use (RFC 6154)
//	goniec-metadata            the folder's annotations (RFC 5464)     under goniec-metadata.lock
//	goniec-account-metadata    the account's annotations               under goniec-account-metadata.lock
//	goniec-uidvalidity         the highest UIDVALIDITY given in the account
//	goniec-lock, goniec-pop3-lock, goniec-move-lock    flock(2) between our processes
//	courierimap*               Courier's UIDs, keywords and subscriptions, read once. Courier 5 names folders in UTF-8: those
//	                           show after Account.Check has renamed them
//
// # Access control lists
//
// dovecot-acl is kept (mailbox.ACLKeeper) and not enforced: mailbox.WithSharing does that. It means to us what it means
// to Dovecot 2.3, but that an owner has all rights whatever the list says. Comments, and rights that only Dovecot
// knows, stay; a file with a line that is not understood gives nobody any right and is not overwritten. The files that
// tell Dovecot who shares with whom (acl_shared_dict) are not kept: Dovecot lists a folder that was shared here after
// "doveadm acl" has looked, and we list one that was shared there after mailbox.SharedStore's Reindex.
//
// # Other programs
//
// Their deliveries, renames and deletions show in the next Changes. A rename or deletion in the very moment of a change of ours
// shows in the next Changes a tenth of a second later, or two seconds where the file system keeps no parts of seconds; while
// we change a folder of more than 2000 messages all the time, within half a minute. A message is never
// taken for expunged because it was renamed while its directory was read. Dovecot does take it so at times, and gives it
// another UID afterwards: here too it then goes under the old UID and comes under the new one.
//
// On a full disk what is known can be read, marked and expunged; new mail waits in new/ until there is room.
//
// # Sources
//
//   - maildir(5) of qmail; the Maildir++ pages of Courier; Dovecot's files
//   - RFC 3501 §5.1.3: modified UTF-7
//   - RFC 9051 §2.3.1.1: UIDs and UIDVALIDITY; RFC 7162: mod-sequences; RFC 8474: MAILBOXID
//   - RFC 5464: annotations; RFC 6154: special use; RFC 9208: quota; RFC 3502: MULTIAPPEND; RFC 6851: MOVE; RFC 8514: SAVEDATE
//
// # Limits
//
//   - Quota counts every message, those marked \Deleted and those in Trash too, in octets of network form;
//     Dovecot and Courier count files, which are 2 to 3 percent smaller with LF. It is a soft limit between processes.
//   - A tree that can not be written is read without locks and index. Messages that have no UID yet, in new/ too, get
//     passing ones at the first look, under a UIDVALIDITY that is given up with the last handle; Courier's keywords are not seen then.
//   - A folder that was made by copying the files of another, or adopted from Courier's, may have the UIDVALIDITY of another.
//   - Annotations are our own files: Dovecot's are in its dictionary. A folder has 100 at the most, with 256 KiB of
//     names and values: mailbox.ErrOverQuota beyond. What is damaged is kept as goniec-metadata.damaged at the next change.
//   - Locks between our processes are flock(2): over NFS they need a server that has it. Hosts that share a tree need
//     different Store.Host.
//   - Systems other than Linux are polled for what other programs do to watched folders, every two seconds, in watched
//     accounts ten milliseconds later for each folder; so is what exceeds Store.MaxWatches: three
//     directories for each folder of a watched account, however many sessions watch it.
//   - Windows: ";" stands for ":" in names, only one process may use a tree, and directories can not be synced there.
package maildir

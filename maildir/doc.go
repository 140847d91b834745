// Package maildir keeps mail in Maildir++ trees: one file per message, folders as ".Name"
// directories. The trees are those of Dovecot and Courier: UIDs lie in dovecot-uidlist, keywords in
// dovecot-keywords, subscriptions in subscriptions, quota in maildirsize, so that a site moves in
// both directions without its clients downloading again, and other programs (mutt, procmail,
// Dovecot itself) may deliver, rename and delete at any time.
//
//	store := &maildir.Store{Root: "/srv/mail/{domain}/{local}/Maildir"}
//	account, err := store.Account(ctx, "alice@example.org")
//
// Store implements mailbox.Store and mailbox.MultiDeliverer.
//
// # Durability
//
// Delivery writes into tmp/, syncs the file, renames it into new/ and syncs that directory, and only
// then returns; concurrent deliveries into one folder share the directory's sync. Append also
// records the UID in dovecot-uidlist, durably, before the message shows. Flags are changed by
// rename, followed by a sync of cur/. After a crash each operation is there whole or not at all.
//
// # Content form
//
// A message whose every line ends in CRLF is stored with LF (Store.CRLF: as it came); any other is
// stored octet by octet. The name tells: S= is the size on disk, W= the size in network form, and a
// file whose S= equals W= is read as it is. In other files each LF without a CR before it is
// read as CRLF. What is read is always what was stored.
//
// # Names
//
// A folder "Lists/Go" is the directory ".Lists.Go" beside new/, in modified UTF-7 (RFC 3501
// §5.1.3) of the canonical form. A level can not be empty or hold ".", "%", "*", a control character or what is not
// UTF-8, and the directory's name is at most 255 octets long: mailbox.ErrName otherwise.
package maildir

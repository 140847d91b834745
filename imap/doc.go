// Package imap is an IMAP server over package mailbox: IMAP4rev2, IMAP4rev1 and the extensions that
// clients use.
//
//	server := &imap.Server{Addr: "127.0.0.1:2143", Store: store, Auth: users}
//	err := server.ListenAndServe()
//
// Whatever implements mailbox.Store can be shown: a Maildir, an mbox file, memory, or a database of
// one's own through mailbox.FromSource and its five methods.
//
// # What it speaks
//
//	RFC 9051  IMAP4rev2                RFC 3501  IMAP4rev1
//	RFC 2177  IDLE                     RFC 2342  NAMESPACE
//	RFC 2971  ID                       RFC 3348  CHILDREN
//	RFC 3502  MULTIAPPEND              RFC 3516  BINARY
//	RFC 3691  UNSELECT                 RFC 4315  UIDPLUS
//	RFC 4466  grammar of parameters    RFC 4731  ESEARCH
//	RFC 4469  CATENATE                 RFC 4978  COMPRESS=DEFLATE
//	RFC 4959  SASL-IR                  RFC 5032  WITHIN
//	RFC 5092  relative message URLs    RFC 5255  LANGUAGE: en, i-default
//	RFC 5161  ENABLE                   RFC 5182  SEARCHRES
//	RFC 5256  SORT, THREAD             RFC 5258  LIST-EXTENDED
//	RFC 5530  response codes           RFC 5819  LIST-STATUS
//	RFC 5957  SORT=DISPLAY             RFC 6154  SPECIAL-USE, CREATE-SPECIAL-USE
//	RFC 6851  MOVE                     RFC 6855  UTF8=ACCEPT
//	RFC 7162  CONDSTORE, QRESYNC       RFC 7888  LITERAL+; LITERAL- before login
//	RFC 7889  APPENDLIMIT              RFC 8438  STATUS=SIZE
//	RFC 8514  SAVEDATE                 RFC 9208  QUOTA (reading; SETQUOTA is refused)
//	RFC 9394  PARTIAL                  RFC 9585  INPROGRESS
//	RFC 5267  ESORT, CONTEXT=          RFC 5465  NOTIFY
//	RFC 5464  METADATA                 RFC 8437  UNAUTHENTICATE
//	RFC 9586  UIDONLY                  RFC 9590  LIST-METADATA
//	RFC 8474  OBJECTID                 RFC 8508  REPLACE
//	RFC 8970  PREVIEW                  RFC 8314  implicit TLS by ServeTLS
//	RFC 4314  ACL, RIGHTS=texk         RFC 8440  LIST-MYRIGHTS
//	RFC 7377  MULTISEARCH              RFC 9698  JMAPACCESS
//	RFC 9738  SAVELIMIT
//
// What is advertised depends on the state of the connection, on TLS and on what the store can do; a
// test holds a dialogue against each name.
//
// # Sessions
//
// Commands of a connection run in their order; the answers of pipelined ones leave in one write. While the client takes in
// a large answer (from 16 KiB on), the next command is read and run: a piece of 64 KiB may be on its way, another one may
// wait for that, and up to 64 KiB be gathered for the third; then the session waits. So a client that reads nothing holds 192 KiB at the
// most, and commands are still taken one by one: what comes behind STARTTLS, COMPRESS or a literal that has to be asked for is not
// looked at before its turn. Small answers are left to the system's buffers.
//
// A selected mailbox is a mailbox.View: message numbers change only when the client was told. What
// others do is told at the end of each command and in IDLE, expunges never during FETCH, STORE and
// SEARCH by number. A message that another session expunged keeps its number until then; a command that
// wants it does the rest and answers NO [EXPUNGEISSUED]. A mailbox that is deleted, or made anew with another UIDVALIDITY,
// ends the sessions that have it selected.
//
// An idle connection has one goroutine, whose stack takes 4 KiB, and 1 KiB of input buffer (34 KiB under COMPRESS). IDLE is a state of
// the session and no call that lasts, for the sake of that stack. The store's notification starts another goroutine for as long as it
// takes to tell the news, a large answer one for as long as the client takes to read it.
//
// # NOTIFY
//
// Under NOTIFY a client is told while it is silent, in IDLE, and at the end of its commands; never in the middle of one. It
// needs a store that watches accounts (mailbox.AccountWatcher): maildir, memory and FromSource do. All events of RFC 5465
// are there but AnnotationChange (RFC 5257); those of annotations where the store keeps them. With "selected", expunges are told
// between commands, and the client has to use UIDs; with "selected-delayed" by a command that permits them, or in
// IDLE. Without events for the selected mailbox its state stands still for the client, but for what it removes itself; a
// STORE of its own brings it up to date. Several groups may be about one mailbox; NONE takes it out of those behind it.
//
// A mailbox that is not selected is told by STATUS with MESSAGES, UIDNEXT, UIDVALIDITY and UNSEEN, and HIGHESTMODSEQ for
// FlagChange and under CONDSTORE. The first time that something happens in one whose STATUS was not asked for, it may be told
// for a change that is not wanted: nobody knew the state before. What a client does itself to names and annotations, and puts into
// mailboxes, is not told to it; the latter is where FlagChange is wanted. "inboxes" are, like "personal", all mailboxes of one's own:
// mail may be delivered into each. Of what others share, what may be listed but not read is told to be \NoAccess. What
// happens while a client does not listen is kept as names, once each, up to Server.MaxNotify: then NOTIFICATIONOVERFLOW.
//
// CONTEXT=SEARCH and CONTEXT=SORT keep the results of ten searches up to date, at the moments when changes of the mailbox are told. Keys
// with numbers and "$" keep the meaning that they had when the search began; spans of time are looked at when a message changes. A
// result of SORT is kept in order as long as it has 10,000 messages at the most.
//
// # Searching
//
// ESEARCH (MULTISEARCH) searches mailboxes one after the other, and tells what was found in each before the next; sets, "*" and
// sequence numbers mean each mailbox's own. Those that are not there, or may not be read, are passed over. When one can not be searched,
// the others are told all the same, and the command is NO. "inboxes" are what they are for NOTIFY. A command that searches has
// Server.SearchTimeout for it, all mailboxes together; waiting for the client does not count.
//
// # Messages
//
// Bodies are streamed in both directions: memory does not depend on their size, nor on how fast the
// peer reads. What FETCH shows is what was stored, octet by octet; NUL, which the grammar has no
// place for, is not replaced. ENVELOPE, BODY, BODYSTRUCTURE and the usual header fields are rendered
// once and given to stores that keep them (mailbox.Derived). \Seen is set when the octets were on their way.
//
// APPEND, COPY, MOVE and STORE answer OK when the store says that the effect is durable. A command
// that fails has stored nothing; MULTIAPPEND stores all messages or none, as far as the store's AppendAll
// promises it. CATENATE takes URLs of the session's own account: relative ones, with mailbox names in percent-encoded UTF-8. Whatever
// is wrong with one is BADURL, so that nobody learns of mailboxes that he may not see.
//
// # Access control
//
// Where accounts are a mailbox.AccessControl (mailbox.WithSharing makes them so), users share mailboxes: SETACL and its
// kin, the namespaces of other users and of a public one, PERMANENTFLAGS as far as the rights go. The store decides at
// every operation: a right that is withdrawn ends at once, and with the right to read ends the session that has the
// mailbox selected. Who may put messages into a mailbox without reading it is not told their UIDs. The right "p", to send mail to a
// mailbox's own address, can be given and taken; it is for delivery, and nothing in IMAP asks for it (RFC 4314 §2.1). No delivery of this
// module does: its addresses lead to INBOX, or where its administrator says.
//
// # Limits
//
//	Server.MaxLineBytes       line of a command             64 KiB; 12.5 KiB before login
//	Server.MaxLiteralBytes    literals of a command         1 MiB, 1,000 of them; 8 KiB before login
//	Server.MaxMessageBytes    message of APPEND             50 MiB, 1,000 messages a command
//	Server.MaxErrors          malformed commands in a row   20
//	Server.MaxJunk            NOOP and the like in a row    100, when faster than one a second
//	Server.MaxNotify          mailboxes with news waiting   10,000; 100 event groups, 1,000 names in them
//	Server.SearchTimeout      work of SEARCH and its kin    2 min
//	Server.SaveLimit          messages of a COPY            none
//	                          mailboxes of an ESEARCH       10,000; 100 specifiers, 1,000 names in them
//	                          parts of a CATENATE           1,000; URLs of 4 KiB
//	                          annotations of a command      100, of 64 KiB, and what the store takes
//	                          searches kept up to date      10; of SORT with 10,000 messages
//	                          levels of nesting             100
//	                          FETCH items, field names      200, 1,000
//	                          octets of selected fields     1 MiB
//	                          search keys                   998; ranges in their sets 10,000, or four times the mailbox's
//	                          octets of LIST patterns       4 KiB
//
// A line that is too long, and a literal whose size makes no sense, end the session: nobody knows what
// follows.
//
// # What is not here yet
//
// A client. URLAUTH (RFC 4467), for which stores would have to keep a key for each mailbox. MESSAGELIMIT (RFC 9738): answers are
// streamed, so that sets need no limit. I18NLEVEL=1 (RFC 5255 §4): texts are compared as i;unicode-casemap does, but with
// ligatures and their like taken apart, and what can not be decoded is read as windows-1252, where RFC 5255 §4.6 wants octets, sorted
// last. Shared annotations of the
// server (mailbox "") are read only: each account has private ones. Search
// texts are UTF-8 (BADCHARSET names the charsets). SUBSCRIBE keeps names that do not exist. \Recent is never set.
package imap

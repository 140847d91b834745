// Package pop3 is a POP3 server over package mailbox.
//
//	server := &pop3.Server{Addr: "127.0.0.1:2110", Store: store, Auth: users}
//	err := server.ListenAndServe()
//
// # What it speaks
//
//	RFC 1939  USER, PASS, STAT, LIST, UIDL, RETR, TOP, DELE, RSET, NOOP, QUIT
//	RFC 2449  CAPA; PIPELINING, EXPIRE, IMPLEMENTATION, RESP-CODES
//	RFC 2595  STLS; RFC 8314: implicit TLS by ServeTLS
//	RFC 3206  AUTH-RESP-CODE: [AUTH], [SYS/TEMP], [SYS/PERM]
//	RFC 5034  AUTH with SASL mechanisms and initial response
//	RFC 6856  UTF8 (names and passwords in UTF-8; messages are sent as they are), LANG (en)
//
// # Sessions
//
// At login the server takes the exclusive lock of the user's INBOX ([IN-USE] if another POP3
// session has it) and a snapshot: message numbers and sizes stay the same until QUIT, whatever
// others do to the folder. DELE only marks. QUIT removes what is marked, all or nothing, and says +OK
// once that is durable; a session that ends in any other way removes nothing.
//
// # States
//
//	AUTHORIZATION  CAPA USER PASS AUTH STLS LANG UTF8 NOOP QUIT
//	TRANSACTION    CAPA STAT LIST UIDL RETR TOP DELE RSET LANG NOOP QUIT
//	UPDATE         entered by QUIT: removes what is marked, then closes
//
// # Limits
//
// A command line has at most 512 octets (RFC 2449 §4 wants 255), 12,288 in an AUTH exchange. Idle clients are
// closed after 10 minutes (RFC 1939 §3). Messages are streamed. The snapshot takes 48 bytes a message.
//
// # What is not here yet
//
// APOP, LOGIN-DELAY, and a client. A stored message with bare CR or LF is sent with CRLF for each, so that it is a
// little longer than the size that LIST gives.
package pop3

// Package smtp receives and sends mail by SMTP (RFC 5321) and its extensions.
//
// # A receiver
//
//	srv := &smtp.Server{Addr: ":2525", Handler: smtp.DeliverTo(deliverer, "example.org")}
//	err := srv.ListenAndServe()
//
// A Server speaks the protocol and keeps its limits; a Handler makes a Session for each client, which judges and takes mail stage by
// stage: Mail, Rcpt, Data. DeliverTo is the Handler for a goniec.Deliverer; Middleware wraps Handlers with policies. What a Session
// does not implement beyond the five core methods has a fall-back, and a wrapper does not hide what it wraps (see As).
//
// The Server adds a Received field to each message, so that every Deliverer gets it, and acknowledges a message only where Data
// returned nil.
//
// # Strictness
//
// Only CRLF ends a line, only CRLF.CRLF ends a message; a bare CR or LF in a message is refused (550 5.6.0) after its true end.
// What follows a command that must be the last of its group (EHLO, DATA, STARTTLS, AUTH, QUIT) ends the connection. After STARTTLS
// everything is forgotten, the Session too.
//
// # Policies
//
// Middleware is put around a Handler by Chain, the first judging first; each can be tried on a recorded session with Try.
//
//	RequireAuth, RequireTLS    530 at MAIL
//	Unless, FromNetworks       a policy for strangers only
//	AccessList                 clients and senders by a file that is read again when it changes
//	RateLimit                  messages in a time, by client and by sender
//	DNSBL, ReverseDNS          block lists; the client's confirmed name
//	HeloRules                  names that no honest client gives
//	Greylist                   a first try is deferred; remembered in memory or in a file
//	Tarpit                     refusals that take their time
//	NullSender, SenderLogin    who may send from <>, and from whose address
//	OneDomain                  one destination for each transaction
//	Offer, FutureRelease       extensions whose promises what stands behind keeps; how long mail may be held
//
// The right to relay is Receiver's: authenticated clients have it, trusted networks where listed, peers with a certificate of one's own
// authority through Certificates.
//
// Proxies, filters and relays that pass on other people's connections are believed only where listed: Server.ProxyFrom (PROXY protocol),
// Server.XClientFrom (XCLIENT and XFORWARD).
//
// # Replies
//
// An error that a Session returns is the reply. One that is no *goniec.Status is temporary: 451 4.3.0 with an id that is in the log
// beside the error's text, which never leaves. A panic is contained and counts as such an error. One reply must speak for all recipients
// of a message: if all failed it is the mildest failure; if some did, it is 250 where Server.Bounce took those, and else 451, so that
// nothing is lost though some get the message twice.
//
// # A sender
//
//	relay := &smtp.Relay{Router: smtp.Smarthost(host), Pool: &smtp.Pool{Dialer: &smtp.Dialer{Auth: mechanisms}}}
//	err := relay.Deliver(ctx, env, msg) // goniec.RcptErrors: one outcome for each recipient
//
// A Dialer says how connections are made and makes Clients; Client.Send sends one message; a Pool keeps connections; a Relay is a
// goniec.Deliverer over a Router, which says where mail for a domain goes. The client picks what the server offers: PIPELINING,
// CHUNKING, a small message in one flight with its envelope. It checks every string before it writes anything, and refuses or converts
// (Dialer.Convert) what the server can not take: 5.6.0 bare line ends, 5.6.3 8-bit and binary text, 5.6.7 and 5.6.9
// internationalised addresses and headers. Errors are *StageError: who said what at which stage, temporary or permanent,
// and whether the outcome is ambiguous because the whole message was sent and no reply came.
//
// TLS is as the host's level says: Dial means verified; DialHost and Relay take the level from the RouteHost. Passwords go over
// TLS only, with a verified certificate unless the level is TLSRequired; no weaker mechanism is tried when one fails.
//
// The client's time limits are Timeouts, those of RFC 5321 §4.5.3.2. Fixed are: a reply of 512 lines and 64 KiB, 16 rounds of AUTH, 16
// addresses of a host, 100 commands in a flight. Not done: NO-SOLICITING, the header field TLS-Required of RFC 8689, several BDAT
// chunks for one message; recipients with RRVS are refused (5.7.19) where the server does not offer it.
//
// # Sources
//
//	RFC 5321   SMTP                        RFC 1870   SIZE
//	RFC 2920   PIPELINING                  RFC 6152   8BITMIME
//	RFC 2034   ENHANCEDSTATUSCODES         RFC 3463   enhanced codes
//	RFC 3207   STARTTLS                    RFC 8314   implicit TLS
//	RFC 4954   AUTH                        RFC 6531   SMTPUTF8
//	RFC 3030   CHUNKING, BINARYMIME        RFC 3461   DSN
//	RFC 9422   LIMITS                      RFC 3848   protocol names in Received
//	RFC 8689   REQUIRETLS                  RFC 2852   DELIVERBY
//	RFC 4865   FUTURERELEASE               RFC 6710   MT-PRIORITY
//	RFC 7293   RRVS
//
// The extensions from BINARYMIME, DSN and REQUIRETLS on make promises that only what stands behind the server can keep: they are offered when
// the Session or the Deliverer says so (see Extender).
//
// # Limits of the server
//
// Each is a field of Server with a safe default; zero means the default, negative no limit. Fixed are: 4096 octets for a command line
// (12,288 in AUTH), 1 MiB of a line that is skipped, 32 parameters, the lengths of RFC 5321 §4.5.3.1 for addresses and names. Of a
// message that nobody wants 64 MiB, or MaxMessageBytes if that is more, are read on in search of its end. When four of five connections of
// MaxConns are taken, clients have 10 s for a command, and one error.
//
// Not here: ETRN, EXPN (502), PRDR, BURL, and source routes, which are accepted and dropped (RFC 5321 appendix C). A Handler that ignores its
// context can not be ended; its connection stays until it returns. TLS client certificates are verified by Certificates and EXTERNAL, not by the
// server itself unless TLSConfig says so.
package smtp

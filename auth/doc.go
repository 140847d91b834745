// Package auth answers one question for every mail protocol: who is this? It holds the SASL
// mechanisms of both sides, the Authenticator behind them, and what guards it.
//
// # A server
//
// An application adds its own user table by writing one method, Authenticate. A protocol server
// (smtp, pop3, imap) takes an Authenticator and a list of ServerMechanism values, fills a Conn with
// the facts of each connection, and then
//
//   - advertises Offer(mechanisms, conn, table): what the connection (TLS, client certificate) and
//     the table (stored SCRAM keys, tokens) permit. PLAIN and LOGIN are never offered or taken in
//     clear text, except on loopback where AllowInsecureAuth is set;
//   - answers AUTH with Begin, which asks no table before all that is clear, and Run, which does
//     base64, "=", "*" and the limits;
//   - answers password commands (USER and PASS, LOGIN) with PasswordLogin;
//   - gives StatusOf(err) as its reply.
//
// A wrong password, an unknown user, a disabled account and a refused authorisation identity are
// the same error, ErrCredentials. Trouble of a back end is ErrUnavailable (454 4.7.0): it is not a
// wrong password, and no guard counts it.
//
// # A client
//
// Choose picks the strongest mechanism that both sides have; there is no falling back to a weaker
// one when it fails. Start gives the initial response (EncodeInitial, or Delay where it can not go
// with the command), Answer answers challenges, and when the server reports success Done tells
// whether to believe it. PLAIN and LOGIN refuse to run without TLS unless AllowInsecureAuth is set.
//
// # After login
//
// Identity.Account is the name to open. What a table knows beyond the password (home, quota, mail
// location) comes as Identity.Attributes under the names of Dovecot's userdb; a server whose
// mailboxes are known to a delivery Directory needs none of it and asks the Directory with the name.
//
// # Mechanisms
//
//	PLAIN        RFC 4616          Plain, PlainClient
//	LOGIN        no standard       Login, LoginClient
//	OAUTHBEARER  RFC 7628          OAuthBearer, OAuthBearerClient
//	XOAUTH2      no standard       XOAuth2, XOAuth2Client
//	EXTERNAL     RFC 4422 app. A   External, ExternalClient
//	ANONYMOUS    RFC 4505          Anonymous, AnonymousClient    in no list by default
//	CRAM-MD5     RFC 2195          CRAMMD5, CRAMMD5Client        in no list by default
//	APOP         RFC 1939 §7       APOP, APOPDigest              for servers of your own: package pop3 has no APOP yet
//	SCRAM-*      RFC 5802, 7677    package auth/scram
//
// DIGEST-MD5 is refused on purpose: RFC 6331 moved it to historic (ambiguous, MD5, no channel
// binding, needs clear or equivalent passwords); use SCRAM.
//
// # Limits
//
// A user name or authorisation identity has at most MaxUser octets, is UTF-8 and has no control
// characters; a password at most MaxPassword octets; a line at most MaxLine.
package auth

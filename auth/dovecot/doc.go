// Package dovecot speaks the authentication protocol of Dovecot (version 1.1 and 1.2), on both sides.
//
//   - Client is an auth.Authenticator that asks an existing Dovecot over its auth-client socket, so
//     that PAM, LDAP, SQL and whatever else is configured there work without cgo and without a driver.
//     Its Mechanisms relay whole SASL exchanges, so that SCRAM works with the keys that Dovecot holds.
//   - Server offers our users to everybody who can ask a Dovecot: Postfix
//     (smtpd_sasl_type = dovecot, smtpd_sasl_path = the socket), Exim, chasquid.
//
// The socket is the trust boundary: who may connect may guess passwords and, in what it says about its
// own clients (address, TLS), is believed. Give it to the mail server's user only.
//
// # What is not there
//
// Master requests (REQUEST, and with it Dovecot's own login processes as clients of Server), APOP, the
// mechanisms EXTERNAL and the -PLUS forms of SCRAM over the socket (it does not carry the certificate or
// the channel binding), and the authentication cache's commands. User look-ups (USER) are there for
// Client.UserDB; Server does not answer them.
//
// # Limits
//
// Lines have at most 16,384 octets, as the protocol's description expects. Client keeps up to Idle
// connections open and opens more as needed, up to MaxConns; more attempts wait with their context. Server takes MaxConns
// connections and on each MaxRequests exchanges at once.
//
// Source: Dovecot's "Dovecot Authentication Protocol".
package dovecot

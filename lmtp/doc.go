// Package lmtp takes and sends mail by LMTP (RFC 2033): SMTP's grammar for the last step, from a queue into mailboxes, with one reply for
// each recipient after the message, so that the sender tries again only what failed. It is SMTP's engine in another dialect: see
// package smtp for Handlers, Sessions, middleware, limits and extensions.
//
//	srv := &lmtp.Server{Addr: "unix:/run/mail/lmtp.sock", Handler: smtp.DeliverTo(deliverer, "example.org")}
//	err := srv.ListenAndServe()
//
// LMTP must not run on port 25 (RFC 2033 §5), and has no business on the open network: without AUTH anybody who reaches it may
// deliver to local users. The default address is a loopback one.
//
// Dial makes a Client, whose Send gives each recipient the reply for him; Dialect makes smtp.Pool and smtp.Relay speak LMTP.
//
// Sources: RFC 2033 (LMTP), RFC 5321 and what package smtp names.
package lmtp

// Package scram is the SCRAM family of SASL mechanisms for package auth: both sides prove that they
// know the password, which never crosses the wire, and the server stores keys that are no use for
// logging in.
//
//	SCRAM-SHA-1, SCRAM-SHA-1-PLUS         RFC 5802
//	SCRAM-SHA-256, SCRAM-SHA-256-PLUS     RFC 7677
//	SCRAM-SHA-512, SCRAM-SHA-512-PLUS     draft-melnikov-scram-sha-512
//	channel binding                       RFC 9266 (tls-exporter), RFC 5929 (tls-server-end-point, tls-unique)
//
// A Mechanism is the server's value; Client the client's. The -PLUS forms bind the login to the TLS
// connection it runs on: somebody in the middle with a certificate that the client accepts still can
// not pass it on. A server offers them where the connection has something to bind to: tls-exporter
// on TLS 1.3 and on TLS 1.2 with extended master secret, tls-unique on TLS 1.2, and
// tls-server-end-point where auth.Conn.Certificate is set.
//
// If a list of mechanisms was altered on the way so that the -PLUS forms are missing, both sides
// notice (RFC 5802 §6: the flag "y").
//
// # Server
//
// The user table implements auth.SCRAMKeyer; passwd.File does. Users who are unknown get made-up
// keys and fail at the end, with the same error as after a wrong password.
//
// # Client
//
// A server may ask for 4,096 to 600,000 iterations (Client.MinIterations, MaxIterations), no fewer,
// since that would help it to guess the password, and no more, since that would keep the client busy. Names and
// passwords are prepared with SASLprep; those that have no prepared form (emoji, for one) go as they are.
package scram

// Package control puts hands on a running queue: a unix socket that serves listing, inspection, changes
// and submission, and its client. Server and command line thus work on one queue without fear; when no
// server runs, the command line opens the store itself: *Client and *queue.Queue have the same methods
// (Hands).
//
// Who may do what is decided by the uid of the peer, which the kernel tells: everybody who can open the
// socket may submit; all else is for root, the server's own user and Server.Admins. ID, Origin and idempotency keys of a submission
// are the server's and the user's own: nobody can pass for another or stand in the way of his mail.
//
// # Protocol
//
// One request for each connection. The client sends one line, a JSON object (request); for a submission the
// message follows in frames (length as four octets, data; an empty one is the end, so that half a message is never taken
// for a whole one). The server sends lines, JSON objects (response): entries
// of a listing one by one, the body of a message in pieces; the last has "done" or "error". The
// format may change between versions: both ends come with one program.
//
// # Limits
//
// A request has 32 MiB, 4 MiB from those who may only submit (some 30,000 recipients). 64 connections are served at a time, 16 of one
// such user and 48 of all of them. A peer has a minute for each read and write. Where the kernel does not tell who the peer is (Windows, and systems other than Linux, macOS and FreeBSD), every
// request is refused.
package control

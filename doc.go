// Package goniec is the shared vocabulary of a mail system: addresses, envelopes, replies, routes
// and the Deliverer, the one interface through which mail in motion goes.
//
// A mail server is a handful of Deliverers plugged together: a queue, an SMTP client, delivery into
// mailboxes, an alias expander, a filter are each a Deliverer or a func(Deliverer) Deliverer, as
// http.Handler is to the web. Protocol servers (packages smtp, lmtp) hand mail to a Deliverer;
// mail at rest has its own seam in package mailbox.
//
//   - Address is an RFC 5321 mailbox. It can not hold CR, LF or NUL, and String always gives a form
//     that parses back to the same Address.
//   - Envelope is what SMTP carries beside the message: who sent it, to whom, with which promises,
//     and where it came from (Origin). It serialises with AppendEnvelope and ParseEnvelope.
//   - Status is a reply with a private cause: what the peer may see, and what only the log may.
//     Temporary and Permanent classify every error; an unknown error is temporary.
//   - RcptErrors is one outcome per recipient.
//   - Content is a message that can be read again: ReaderAt and Size. Spool makes one of a reader,
//     Prepend puts header fields in front without copying.
//   - Route says where mail for a domain goes, and why.
//
// Sources: RFC 5321 (SMTP), RFC 5322 (message format), RFC 3463 (status codes), RFC 3461 (DSN
// parameters), RFC 6531 (internationalised mail).
package goniec

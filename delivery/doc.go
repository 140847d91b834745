// Package delivery decides where mail goes: it asks a Directory who exists, follows aliases, puts
// mail into the mailboxes of a mailbox.Store and hands the rest to another Deliverer.
//
//	router := &delivery.Router{Directory: dir, Store: store}
//	server := &smtp.Server{Handler: smtp.DeliverTo(router)}
//
// # Concepts
//
//   - Directory: two questions, "is this domain ours?" and "who is this address?". Table answers
//     from memory, Files from a passwd-file and an aliases file; package delivery/directorytest
//     proves others.
//   - Class: what we are to a domain, in the manner of Postfix's address classes.
//   - Router: a Deliverer and RcptVerifier. At RCPT it answers 550 5.1.1 for unknown users and 550
//     5.7.1 for foreign domains; on delivery it writes Return-Path and Delivered-To (RFC 5321 §4.4)
//     and gives one outcome for each recipient.
//   - SenderOwners: whose address a sender's is, for the submission rule that users send as themselves.
//   - Explain: every hop of an address as a value, without side effect.
//
// # Loops
//
// An alias that leads back to itself, or to more than 1,000 addresses, is refused with 554 5.4.6,
// at RCPT. A message whose header names the recipient in a Delivered-To field came by before: 554
// 5.4.6. The field is written for envelopes with one local recipient (see DeliveredTo); loops with
// several are caught by the count of Received fields in package smtp.
//
// # Outcomes
//
// A full mailbox is 452 4.2.2, a full disk 452 4.3.1, trouble of the Directory or the store 451.
// A recipient that expands to several places is done when one took the message and none asks to try again.
//
// # What is not here yet
//
// .forward files, pipes to programs, address rewriting, and of the submission rules of RFC 6409 those about the header.
package delivery

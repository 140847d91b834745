// Package queue is a durable mail queue: a goniec.Deliverer that stores each message before it
// returns, and hands it to another Deliverer until every recipient has an outcome.
//
//	store, err := queue.OpenFiles("/var/spool/goniec", queue.FileOptions{})
//	q := &queue.Queue{Store: store, Deliverer: relay, Hostname: "mx.example.net"}
//	go q.Run(ctx)
//	err = q.Deliver(ctx, env, msg) // nil: durable
//
// The Queue knows nothing of SMTP or DNS. It asks Route for the destination of each recipient, and
// hands recipients of one destination over together; connection reuse is the Deliverer's affair.
//
// # States
//
// A message has a job for each group of at most MaxRcpts recipients with one destination. Jobs are
// in one of five states; a job whose recipients all have outcomes is gone, and a message without
// jobs is gone.
//
//	state      meaning                           leaves by                     guarantee when it has come there
//	incoming   stored, not tried yet             claim → active                message durable: Deliver returns nil only then
//	active     leased to a worker                settle → gone, deferred,      attempt on record (it survives the process, not a power cut)
//	                                             hold; lease ends → as before
//	deferred   tried, open recipients left       claim → active                outcomes, replies and next attempt durable
//	hold       waits for people                  release → as before           durable
//	corrupt    damaged on disk, or the process   release, delete               durable; named in the log; the octets stay on disk
//	           died MaxDeaths times at it                                      or go to the folder quarantine
//	(gone)     every recipient has an outcome    -                             outcomes and the reports about them are one durable commit
//
// Between the Deliverer's success and its record lies the one window in which a crash causes a
// duplicate. Nothing is lost in any crash, provided the disk honours flush. Without a crash every message
// is handed over with success exactly once.
//
// # What the Deliverer's result means
//
// nil is delivered; an error for which goniec.Permanent is true is failed; every other error is
// deferred, a panic too. One error for all, without a reply (no *goniec.Status in its chain), or
// with 421, X.4.Y or X.3.Y, speaks of the destination: its window shrinks, and after a window
// full of them in a row it is dead and gets one probe after each back-off. Other replies show
// that it lives. An error with a method RemoteMTA() string names the server in reports; a method
// RemoteReply() *goniec.Status that returns nil tells that the server did not say so itself. ReportSuccess tells relayed from delivered. When the context ends the result does not count.
//
// # Scheduling
//
// Each destination has a window of concurrent deliveries that starts at Window, grows by one for a
// window of successes and is halved by a failure; Limits gives single destinations other bounds. Destinations with
// due mail take turns. Messages of more than ten jobs are mailings: at each destination, and among destinations,
// single mails and mailings take turns, and a fifth of all places is left to single mails, so neither waits
// for all of the other. Within that the oldest goes first; each step of MT-PRIORITY is worth five minutes of age.
//
// A message whose DELIVERBY has passed goes back to its sender within a minute or so (mode R), or goes on and its sender is told of
// the delay (mode N), whether its destination answers or not. In mode N the sender is also told when a server took it that does not know
// DELIVERBY, and with a trace at each server, if the Deliverer says so by ReportSuccess.
//
// A back-off counts from the end of the attempt before it.
//
// Intervals are measured by the monotonic clock: a jump of the wall clock changes nothing while the
// process runs. The file store keeps the latest time it has seen, so a clock that went back
// during a restart does not make mail younger. Nothing expires without a failed attempt, or a destination
// found dead, in the life of this process.
//
// # Reports
//
// Failures, delays (once, after DelayAfter) and, where asked for, successes are reported as RFC 3461 says, in
// the form of RFC 3464 and 6533; never to the null sender. The ID of a report depends on what it reports,
// and it is stored in one commit with the outcome: a replay makes no second one. A private error
// text stays in the log and the listing; reports show replies only.
//
// # The file store
//
// OpenFiles keeps a log of segments (see the comments in segment.go) with group commit, and bodies above
// 128 KiB in files of their own; memory holds about 60 octets for a message with one recipient. Damage is
// passed over, copied to the folder quarantine, and named. A log never trusts a file after a failed flush.
// One process owns the files; another gets an *OwnedError.
//
// # History
//
// With a History the Queue keeps its events, and Past tells what happened to a message that is gone. FileHistory holds
// them in files, bounded by age and size. It is written within a second and not flushed: the Store alone is durable.
//
// # Processor and memory
//
// A goroutine that waits for a disk keeps its place among GOMAXPROCS until the runtime notices. On one or two
// cores a GOMAXPROCS of 4 makes delivery into mailboxes faster by 40 %. The heap of a queue is small, so the garbage
// collector runs often; GOGC=400 makes it faster by 4 to 12 % for 20 MiB more. A million queued messages take some
// 75 MiB beside that: set GOMEMLIMIT to what the machine can spare, not below twice the need. Mail in transit takes its
// size while it is accepted, 128 KiB at the most, and 256 KiB with its record.
//
// # RFCs
//
//	3461  DSN parameters: NOTIFY, RET, ENVID, ORCPT      3464  form of reports
//	3463  status codes                                   6533  internationalised reports
//	3834  Auto-Submitted                                 4865  FUTURERELEASE (HoldUntil)
//	2852  DELIVERBY                                      6710  MT-PRIORITY (an offset in age)
//	5321  §4.5.4.1 retry, §4.5.5 null reverse-path
//
// # Limits
//
//   - A record holds an envelope of any size; a segment grows for it.
//   - Where there is no flock (Windows, Solaris, AIX), nothing stops a second process.
//   - Two jobs of one message make two reports when they fail at different times.
//   - The last record of a log can not be told from a torn one when it is damaged: it is
//     copied to quarantine, and its message is not queued.
//   - A process that is killed, not crashed, again and again may set an innocent message aside that was under way
//     each time: it is held and named, and Release tries it again.
//   - After a long halt of the machine (suspend) retries come late by as much: intervals are monotonic.
//   - There are no rates by size.
//   - A destination is forgotten between single mails: failures that are far apart make none dead, each mail has its own back-off.
//   - FlushDest lets mail with a HoldUntil wait; Flush by ID sends it.
//   - A message that is claimed soon after it was stored is not checked again: damage that the disk does in between is
//     not noticed.
//   - An I/O error while the log is read makes OpenFiles fail: an unreadable disk is no damage.
//   - Not here: adoption of other queues' spools, stores shared over a network.
package queue

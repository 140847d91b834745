// Package smtptest has a mail server for the tests of programs that send mail, in the manner of net/http/httptest: it listens on a
// free port of loopback, keeps the messages it gets, fails on request, and ends with the test.
//
//	srv := smtptest.NewServer(t)
//	sendNewsletter(srv.Addr())               // what is tested
//	got := srv.Wait(2)                       // the first two messages
//	srv.FailNext(smtp.StageRcpt, goniec.NewStatus(450, goniec.EnhancedCode{4, 2, 1}, "later"))
//
// It is the server of package smtp, so that it is as strict as a real one, with every recipient accepted. If the test fails, the
// dialogue of all connections is in its log.
//
// # Faults
//
// FailNext, StallNext and DropNext each ask for one fault at a stage; several at one stage happen one after the other, one for
// each time that the stage is reached. Stages are those of smtp.StageError. At StageBanner the code is 421 or 554 (RFC 5321 §3.1). At StageTLS a failure is a failed handshake; at
// StageText it comes after the whole message was read, so that a drop there is what a client must call ambiguous.
//
// # Limits
//
// The transcript keeps 10,000 lines, messages stay in memory, a stall ends with the test at the latest.
package smtptest

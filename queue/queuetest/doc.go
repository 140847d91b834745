// Package queuetest is the public test suite for queue.Store, in the manner of testing/fstest.
//
//   - TestStore checks what the interface promises; stores that cannot keep mail over a restart
//     leave Reopen nil.
//   - TestCrash runs every operation over a file system that forgets what was not flushed, and opens
//     the store in every state that a power cut may leave (faultfs.EachCrash).
//   - TestFaults makes each call of the file system fail in turn (faultfs.EachFault).
//   - BenchmarkStore measures durable Puts beside a bare loop of append and fdatasync.
//
// Limits: TestCrash and TestFaults are for stores on a faultfs.FS; others bring their own.
package queuetest

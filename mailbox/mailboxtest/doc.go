// Package mailboxtest proves that a mailbox.Store keeps the promises of its interfaces. A store
// proves itself in three lines:
//
//	func TestConformance(t *testing.T) {
//		mailboxtest.TestStore(t, func(t *testing.T) mailbox.Store { return mystore.Open(t.TempDir()) })
//	}
//
// TestStore covers the core interfaces, then each optional interface that the store has, then the
// package functions of mailbox over it, with and without its optional interfaces, and wrappers. A
// Suite has the settings for stores that can not do everything: read-only ones, for example.
package mailboxtest

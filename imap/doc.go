// Package imap serves IMAP4rev2 and IMAP4rev1 over any mailbox.Store.
package imap

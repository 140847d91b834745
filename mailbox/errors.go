package mailbox

import "errors"

// Errors of stores. They stand in the chain of what a method returns; test them with errors.Is.
// Any other error is a temporary failure. Absent and forbidden look the same to users: a store or
// wrapper that refuses access answers ErrNotFound where the user may not know of the folder, and
// ErrForbidden where it may.
var (
	ErrNotFound     = errors.New("no such mailbox")
	ErrExists       = errors.New("mailbox exists")
	ErrCannot       = errors.New("operation is not possible on this mailbox") // IMAP: NO [CANNOT]
	ErrName         = errors.New("mailbox name can not be used")              // IMAP: NO [CANNOT]
	ErrReadOnly     = errors.New("mailbox is read-only")
	ErrForbidden    = errors.New("permission denied") // IMAP: NO [NOPERM]
	ErrKeyword      = errors.New("keyword can not be used")
	ErrKeywordLimit = errors.New("mailbox can not take another keyword")
	ErrOverQuota    = errors.New("quota exceeded")
	ErrTooLarge     = errors.New("message is too large for the store")
	ErrGone         = errors.New("message was expunged") // IMAP: NO [EXPUNGEISSUED]
	ErrInUse        = errors.New("mailbox is locked by another session")
	ErrUIDRange     = errors.New("mailbox has used up its UIDs")

	// ErrUIDValidity: UIDs were given that do not mean what they meant, as the folder got another UIDVALIDITY, or its name
	// another folder. Nothing was done. View.Poll answers it when every UID and number that the client knows is void:
	// RFC 9051 has no way to say so in a session but to end it.
	ErrUIDValidity = errors.New("UIDVALIDITY of the mailbox changed")
)

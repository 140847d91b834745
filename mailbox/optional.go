package mailbox

import (
	"context"
	"io"
	"iter"
)

// Optional interfaces of a Mailbox. Callers use the package function of the same purpose, which
// falls back where the store has none.

// MultiAppender appends several messages: all or none (RFC 3502). The package function AppendAll
// falls back to Append and takes the first ones back when a later one fails.
type MultiAppender interface {
	AppendAll(ctx context.Context, msgs iter.Seq2[NewMessage, error]) ([]Meta, error)
}

// UIDAppender appends a message under a UID that it had elsewhere, for conversions. There is no
// fall-back but Append, which gives a new one.
type UIDAppender interface {
	// AppendUID gives the message uid, under the UIDVALIDITY of the folder it comes from. The error is ErrCannot, and
	// nothing is stored, when the folder has another UIDVALIDITY and messages, another folder of the account has it, or
	// uid is below UIDNEXT.
	AppendUID(ctx context.Context, validity uint32, uid UID, msg io.Reader, o AppendOptions) (Meta, error)
}

// NewMessage is one message for AppendAll. Msg is read before the sequence is asked for the next.
type NewMessage struct {
	Msg     io.Reader
	Options AppendOptions
}

// Lister tells of some messages without going through all.
type Lister interface {
	// List is Changes(ctx, 0) with the messages of uids alone.
	List(ctx context.Context, uids UIDSet) (*Changes, error)
}

// Derived keeps opaque bytes that were computed from a message's immutable content, so that they
// need not be computed again: wire-ready ENVELOPE and BODYSTRUCTURE above all. They are a cache: a
// store may drop them at any time. kind names and versions the computation ("imap.envelope/1").
type Derived interface {
	// Derived yields what is kept of kind for the UIDs of uids, ascending, passing over the
	// others. The bytes are valid until the next step and must not be changed.
	Derived(ctx context.Context, kind string, uids UIDSet) iter.Seq2[UID, []byte]
	// SetDerived keeps the bytes of some messages. It need not be durable, and an error may be ignored.
	SetDerived(ctx context.Context, kind string, values iter.Seq2[UID, []byte]) error
}

// Watcher tells when a folder may have changed.
type Watcher interface {
	// Watch calls notify soon after each change, by whomever it was made, until ctx ends; several
	// changes may give one call. notify must not block and must not call the store. Watch itself
	// returns at once. The caller then asks Changes.
	Watch(ctx context.Context, notify func()) error
}

// Locker gives POP3's exclusive lock (RFC 1939 §4): it excludes other Locks of the same folder, not
// other work.
type Locker interface {
	// Lock returns ErrInUse when another session has the lock. unlock may be called more than once.
	Lock(ctx context.Context) (unlock func(), err error)
}

// Identified gives each message an identity for POP3's UIDL (RFC 1939 §7): 1 to 70 characters from
// 0x21 to 0x7E, the same in every session and unique in the folder. The fall-back makes one of
// UIDVALIDITY and UID.
type Identified interface {
	// UniqueIDs yields the identities of uids, ascending, passing over UIDs without message. The
	// error comes before anything is yielded: a client that misses an identity loads the message
	// again, so that a part of them must not look like all.
	UniqueIDs(ctx context.Context, uids UIDSet) (iter.Seq2[UID, string], error)
}

// Metadata keeps annotations (RFC 5464): entry names begin with /private/ or /shared/. A Mailbox that has it keeps
// those of the folder, which go with it when it is renamed; an Account that has it keeps annotations of the account
// as a whole, which IMAP shows under the mailbox name "".
type Metadata interface {
	Annotations(ctx context.Context) (map[string][]byte, error)
	// SetAnnotation sets an entry, durably; a nil value removes it, an empty one is a value. ErrOverQuota
	// beyond what the store keeps.
	SetAnnotation(ctx context.Context, entry string, value []byte) error
}

// Optional interfaces of an Account. Destinations are named, so that a wrapper around the account is
// asked for them too.

// Copier copies messages inside an account without reading them through.
type Copier interface {
	// Copy copies uids of one folder into another, all or none, with flags, keywords and dates.
	// validity is the UIDVALIDITY that the UIDs belong to: where the folder under the name has another one, for it was
	// replaced or renamed meanwhile, nothing is copied and the error is ErrUIDValidity. 0 means whatever it has.
	// UIDs without message are passed over. Keywords beyond what the destination can take are left
	// out: mail must not be stuck for a label. ErrNotFound when either folder lacks.
	Copy(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error)
}

// Mover moves messages inside an account (RFC 6851): each is in one of the two folders at any
// time, also after a crash, or for a moment in both; never in none.
type Mover interface {
	// Move takes what Copier.Copy takes, and answers its errors.
	Move(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error)
}

// CopyResult is the answer of Copy and Move, what COPYUID says (RFC 4315): UIDs[i] of the source
// became UIDs[i] of the destination.
type CopyResult struct {
	UIDValidity uint32 // of the destination
	Source      []UID
	Dest        []UID
}

// Subscriber keeps the list of subscribed names; they need not exist.
type Subscriber interface {
	Subscribed(ctx context.Context) ([]string, error)
	Subscribe(ctx context.Context, name string, on bool) error
}

// QuotaKeeper knows the limits of an account (RFC 9208).
type QuotaKeeper interface {
	Quota(ctx context.Context) (QuotaUse, error)
	// SetQuota changes the limits; 0 removes one.
	SetQuota(ctx context.Context, octets, messages int64) error
}

// QuotaUse is what is used, and the limits; a limit of 0 is none.
type QuotaUse struct {
	Octets, OctetLimit     int64
	Messages, MessageLimit int64
}

// SpecialUser changes a folder's special use after its creation ("" removes it).
type SpecialUser interface {
	SetSpecialUse(ctx context.Context, name string, use SpecialUse) error
}

// AccountWatcher tells which folders may have changed, been made, renamed or deleted: the source of
// NOTIFY (RFC 5465).
type AccountWatcher interface {
	// WatchAccount calls notify with a folder's name when its messages or annotations may have changed, and with
	// "" when the list of folders, their special uses, the subscriptions or the account's annotations may have,
	// until ctx ends. A name may be told although nothing changed, or be that of a folder that is gone. The
	// rules of Watcher.Watch hold. A store of many folders or with many who watch shares what it needs for that.
	WatchAccount(ctx context.Context, notify func(name string)) error
}

// Optional interface of a Store.

// MultiDeliverer delivers one message into many folders with one write: the others are links where
// the store can. It assigns no UIDs; the next open does.
type MultiDeliverer interface {
	// DeliverAll returns one error, nil or not, for each target: nil is durable. msg is read once, in
	// network form.
	DeliverAll(ctx context.Context, to []Target, msg io.Reader, o AppendOptions) []error
}

// Target is where DeliverAll puts a message.
type Target struct {
	User string
	Name string // folder; "" = INBOX. A folder that does not exist is ErrNotFound.
}

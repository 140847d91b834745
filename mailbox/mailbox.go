package mailbox

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/goniec-mail/goniec"
)

// Store holds the mail of all users. It must be safe for concurrent use.
type Store interface {
	// Account opens one user's folders. user is the canonical name that authentication or the
	// directory gave, an opaque value: a store never lets it escape into a path or a query. A
	// store may create the account at its first use; where it can not, the error is ErrNotFound.
	Account(ctx context.Context, user string) (Account, error)
}

// Account is one user's folders. It must be safe for concurrent use. Folder names are UTF-8, with
// "/" between the levels of the hierarchy; "INBOX" is spelled so (see CanonicalName), always
// exists, and is where mail arrives. A store that can not hold a name answers ErrName.
type Account interface {
	// Mailboxes yields all folders in any order, INBOX included, each name once. Parents that do
	// not exist themselves are not yielded. An error ends the sequence.
	Mailboxes(ctx context.Context) iter.Seq2[Info, error]
	// Open gives a handle on a folder; ErrNotFound when there is none. Handles are cheap: those on
	// one folder share what the store knows of it. A handle on a folder that is deleted or renamed
	// meanwhile answers ErrNotFound from then on, or stays usable for reading.
	Open(ctx context.Context, name string) (Mailbox, error)
	// Create makes a folder, and parents that lack if the store needs them; ErrExists when it is there.
	Create(ctx context.Context, name string, opts CreateOptions) error
	// Delete removes a folder with all its messages, not its children. INBOX can not be deleted
	// (ErrCannot). A folder made again under the name gets a higher UIDVALIDITY. No two folders of an account have the
	// same one: by it Copy and Move know a folder that got another's name.
	Delete(ctx context.Context, name string) error
	// Rename renames a folder and its children, in one step as far as the store can; UIDs and
	// UIDVALIDITY stay. ErrExists when the new name is taken. INBOX can not be renamed by this
	// method (ErrCannot): the package function Rename gives it IMAP's meaning.
	Rename(ctx context.Context, from, to string) error
	Close() error
}

// Mailbox is a handle on one folder. It must be safe for concurrent use; a change made through one
// handle shows in the next Changes of every other.
//
// Durability: when Append, SetFlags or Expunge returns nil, the effect survives a process kill and
// a power loss. When it returns an error, the effect is whole or absent, never half. When the process
// dies before it returns, that holds for each message by itself: of several, some may be changed.
// A context that ends makes a call return its cause; nothing is half done.
//
// UIDs that a handle is given mean what they meant in its last Changes: where the folder has got another UIDVALIDITY since,
// or another program has put another folder into its place, Read, SetFlags and Expunge answer ErrUIDValidity, or
// ErrNotFound, until Changes is asked again.
type Mailbox interface {
	// Changes gives one consistent snapshot: the folder's State, the messages whose mod-sequence
	// is above since, and the UIDs expunged after since. Changes(ctx, 0) lists the folder;
	// Changes(ctx, Latest) asks for the State alone and reads no message. It notices what other
	// programs did to the folder. A store answers it from an index: no message is opened.
	Changes(ctx context.Context, since ModSeq) (*Changes, error)
	// Read yields the messages of uids in ascending order with their content; UIDs without
	// message are passed over. A Message and its Content are valid until the next step. An error
	// beside a Message with a UID concerns that one message, and the sequence goes on (ErrGone:
	// it was expunged meanwhile); an error beside a Message without UID ends it.
	Read(ctx context.Context, uids UIDSet) iter.Seq2[Message, error]
	// Append stores a message, durably. msg is in network form; it is stored so that reading
	// gives back the same octets. The Meta has its new UID. msg may be slow, and may itself read from this store (Copy,
	// IMAP's CATENATE): nothing is locked while it is read.
	Append(ctx context.Context, msg io.Reader, o AppendOptions) (Meta, error)
	// SetFlags changes the flags of uids. Each message whose flags change gets a new
	// mod-sequence; the others keep theirs. UIDs without message are passed over.
	SetFlags(ctx context.Context, uids UIDSet, c FlagChange) (FlagResult, error)
	// Expunge removes the messages of uids, whether they have \Deleted or not: all or none of
	// them. It returns those that were there.
	Expunge(ctx context.Context, uids UIDSet) (UIDSet, error)
	// Close frees the handle.
	Close() error
}

// Info describes a folder in a listing.
type Info struct {
	Name       string     // full name, "/" between levels
	NoSelect   bool       // it can not be opened; it only has children
	SpecialUse SpecialUse // RFC 6154 use; "" = none
	ID         string     // identity that survives a rename (RFC 8474 MAILBOXID); "" = the store has none
}

// SpecialUse is a special-use attribute (RFC 6154, RFC 8457): "\Sent", "\Drafts", …
type SpecialUse string

// The special uses of RFC 6154 and RFC 8457.
const (
	UseAll       SpecialUse = `\All`
	UseArchive   SpecialUse = `\Archive`
	UseDrafts    SpecialUse = `\Drafts`
	UseFlagged   SpecialUse = `\Flagged`
	UseImportant SpecialUse = `\Important`
	UseJunk      SpecialUse = `\Junk`
	UseSent      SpecialUse = `\Sent`
	UseTrash     SpecialUse = `\Trash`
)

// CreateOptions are wishes for a new folder. The zero value has none.
type CreateOptions struct {
	SpecialUse SpecialUse // ErrCannot when the store does not keep it, or another folder has it
}

// State describes a folder at one moment.
type State struct {
	UIDValidity uint32 // never 0; no other folder's of the account; rises when UIDs can not be kept (RFC 9051 §2.3.1.1)
	UIDNext     UID    // above every UID ever given under this UIDVALIDITY
	ModSeq      ModSeq // HIGHESTMODSEQ (RFC 7162): at least 1, rises with every change

	// Horizon is the mod-sequence since which expunges are known. Changes since an earlier one
	// leave Expunged empty, and what is missing must be found by comparing UIDs.
	Horizon ModSeq

	Messages int   // how many messages there are
	Unseen   int   // how many lack \Seen; -1 = not counted (see Count)
	Deleted  int   // how many have \Deleted; -1 = not counted
	Size     int64 // sum of their sizes in octets; -1 = not known without reading

	// Keywords gives the names of the keyword bits of Flags: bit KeywordBit(i) is Keywords[i]. It
	// only grows while UIDVALIDITY stays, so that a Flags value keeps its meaning. The slice is
	// shared and must not be changed.
	Keywords []string
	// KeywordLimit is how many keywords the folder can have at the most, at most MaxKeywords. New
	// ones are refused with ErrKeywordLimit beyond it.
	KeywordLimit int

	ReadOnly bool   // every change is refused with ErrReadOnly
	ID       string // as Info.ID
}

// Changes is the answer of Mailbox.Changes: one consistent snapshot.
type Changes struct {
	State State
	// Known reports whether Expunged is complete: since was not below State.Horizon.
	Known bool
	// Expunged holds the UIDs expunged after since, as far as Known. It may hold UIDs that the
	// caller never saw, but never one that exists.
	Expunged UIDSet
	// Messages yields the messages whose mod-sequence is above since, by ascending UID, any number
	// of times, from the snapshot: changes made meanwhile do not show. Never nil.
	Messages iter.Seq[Meta]
}

// Meta is what a folder knows of a message without opening it: at most 48 bytes, so that a hundred
// thousand are 5 MB.
type Meta struct {
	UID    UID
	Flags  Flags
	ModSeq ModSeq
	Size   int64 // octets in network form (RFC822.SIZE); -1 = not known until it is read
	Date   Date  // INTERNALDATE: when it arrived at the mail system
	Saved  Date  // SAVEDATE (RFC 8514): when it came into this folder; 0 = not known
}

// Message is a message with its content.
type Message struct {
	Meta
	Content goniec.Content
}

// AppendOptions go with a new message. The zero value gives it no flags and the present time.
type AppendOptions struct {
	Flags FlagList
	Date  time.Time // INTERNALDATE; zero = now
	// Saved is SAVEDATE, for conversions: zero = now, which is right for all else (RFC 8514 §3). Whether the store kept it
	// is in the Meta that comes back. DeliverAll may pass over it.
	Saved time.Time
}

// FlagOp says what a FlagChange does with its flags.
type FlagOp uint8

// The operations of IMAP's STORE.
const (
	FlagsAdd     FlagOp = iota + 1 // +FLAGS
	FlagsRemove                    // -FLAGS
	FlagsReplace                   // FLAGS
)

// FlagChange is a change of flags.
type FlagChange struct {
	Op    FlagOp
	Flags FlagList
	// UnchangedSince makes the change conditional (RFC 7162 §3.1.3): a message whose mod-sequence
	// is above *UnchangedSince is left alone and reported in FlagResult.Modified. nil = unconditional.
	UnchangedSince *ModSeq
}

// FlagResult is the outcome of SetFlags. The new flags are in Changes since the mod-sequence that
// the caller knew before.
type FlagResult struct {
	Changed  UIDSet // messages whose flags are different now
	Modified UIDSet // messages that failed the UnchangedSince test
	ModSeq   ModSeq // the folder's mod-sequence after the change
}

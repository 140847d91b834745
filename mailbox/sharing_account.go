package mailbox

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"
)

// sharedAccount is an account of a SharedStore.
type sharedAccount struct {
	viewer
	own Account

	mu     sync.Mutex
	held   map[string]Account // of other owners, open until Close; at most MaxOwners and those that ended since
	closed bool
}

// Unwrap and Passes let through what names no folder.
func (a *sharedAccount) Unwrap() any { return a.own }

// Passes implements the protocol of As.
func (a *sharedAccount) Passes(c Capability) bool {
	return c == CapabilityOf[QuotaKeeper]() || c == CapabilityOf[Metadata]()
}

// Supports implements the protocol of As.
func (a *sharedAccount) Supports(c Capability) bool {
	switch c {
	case CapabilityOf[Subscriber](), CapabilityOf[SpecialUser](), CapabilityOf[AccountWatcher]():
		return accountOptions.supports(a.own, c)
	}
	return true
}

func (a *sharedAccount) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	err := a.own.Close()
	for _, other := range a.held {
		err = errors.Join(err, other.Close())
	}
	return err
}

// accountOf opens the account that a place is in. It stays open until Close.
func (a *sharedAccount) accountOf(ctx context.Context, p place) (Account, error) {
	if p.own {
		return a.own, nil
	}
	a.mu.Lock()
	other := a.held[p.owner]
	a.mu.Unlock()
	if other != nil {
		return other, nil
	}
	if err := a.reach(ctx, p); err != nil {
		return nil, err
	}
	other, err := a.s.s.Account(ctx, p.owner)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if first := a.held[p.owner]; first != nil || a.closed {
		_ = other.Close()
		if first == nil {
			return nil, ErrNotFound
		}
		return first, nil
	}
	a.held[p.owner] = other
	return other, nil
}

// rights returns what the user may do at a place, and the account it is in.
func (a *sharedAccount) rights(ctx context.Context, p place) (Rights, Account, error) {
	acc, err := a.accountOf(ctx, p)
	if err != nil {
		return 0, nil, err
	}
	r, err := a.rightsIn(ctx, acc, p)
	return r, acc, err
}

// find is locate and rights, and demands some of them.
func (a *sharedAccount) find(ctx context.Context, name string, want Rights) (place, Rights, Account, error) {
	p, err := a.locate(name)
	if err != nil {
		return p, 0, nil, err
	}
	r, acc, err := a.rights(ctx, p)
	if err == nil {
		err = allow(r, want)
	}
	return p, r, acc, err
}

// Namespaces implements NamespaceTeller.
func (a *sharedAccount) Namespaces() Namespaces { return a.s.ns }

func (a *sharedAccount) Mailboxes(ctx context.Context) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for info, err := range a.own.Mailboxes(ctx) {
			if err == nil && !a.s.ns.Personal(info.Name) {
				continue
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
		owners, err := a.owners(ctx)
		if err != nil {
			yield(Info{}, err)
			return
		}
		for _, owner := range owners {
			for info, err := range a.visible(ctx, owner) {
				if !yield(info, err) || err != nil {
					return
				}
			}
		}
	}
}

// visible yields the folders of an owner that the user may see. Their special uses are the owner's.
func (a *sharedAccount) visible(ctx context.Context, owner string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		acc, err := a.accountOf(ctx, place{owner: owner})
		if errors.Is(err, ErrNotFound) {
			return // he is gone, or shares no more
		}
		if err != nil {
			yield(Info{}, err)
			return
		}
		for info, err := range acc.Mailboxes(ctx) {
			var r Rights
			if err == nil {
				r, err = a.rightsIn(ctx, acc, place{owner: owner, name: info.Name})
			}
			if errors.Is(err, ErrNotFound) || err == nil && !r.Has(RightLookup) {
				continue
			}
			info.Name, info.SpecialUse = a.nameOf(owner, info.Name), ""
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

func (a *sharedAccount) Open(ctx context.Context, name string) (Mailbox, error) {
	p, err := a.locate(name)
	if err != nil {
		return nil, err
	}
	if p.own {
		return a.own.Open(ctx, p.name)
	}
	r, acc, err := a.rights(ctx, p)
	if err != nil {
		return nil, err
	}
	if r&(RightLookup|RightRead|RightInsert) == 0 {
		return nil, ErrNotFound // he can do nothing with its messages, and shall not learn that it is there
	}
	m, err := acc.Open(ctx, p.name)
	if err != nil {
		return nil, err
	}
	return newSharedMailbox(a, p, m), nil
}

func (a *sharedAccount) Create(ctx context.Context, name string, o CreateOptions) error {
	p, err := a.locate(name)
	if err != nil {
		return ErrForbidden
	}
	if err := CheckName(p.name); err != nil {
		return err
	}
	acc, err := a.accountOf(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return ErrForbidden // nothing is told of who exists
	}
	if err != nil {
		return err
	}
	parent, l, err := nearest(ctx, acc, p.name)
	if err != nil {
		return err
	}
	if !p.own {
		if err := a.mayCreate(ctx, acc, p, parent); err != nil {
			return err
		}
		if o.SpecialUse != "" {
			return ErrCannot
		}
	}
	if err := acc.Create(ctx, p.name, o); err != nil {
		return err
	}
	if err := a.s.inherit(ctx, p.owner, acc, p.name, l); err != nil {
		return errors.Join(err, acc.Delete(context.WithoutCancel(ctx), p.name))
	}
	return nil
}

// nearest returns the nearest parent of a name that exists, "" when there is none, and its list.
func nearest(ctx context.Context, acc Account, name string) (parent string, l ACL, err error) {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		l, err = GetACL(ctx, acc, name[:i])
		if !errors.Is(err, ErrNotFound) {
			return name[:i], l, err
		}
	}
	return "", nil, nil
}

// mayCreate demands RightCreate on the nearest parent that exists (RFC 4314 §4). The top of an account is its
// owner's.
func (a *sharedAccount) mayCreate(ctx context.Context, acc Account, p place, parent string) error {
	if parent == "" {
		return ErrForbidden
	}
	r, err := a.rightsIn(ctx, acc, place{owner: p.owner, name: parent})
	if err == nil && !r.Has(RightCreate) {
		return ErrForbidden
	}
	return err
}

func (a *sharedAccount) Delete(ctx context.Context, name string) error {
	p, _, acc, err := a.find(ctx, name, RightDelete)
	if err != nil {
		return err
	}
	l, err := GetACL(ctx, acc, p.name)
	if err != nil {
		return err
	}
	if err := acc.Delete(ctx, p.name); err != nil {
		return err
	}
	if len(l) > 0 {
		a.s.dropped(ctx, p.owner, acc, l)
	}
	return nil
}

// Rename renames inside one account: a folder can not change its owner.
func (a *sharedAccount) Rename(ctx context.Context, from, to string) error {
	src, err := a.locate(from)
	if err != nil {
		return err
	}
	dst, err := a.locate(to)
	if err != nil {
		return ErrForbidden
	}
	if src.own && dst.own {
		return a.own.Rename(ctx, src.name, dst.name)
	}
	r, acc, err := a.rights(ctx, src)
	if err == nil {
		err = allow(r, RightDelete)
	}
	if err != nil {
		return err
	}
	if src.owner != dst.owner {
		return ErrCannot
	}
	if err := a.mayRename(ctx, acc, src, dst); err != nil {
		return err
	}
	return acc.Rename(ctx, src.name, dst.name)
}

// mayRename demands RightCreate on the new parent, and RightDelete on the children, which go too.
func (a *sharedAccount) mayRename(ctx context.Context, acc Account, src, dst place) error {
	parent, _, err := nearest(ctx, acc, dst.name)
	if err == nil {
		err = a.mayCreate(ctx, acc, dst, parent)
	}
	if err != nil {
		return err
	}
	for info, err := range acc.Mailboxes(ctx) {
		if err != nil {
			return err
		}
		if !strings.HasPrefix(info.Name, src.name+"/") {
			continue
		}
		r, err := a.rightsIn(ctx, acc, place{owner: src.owner, name: info.Name})
		if err == nil && !r.Has(RightDelete) {
			return ErrForbidden
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// Copy implements Copier, between accounts too.
func (a *sharedAccount) Copy(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	return a.transfer(ctx, from, to, RightRead, func(acc Account, from, to string) (CopyResult, error) {
		return Copy(ctx, acc, from, validity, uids, to)
	})
}

// Move implements Mover, between accounts too: then as the package function does without a Mover. RFC 6851 §4.4: it
// takes the rights of COPY, STORE \Deleted and EXPUNGE.
func (a *sharedAccount) Move(ctx context.Context, from string, validity uint32, uids UIDSet, to string) (CopyResult, error) {
	return a.transfer(ctx, from, to, RightRead|RightDeleted|RightExpunge, func(acc Account, from, to string) (CopyResult, error) {
		return Move(ctx, acc, from, validity, uids, to)
	})
}

// transfer finds the account in which messages can go from one folder into another, and the folders' names there.
func (a *sharedAccount) transfer(ctx context.Context, from, to string, want Rights, do func(acc Account, from, to string) (CopyResult, error)) (CopyResult, error) {
	if a.s.ns.Personal(from) && a.s.ns.Personal(to) {
		return do(a.own, from, to)
	}
	src, _, srcAcc, err := a.find(ctx, from, want)
	if err != nil {
		return CopyResult{}, err
	}
	dst, r, dstAcc, err := a.find(ctx, to, RightInsert)
	if err != nil {
		return CopyResult{}, err
	}
	if src.owner == dst.owner && r.Has(FlagRights) {
		res, err := do(srcAcc, src.name, dst.name)
		return told(res, r), err
	}
	bridge := &bridgeAccount{
		to:     "to",
		source: func(ctx context.Context) (Mailbox, error) { return srcAcc.Open(ctx, src.name) },
		dest: func(ctx context.Context) (Mailbox, error) {
			m, err := dstAcc.Open(ctx, dst.name)
			return &dropMailbox{m, r}, err
		},
	}
	res, err := do(bridge, "from", bridge.to)
	return told(res, r), err
}

// told leaves the UIDs out of a result for who may not read the destination (RFC 4315 §3).
func told(res CopyResult, r Rights) CopyResult {
	if !r.Has(RightRead) {
		return CopyResult{}
	}
	return res
}

// bridgeAccount is an account of two folders of two accounts, for Copy and Move. Nothing but Open is called.
type bridgeAccount struct {
	Account
	to           string
	source, dest func(ctx context.Context) (Mailbox, error)
}

func (b *bridgeAccount) Open(ctx context.Context, name string) (Mailbox, error) {
	open := b.source
	if name == b.to {
		open = b.dest
	}
	m, err := open(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// SetSpecialUse implements SpecialUser for own folders.
func (a *sharedAccount) SetSpecialUse(ctx context.Context, name string, use SpecialUse) error {
	p, _, _, err := a.find(ctx, name, RightLookup)
	if err != nil {
		return err
	}
	if !p.own {
		return ErrCannot
	}
	return SetSpecialUse(ctx, a.own, p.name, use)
}

// Subscribed implements Subscriber. A subscription to another's folder is kept with the user's own, under a name that
// every store bears: it has "=2E" for ".", and so on.
func (a *sharedAccount) Subscribed(ctx context.Context) ([]string, error) {
	names, err := Subscribed(ctx, a.own)
	for i, n := range names {
		if name, ok := unescapeOctets(n); ok && !a.s.ns.Personal(n) {
			names[i] = name
		}
	}
	return names, err
}

// Subscribe implements Subscriber.
func (a *sharedAccount) Subscribe(ctx context.Context, name string, on bool) error {
	name = CanonicalName(name)
	if !a.s.ns.Personal(name) {
		if err := CheckName(name); err != nil {
			return err
		}
		name = escapeOctets(name, "=.*%")
	}
	return Subscribe(ctx, a.own, name, on)
}

package passwd

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/passwdfile"
)

// File is an Authenticator on a passwd-file in Dovecot's format (see the package comment). Set Path;
// every other field may stay zero. Safe for concurrent use.
type File struct {
	Path string

	// Hasher verifies and makes hashes. Nil: one of its own. Share one among all files of a process.
	Hasher *Hasher

	// DefaultScheme is the scheme of hashes without "{SCHEME}". Empty: CRYPT, as in Dovecot.
	DefaultScheme string

	// ExactNames compares names octet by octet, instead of by auth.FoldName.
	ExactNames bool

	// Upgrade, if not nil, is called after a login whose hash is outdated (see Hasher.Outdated) with a
	// new one; (*File).ReplaceHash is the usual choice. Its error is logged and does not harm the login.
	Upgrade func(ctx context.Context, user, oldHash, newHash string) error

	// Offer lists mechanisms beyond passwords ("SCRAM-SHA-256", "CRAM-MD5", ...) to offer although
	// some users can not use them. Nil: each is offered if all users with a password can.
	Offer []string

	// DecoyKey makes up the salts of users who are unknown or have no SCRAM keys. Empty: a random
	// one, so that a client who asks again after a restart could tell them by their new salts.
	DecoyKey auth.Secret

	MaxBytes int64         // longest file in octets; 0: 4 GiB; negative: no limit
	MaxLine  int           // longest line in octets; 0: 64 KiB; negative: no limit
	Interval time.Duration // between looks for a change; 0: 1 s; negative: only Load
	Settle   time.Duration // for how long a change must have been left alone; 0: 1 s; negative: not at all

	FS     faultfs.FS       // nil: the real one
	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now

	once   sync.Once
	file   *passwdfile.File
	hasher *Hasher
	decoy  []byte // key of made-up salts
}

// Kinds of entries, by what they can prove.
const (
	kindNone     = iota // no usable password
	kindPassword        // a hash: passwords only
	kindSCRAM1          // SCRAM-SHA-1 keys
	kindSCRAM256        // SCRAM-SHA-256 keys
	kindPlain           // clear text: everything
)

func (f *File) ready() *passwdfile.File {
	f.once.Do(func() {
		f.hasher = f.Hasher
		if f.hasher == nil {
			f.hasher = &Hasher{}
		}
		f.decoy = []byte(f.DecoyKey.Reveal())
		if len(f.decoy) == 0 {
			f.decoy = make([]byte, 32)
			_, _ = rand.Read(f.decoy)
		}
		f.file = &passwdfile.File{
			Path: f.Path, MaxBytes: f.MaxBytes, MaxLine: f.MaxLine, Interval: f.Interval, Settle: f.Settle,
			FS: f.FS, Logger: f.Logger, Now: f.Now, Check: f.check,
		}
		if !f.ExactNames {
			f.file.Key = fold
		}
	})
	return f.file
}

// fold is auth.FoldName, and the name itself where that has no answer: such a line is found by its octets.
func fold(name string) string {
	folded, err := auth.FoldName(name)
	if err != nil {
		return name
	}
	return folded
}

// Load reads the file now. It is optional: the first question does it.
func (f *File) Load() error { return f.ready().Load() }

// Errors returns the lines that were left out, as errors of the form "file:line: reason", at most 100
// and one that counts the rest.
func (f *File) Errors() []error { return f.ready().Errors() }

// Version returns a number that is another one whenever the file has changed (see auth/cache).
func (f *File) Version() uint64 { return f.ready().Version() }

// Len returns the number of users.
func (f *File) Len() int { return f.ready().Len() }

// check is asked for every line when the file is loaded.
func (f *File) check(e passwdfile.Entry) (kind int, err error) {
	if nets, ok := e.Field("allow_nets"); ok {
		if _, err := parseNets(nets); err != nil {
			return 0, err
		}
	}
	hash, err := f.hasher.parse(e.Password, f.DefaultScheme)
	switch {
	case errors.Is(err, ErrLocked):
		return kindNone, nil
	case err != nil:
		return 0, err
	}
	switch hash.scheme {
	case "PLAIN":
		return kindPlain, nil
	case "SCRAM-SHA-1":
		return kindSCRAM1, nil
	case "SCRAM-SHA-256":
		return kindSCRAM256, nil
	}
	return kindPassword, nil
}

// user is what the file says about the user of an attempt.
type user struct {
	entry passwdfile.Entry
	hash  parsed
	deny  error // why this user may not log in whatever the password; nil: may
}

// lookup never says that a user is unknown: deny does, and hash is then one to work on in vain, of
// the kind and cost of another user's, so that the answer takes the same work.
func (f *File) lookup(ctx context.Context, at *auth.Attempt) (*user, error) {
	e, ok, err := f.ready().Lookup(at.User)
	if err != nil {
		return nil, auth.Unavailable(err)
	}
	u := &user{entry: e}
	switch {
	case !ok:
		u.deny = errors.New("user is unknown")
	default:
		u.deny = denied(&e, at)
		u.hash, err = f.hasher.parse(e.Password, f.DefaultScheme)
		if err == nil {
			return u, nil
		}
		if u.deny == nil {
			u.deny = err
		}
	}
	u.hash, err = f.decoyHash(ctx, at.User)
	return u, err
}

// denied returns why an entry does not allow this attempt.
func denied(e *passwdfile.Entry, at *auth.Attempt) error {
	if _, ok := e.Field("nologin"); ok {
		return errors.New("login is disabled (nologin)")
	}
	text, ok := e.Field("allow_nets")
	if !ok {
		return nil
	}
	nets, err := parseNets(text)
	addr := at.Remote.Addr().Unmap().WithZone("")
	if err == nil && slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(addr) }) {
		return nil
	}
	return fmt.Errorf("address %s is not in allow_nets", at.Remote.Addr())
}

// parseNets reads Dovecot's allow_nets: addresses and networks, separated by commas.
func parseNets(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for item := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(item)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(item); err != nil {
				return nil, errors.New("allow_nets has something that is no address or network")
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// decoyTries is how many users are looked at for one who has a hash: where many are locked, few may not do.
const decoyTries = 64

// decoyHash returns the hash of some user, always the same one for a name, or one of a random password
// if the file has none.
func (f *File) decoyHash(ctx context.Context, name string) (parsed, error) {
	n := binary.BigEndian.Uint64(f.made(name, "sample"))
	for i := range uint64(decoyTries) {
		e, ok := f.file.Sample(n + i*0x9e3779b97f4a7c15)
		if !ok {
			break
		}
		if hash, err := f.hasher.parse(e.Password, f.DefaultScheme); err == nil {
			return hash, nil
		}
	}
	stored, err := f.hasher.dummy(ctx)
	if err != nil {
		return parsed{}, auth.Unavailable(err)
	}
	return f.hasher.parse(stored, "")
}

// made returns 32 octets that only this File can make of a name.
func (f *File) made(name, what string) []byte {
	m := hmac.New(sha256.New, f.decoy)
	fmt.Fprintf(m, "%s\x00%s", what, fold(name))
	return m.Sum(nil)
}

// Authenticate checks a password.
func (f *File) Authenticate(ctx context.Context, at *auth.Attempt) (auth.Identity, error) {
	u, err := f.lookup(ctx, at)
	if err != nil {
		return auth.Identity{}, err
	}
	err = f.hasher.verify(ctx, u.hash, at.Secret)
	switch {
	case err != nil && !errors.Is(err, ErrMismatch):
		return auth.Identity{}, auth.Unavailable(err)
	case u.deny != nil:
		return auth.Identity{}, refuse(u.deny)
	case err != nil:
		return auth.Identity{}, refuse(err)
	}
	f.upgrade(ctx, u.entry, at.Secret)
	return identity(&u.entry), nil
}

func refuse(cause error) error {
	if errors.Is(cause, auth.ErrCredentials) {
		return cause
	}
	return fmt.Errorf("%w: %w", auth.ErrCredentials, cause)
}

// upgrade replaces an outdated hash while the password is known.
func (f *File) upgrade(ctx context.Context, e passwdfile.Entry, password auth.Secret) {
	if f.Upgrade == nil || !f.hasher.outdated(e.Password, f.DefaultScheme) {
		return
	}
	stored, err := f.hasher.New(ctx, password)
	if err == nil {
		err = f.Upgrade(ctx, e.Name, e.Password, stored)
	}
	if err != nil && f.Logger != nil {
		f.Logger.Warn("password hash not upgraded", "user", e.Name, "err", err)
	}
}

// identity returns what a line says beyond the password, under Dovecot's userdb names.
func identity(e *passwdfile.Entry) auth.Identity {
	attributes := map[string]string{}
	for key, value := range map[string]string{"uid": e.UID, "gid": e.GID, "home": e.Home} {
		if value != "" {
			attributes[key] = value
		}
	}
	id := auth.Identity{User: fold(e.Name), Attributes: attributes}
	for key, value := range e.Fields() {
		if name, ok := strings.CutPrefix(key, "userdb_"); ok {
			attributes[name] = value
		}
		if key == "user" {
			id.User = value
		}
	}
	return id
}

// SCRAMKeys returns stored keys, or keys of a password in clear text. For everybody else the keys are made
// up, and come with ErrCredentials.
func (f *File) SCRAMKeys(ctx context.Context, at *auth.Attempt) (auth.SCRAMKeys, error) {
	name := strings.TrimSuffix(at.Mechanism, "-PLUS")
	newHash := func() hash.Hash { return sha256.New() }
	if name == "SCRAM-SHA-1" {
		newHash = sha1.New
	} else if name != "SCRAM-SHA-256" {
		return auth.SCRAMKeys{}, auth.Unavailable(fmt.Errorf("no keys for %s", name))
	}
	u, err := f.lookup(ctx, at)
	if err != nil {
		return auth.SCRAMKeys{}, err
	}
	keys, err := f.keysOf(ctx, u, name, newHash, at.User)
	switch {
	case err != nil:
		return auth.SCRAMKeys{}, auth.Unavailable(err)
	case u.deny != nil:
		random := randomBytes(2 * newHash().Size())
		keys.StoredKey, keys.ServerKey = random[:newHash().Size()], random[newHash().Size():]
		return keys, refuse(u.deny)
	}
	keys.Identity = identity(&u.entry)
	return keys, nil
}

// keysOf returns the keys of u.hash, which may be a decoy; u.deny is set if there are none. A decoy has the
// salt length and iterations of the hash it stands for.
func (f *File) keysOf(ctx context.Context, u *user, name string, newHash func() hash.Hash, user string) (auth.SCRAMKeys, error) {
	salt := f.made(user, "salt")[:16]
	switch {
	case u.hash.scheme == "PLAIN":
		release, err := f.hasher.turn(ctx)
		if err != nil {
			return auth.SCRAMKeys{}, err
		}
		defer release()
		return deriveSCRAM(newHash, u.hash.plain, salt, scramIterations)
	case u.hash.scheme == name && u.deny == nil:
		return u.hash.keys, nil
	case u.deny == nil:
		u.deny = errors.New("user has no keys for " + name)
	}
	keys := auth.SCRAMKeys{Salt: salt, Iterations: scramIterations}
	if u.hash.scheme == name {
		keys.Iterations = u.hash.keys.Iterations
		keys.Salt = f.made(user, "salt")[:min(len(u.hash.keys.Salt), 32)]
	}
	return keys, nil
}

// Password returns a password in clear text, for CRAM-MD5 and APOP.
func (f *File) Password(ctx context.Context, at *auth.Attempt) (auth.Secret, auth.Identity, error) {
	u, err := f.lookup(ctx, at)
	if err != nil {
		return auth.Secret{}, auth.Identity{}, err
	}
	if u.deny == nil && u.hash.scheme != "PLAIN" {
		u.deny = errors.New("password is not stored in clear text")
	}
	if u.deny != nil {
		return auth.Secret{}, auth.Identity{}, refuse(u.deny)
	}
	return auth.NewSecret(u.hash.plain), identity(&u.entry), nil
}

// Answers reports whether all users with a password can use a mechanism, or Offer lists it.
func (f *File) Answers(mechanism string) bool {
	if slices.ContainsFunc(f.Offer, func(m string) bool { return strings.EqualFold(m, mechanism) }) {
		return true
	}
	switch mechanism = strings.TrimSuffix(strings.ToUpper(mechanism), "-PLUS"); mechanism {
	case "SCRAM-SHA-1", "SCRAM-SHA-256", "CRAM-MD5", "APOP":
	case "SCRAM-SHA-512", "OAUTHBEARER", "XOAUTH2", "EXTERNAL":
		return false
	default: // also while the file can not be read: the answer is then 454, and not a missing mechanism
		return true
	}
	count, err := f.ready().Count()
	if err != nil {
		return false
	}
	able := count[kindPlain]
	switch mechanism {
	case "SCRAM-SHA-1":
		able += count[kindSCRAM1]
	case "SCRAM-SHA-256":
		able += count[kindSCRAM256]
	}
	return able > 0 && able == f.Len()-count[kindNone]
}

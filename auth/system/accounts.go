package system

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/internal/passwdfile"
)

// Verifier compares a stored hash with a password; *passwd.Hasher is one. The error is an
// auth.ErrCredentials if they do not fit.
type Verifier interface {
	Verify(ctx context.Context, stored string, password auth.Secret) error
}

// Accounts is an Authenticator on the system's passwd and shadow files, which the process must be
// allowed to read. Set Verifier; the rest may stay zero. Expired accounts and passwords are refused, as are
// accounts below MinUID. Safe for concurrent use.
type Accounts struct {
	Verifier Verifier // required: &passwd.Hasher{}
	Passwd   string   // "": /etc/passwd
	Shadow   string   // "": /etc/shadow

	// MinUID refuses system accounts. Zero means 1000; negative means all but root.
	MinUID int

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now

	once           sync.Once
	passwd, shadow *passwdfile.File
	seed           maphash.Seed
}

func (a *Accounts) ready() {
	a.once.Do(func() {
		or := func(path, standard string) string {
			if path == "" {
				return standard
			}
			return path
		}
		a.passwd = &passwdfile.File{Path: or(a.Passwd, "/etc/passwd"), Logger: a.Logger, Now: a.Now}
		a.shadow = &passwdfile.File{Path: or(a.Shadow, "/etc/shadow"), Logger: a.Logger, Now: a.Now, Check: checkShadow}
		a.seed = maphash.MakeSeed()
	})
}

// checkShadow keeps lines whose ages are no numbers from being read as if they had none.
func checkShadow(e passwdfile.Entry) (int, error) {
	for _, f := range [...]string{e.UID, e.GECOS, e.Shell, expiry(&e)} {
		if f == "" {
			continue
		}
		if _, err := strconv.Atoi(f); err != nil {
			return 0, errors.New("an age or date is not a number")
		}
	}
	return 0, nil
}

// Version moves when one of the files changes (see auth/cache).
func (a *Accounts) Version() uint64 {
	a.ready()
	return a.passwd.Version() + a.shadow.Version()
}

// Authenticate checks the password of a local account. One hash is verified whatever the answer is.
func (a *Accounts) Authenticate(ctx context.Context, at *auth.Attempt) (auth.Identity, error) {
	a.ready()
	who, okP, err := a.passwd.Lookup(at.User)
	if err != nil {
		return auth.Identity{}, auth.Unavailable(err)
	}
	secret, okS, err := a.shadow.Lookup(at.User)
	if err != nil {
		return auth.Identity{}, auth.Unavailable(err)
	}
	var deny error
	switch {
	case !okP || !okS:
		deny = errors.New("account is unknown")
	case !a.allowed(who.UID):
		deny = errors.New("account is root or below MinUID")
	default:
		deny = a.expired(&secret)
	}
	if !okS || !usable(secret.Password) {
		if deny == nil {
			deny = errors.New("account is locked or has no password")
		}
		secret.Password = a.decoy(at.User)
	}
	err = a.Verifier.Verify(ctx, secret.Password, at.Secret)
	switch {
	case err != nil && !auth.Denied(err):
		return auth.Identity{}, auth.Unavailable(err)
	case deny != nil:
		return auth.Identity{}, fmt.Errorf("%w: %w", auth.ErrCredentials, deny)
	case err != nil:
		return auth.Identity{}, err
	}
	return auth.Identity{User: who.Name, Attributes: map[string]string{"uid": who.UID, "gid": who.GID, "home": who.Home}}, nil
}

func (a *Accounts) allowed(uid string) bool {
	n, err := strconv.Atoi(uid)
	least := a.MinUID
	if least == 0 {
		least = 1000
	}
	return err == nil && n != 0 && n >= least
}

// usable reports whether a stored password is a hash and not a lock.
func usable(stored string) bool {
	return stored != "" && stored[0] != '!' && stored[0] != '*' && stored != "x"
}

// decoy returns the hash of some other account, the same one for a name each time.
func (a *Accounts) decoy(name string) string {
	n := maphash.String(a.seed, name)
	for i := range uint64(8) {
		if e, ok := a.shadow.Sample(n + i*0x9e3779b97f4a7c15); ok && usable(e.Password) {
			return e.Password
		}
	}
	return noPassword
}

// noPassword is a sha512-crypt hash that no known password has; it costs what the usual one does.
const noPassword = "$6$goniecgoniecgone$" + "......................................................................................"

// expired reads the ages of a shadow line, in days (shadow(5)): the fields behind the password are the
// last change, least age, greatest age, warning, inactivity and the day the account expires.
func (a *Accounts) expired(e *passwdfile.Entry) error {
	days := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			return -1
		}
		return n
	}
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	today := int(now().Unix() / 86400)
	changed, greatest, inactive, expires := days(e.UID), days(e.GECOS), days(e.Shell), days(expiry(e))
	switch {
	case expires >= 0 && today >= expires:
		return errors.New("account has expired")
	case changed == 0:
		return errors.New("password must be changed first")
	case changed > 0 && greatest >= 0 && inactive >= 0 && today > changed+greatest+inactive:
		return errors.New("password has expired")
	}
	return nil
}

// expiry is the eighth field of a shadow line, which a passwd-file has for its extra fields.
func expiry(e *passwdfile.Entry) string {
	day, _, _ := strings.Cut(e.Extra, ":")
	return day
}

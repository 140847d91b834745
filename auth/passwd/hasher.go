package passwd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/text/secure/precis"

	"github.com/goniec-mail/goniec/auth"
)

var (
	// ErrMismatch says that the password is not the one that was hashed. It is an auth.ErrCredentials.
	ErrMismatch = fmt.Errorf("%w: password does not match", auth.ErrCredentials)

	// ErrLocked says that the stored hash can match no password: it is empty or begins with "!" or
	// "*". It is an auth.ErrCredentials.
	ErrLocked = fmt.Errorf("%w: account has no usable password", auth.ErrCredentials)

	// ErrScheme says that a stored hash has a scheme that this package does not know.
	ErrScheme = errors.New("unknown password scheme")

	// ErrFormat says that a stored hash is not what its scheme wants.
	ErrFormat = errors.New("malformed password hash")

	// ErrCost says that a stored hash asks for more work or memory than Limits allow.
	ErrCost = errors.New("password hash costs more than the limits allow")
)

// Limits bound what a stored hash may ask for: whoever can write a user table must not be able to
// stop the server. In each field zero means the default and a negative number no limit.
type Limits struct {
	Memory     int // argon2, yescrypt: KiB; default 262144 (256 MiB)
	Passes     int // argon2: passes over the memory; default 32
	Threads    int // argon2: lanes; default 16
	BcryptCost int // bcrypt: logarithm of the rounds; default 15
	Rounds     int // sha-crypt, PBKDF2, SCRAM: rounds or iterations; default 1,000,000
}

// Hasher verifies and makes password hashes. The zero value is ready. Share one among all tables
// of a process: it is what bounds the hashes computed at once. Safe for concurrent use.
type Hasher struct {
	// Scheme is the name of the scheme that New uses. Empty means ARGON2ID with 19 MiB, 2 passes
	// and 1 lane (OWASP's recommendation of 2024).
	Scheme string

	// Parallel is how many hashes may be computed at once; more wait. Zero means GOMAXPROCS. Times
	// Limits.Memory it bounds the memory.
	Parallel int

	Limits Limits

	// Strict compares passwords as octets only. Otherwise one that does not match and is not ASCII is tried
	// again in its normalised form (PRECIS OpaqueString, RFC 8265 §4), in which New hashes.
	Strict bool

	once   sync.Once
	tokens chan struct{}
	mu     sync.Mutex
	made   string // by dummy

	// work, if not nil, is called in place of a hash function's start: tests count with it.
	work func(scheme string)
}

// Verify returns nil if password is the one that stored was made of, ErrMismatch if it is not, the
// error of Check if stored can not be used, or that of ctx if it ended while waiting for a turn.
func (h *Hasher) Verify(ctx context.Context, stored string, password auth.Secret) error {
	hash, err := h.parse(stored, "")
	if err != nil {
		return err
	}
	return h.verify(ctx, hash, password)
}

func (h *Hasher) verify(ctx context.Context, hash parsed, password auth.Secret) error {
	text := password.Reveal()
	ok, err := h.match(ctx, hash, text)
	if prepared := prepare(text); err == nil && !ok && !h.Strict && prepared != text {
		ok, err = h.match(ctx, hash, prepared)
	}
	if err == nil && !ok {
		return ErrMismatch
	}
	return err
}

// match computes a hash when there is a turn for it.
func (h *Hasher) match(ctx context.Context, hash parsed, password string) (bool, error) {
	release, err := h.turn(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if h.work != nil {
		h.work(hash.scheme)
	}
	return hash.match(password), nil
}

// turn waits until fewer than Parallel hashes are being computed.
func (h *Hasher) turn(ctx context.Context) (release func(), err error) {
	h.once.Do(func() {
		n := h.Parallel
		if n <= 0 {
			n = runtime.GOMAXPROCS(0)
		}
		h.tokens = make(chan struct{}, n)
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case h.tokens <- struct{}{}:
		return func() { <-h.tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// New hashes a password with h.Scheme and returns it in the form "{SCHEME}hash". Waits as Verify does.
func (h *Hasher) New(ctx context.Context, password auth.Secret) (string, error) {
	name := strings.ToUpper(h.Scheme)
	if name == "" {
		name = "ARGON2ID"
	}
	s, ok := schemeOf(name)
	if !ok {
		return "", fmt.Errorf("%w {%s}", ErrScheme, name)
	}
	if s.create == nil {
		return "", fmt.Errorf("passwd: scheme {%s} is verified only; choose another one for new passwords", name)
	}
	text := password.Reveal()
	if text == "" || len(text) > auth.MaxPassword || strings.Contains(text, "\x00") {
		return "", fmt.Errorf("passwd: password is empty, longer than %d octets, or contains NUL", auth.MaxPassword)
	}
	if !h.Strict {
		text = prepare(text)
	}
	release, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	body, err := s.create(text)
	if err != nil {
		return "", err
	}
	return "{" + name + "}" + body, nil
}

// dummy returns a hash that no password matches, of the cost of new ones.
func (h *Hasher) dummy(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.made != "" {
		return h.made, nil
	}
	stored, err := h.New(ctx, auth.NewSecret(hex.EncodeToString(randomBytes(32))))
	if err != nil {
		return "", err
	}
	h.made = stored
	return stored, nil
}

// Check returns nil if stored can be verified, without doing so: ErrScheme, ErrFormat, ErrCost or
// ErrLocked otherwise. The error never shows the hash.
func (h *Hasher) Check(stored string) error {
	_, err := h.parse(stored, "")
	return err
}

// Outdated reports whether a hash should be made anew when its password is known: its scheme is
// not made for passwords (MD5, SHA, SSHA, DES, MD5-CRYPT, ...), or is that of New with a lower cost.
// PLAIN is not outdated: a table that holds it does so for CRAM-MD5 or SCRAM.
func (h *Hasher) Outdated(stored string) bool { return h.outdated(stored, "") }

func (h *Hasher) outdated(stored, standard string) bool {
	hash, err := h.parse(stored, standard)
	if err != nil {
		return false
	}
	if hash.weak {
		return true
	}
	name := strings.ToUpper(h.Scheme)
	if name == "" {
		name = "ARGON2ID"
	}
	s, ok := schemeOf(name)
	return ok && hash.scheme == s.name && hash.cost < s.cost
}

// parsed is a stored hash, ready to be compared.
type parsed struct {
	scheme string                     // canonical name
	cost   int                        // by which hashes of one scheme compare
	weak   bool                       // not made for passwords
	match  func(password string) bool // takes the time

	plain string         // of PLAIN: the password
	keys  auth.SCRAMKeys // of the SCRAM schemes
}

// parse reads a stored hash. standard is the scheme of one that names none; "" means CRYPT.
func (h *Hasher) parse(stored, standard string) (parsed, error) {
	if stored == "" || stored[0] == '!' || stored[0] == '*' {
		return parsed{}, ErrLocked
	}
	name, body := strings.ToUpper(standard), stored
	if rest, found := strings.CutPrefix(stored, "{"); found {
		scheme, after, found := strings.Cut(rest, "}")
		if !found || len(scheme) > 32 {
			return parsed{}, fmt.Errorf("%w: no scheme name in braces", ErrFormat)
		}
		name, body = strings.ToUpper(scheme), after
	}
	if name == "" {
		name = "CRYPT"
	}
	name, encoding, _ := strings.Cut(name, ".")
	s, ok := schemeOf(name)
	if !ok {
		return parsed{}, fmt.Errorf("%w {%q}", ErrScheme, name)
	}
	if body == "" || s.name != "PLAIN" && (body[0] == '!' || body[0] == '*') {
		return parsed{}, ErrLocked
	}
	hash, err := s.parse(body, encoding, h.Limits)
	if err != nil {
		return parsed{}, fmt.Errorf("{%s}: %w", name, err)
	}
	if hash.scheme == "" {
		hash.scheme, hash.weak = s.name, s.weak
	}
	return hash, nil
}

// prepare returns a password in the form that New hashes: PRECIS OpaqueString (RFC 8265 §4.2), or as
// it is where that form does not exist.
func prepare(text string) string {
	if ascii(text) {
		return text
	}
	out, err := precis.OpaqueString.String(text)
	if err != nil {
		return text
	}
	return out
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// over reports whether a cost is over its limit.
func over(value, limit, standard int) bool {
	if limit == 0 {
		limit = standard
	}
	return limit > 0 && value > limit
}

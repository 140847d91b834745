package passwd

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/go-crypt/x/crypt"
	"github.com/go-crypt/x/yescrypt"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// The costs of new hashes.
const (
	argonMemory  = 19 << 10 // KiB
	argonPasses  = 2
	argonLanes   = 1
	bcryptCost   = 12
	shaRounds    = 100_000
	pbkdf2Rounds = 600_000
)

// parseCrypt reads what crypt(3) makes: the prefix tells the method.
func parseCrypt(body, encoding string, l Limits) (parsed, error) {
	methods := [...]struct {
		prefix, scheme string
		weak           bool
		parse          func(body, encoding string, l Limits) (parsed, error)
	}{
		{"$2", "BLF-CRYPT", false, parseBcrypt},
		{"$6$", "SHA512-CRYPT", false, parseSHACrypt},
		{"$5$", "SHA256-CRYPT", false, parseSHACrypt},
		{"$y$", "YESCRYPT", false, parseYescrypt},
		{"$1$", "MD5-CRYPT", true, parseMD5Crypt},
		{"$argon2id$", "ARGON2ID", false, parseArgon},
		{"$argon2i$", "ARGON2I", false, parseArgon},
	}
	for _, m := range methods {
		if strings.HasPrefix(body, m.prefix) {
			hash, err := m.parse(body, encoding, l)
			hash.scheme, hash.weak = m.scheme, m.weak
			return hash, err
		}
	}
	if body[0] == '$' || body[0] == '_' {
		return parsed{}, fmt.Errorf("%w: crypt method is not $1$ $2$ $5$ $6$ $y$ $argon2id$ or DES", ErrScheme)
	}
	hash, err := parseDES(body, encoding, l)
	hash.scheme, hash.weak = "DES-CRYPT", true
	return hash, err
}

// parseArgon reads $argon2id$v=19$m=65536,t=3,p=1$salt$hash.
func parseArgon(body, _ string, l Limits) (parsed, error) {
	f := strings.Split(body, "$")
	if len(f) != 6 || f[2] != "v=19" || f[1] != "argon2id" && f[1] != "argon2i" {
		return parsed{}, ErrFormat
	}
	p, err := numbers(f[3], "m=", "t=", "p=")
	if err != nil {
		return parsed{}, err
	}
	memory, passes, lanes := p[0], p[1], p[2]
	if over(memory, l.Memory, 256<<10) || over(passes, l.Passes, 32) || over(lanes, l.Threads, 16) || lanes > 255 {
		return parsed{}, ErrCost
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(f[4])
	want, err2 := base64.RawStdEncoding.DecodeString(f[5])
	if err1 != nil || err2 != nil || len(want) < 4 || len(want) > 512 || passes < 1 || lanes < 1 || memory < 8*lanes {
		return parsed{}, ErrFormat
	}
	key := argon2.IDKey
	if f[1] == "argon2i" {
		key = argon2.Key
	}
	return parsed{cost: memory * passes, match: func(p string) bool {
		return equal(key([]byte(p), salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want))), want)
	}}, nil
}

func createArgon(password string) (string, error) {
	salt := randomBytes(16)
	key := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonLanes, 32)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemory, argonPasses, argonLanes, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

// numbers reads "m=1,t=2,p=3", with exactly these names in this order.
func numbers(text string, names ...string) ([]int, error) {
	parts := strings.Split(text, ",")
	if len(parts) != len(names) {
		return nil, ErrFormat
	}
	out := make([]int, len(names))
	for i, name := range names {
		digits, found := strings.CutPrefix(parts[i], name)
		n, err := strconv.ParseUint(digits, 10, 31)
		if !found || err != nil {
			return nil, ErrFormat
		}
		out[i] = int(n)
	}
	return out, nil
}

func parseBcrypt(body, _ string, l Limits) (parsed, error) {
	cost, err := bcrypt.Cost([]byte(body))
	if err != nil || len(body) != 60 {
		return parsed{}, ErrFormat
	}
	if over(cost, l.BcryptCost, 15) {
		return parsed{}, ErrCost
	}
	return parsed{cost: cost, match: func(p string) bool {
		return bcrypt.CompareHashAndPassword([]byte(body), []byte(p)) == nil
	}}, nil
}

func createBcrypt(password string) (string, error) {
	// More than 72 octets is an error: bcrypt would ignore the rest.
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcryptCost)
	return string(b), err
}

// parseSHACrypt reads $6$salt$hash and $6$rounds=n$salt$hash, and the same with $5$.
func parseSHACrypt(body, _ string, l Limits) (parsed, error) {
	f := strings.Split(body, "$")
	rounds := 5000
	if len(f) == 5 {
		p, err := numbers(f[2], "rounds=")
		if err != nil {
			return parsed{}, err
		}
		rounds = min(max(p[0], 1000), 999_999_999) // as the specification has it
		f = append(f[:2], f[3:]...)
	}
	if len(f) != 4 || len(f[2]) > 16 {
		return parsed{}, ErrFormat
	}
	newHash, size := sha512.New, 86
	if f[1] == "5" {
		newHash, size = sha256.New, 43
	}
	if len(f[3]) != size {
		return parsed{}, ErrFormat
	}
	if over(rounds, l.Rounds, 1_000_000) {
		return parsed{}, ErrCost
	}
	return parsed{cost: rounds, match: func(p string) bool {
		return equal(crypt.KeySHACrypt(newHash, []byte(p), []byte(f[2]), rounds), []byte(f[3]))
	}}, nil
}

func createSHA512Crypt(password string) (string, error) {
	return createSHACrypt("6", sha512.New, password), nil
}

func createSHA256Crypt(password string) (string, error) {
	return createSHACrypt("5", sha256.New, password), nil
}

func createSHACrypt(id string, newHash func() hash.Hash, password string) string {
	salt := base64.RawURLEncoding.EncodeToString(randomBytes(12)) // 16 octets; all are good but "-" and "_" look odd
	salt = strings.NewReplacer("-", ".", "_", "/").Replace(salt)
	return fmt.Sprintf("$%s$rounds=%d$%s$%s", id, shaRounds, salt, crypt.KeySHACrypt(newHash, []byte(password), []byte(salt), shaRounds))
}

func parseMD5Crypt(body, _ string, _ Limits) (parsed, error) {
	f := strings.Split(body, "$")
	if len(f) != 4 || f[1] != "1" || len(f[2]) > 8 || len(f[3]) != 22 {
		return parsed{}, ErrFormat
	}
	return parsed{match: func(p string) bool {
		return equal(crypt.KeyMD5Crypt([]byte(p), []byte(f[2])), []byte(f[3]))
	}}, nil
}

// parseYescrypt reads $y$j9T$salt$hash, with the flags that libxcrypt makes ("j"): N = 2^10 to 2^18
// blocks of 128 r octets.
func parseYescrypt(body, _ string, l Limits) (parsed, error) {
	f := strings.Split(body, "$")
	if len(f) != 5 || len(f[4]) != 43 || len(f[3]) > 86 || len(f[2]) != 3 {
		return parsed{}, ErrFormat
	}
	_, logN, r, err := yescrypt.DecodeSetting([]byte(f[2]))
	if err != nil || logN < 10 || logN > 18 || r < 1 || r > 32 || yescrypt.Decode64([]byte(f[3])) == nil {
		return parsed{}, ErrFormat
	}
	kib := r << logN / 8 // 128 r N octets
	if over(kib, l.Memory, 256<<10) {
		return parsed{}, ErrCost
	}
	return parsed{cost: kib, match: func(p string) bool {
		got, err := yescrypt.Hash([]byte(p), []byte(body))
		return err == nil && equal(got, []byte(body))
	}}, nil
}

func createYescrypt(password string) (string, error) {
	setting := "$y$j9T$" + string(yescrypt.Encode64(randomBytes(16))) // libxcrypt's default: 16 MiB
	b, err := yescrypt.Hash([]byte(password), []byte(setting))
	return string(b), err
}

// parsePBKDF2 reads Dovecot's $1$salt$rounds$hex, which is PBKDF2 with HMAC-SHA-1.
func parsePBKDF2(body, _ string, l Limits) (parsed, error) {
	f := strings.Split(body, "$")
	if len(f) != 5 || f[0] != "" || f[1] != "1" || f[2] == "" || len(f[2]) > 64 {
		return parsed{}, ErrFormat
	}
	rounds, err := strconv.ParseUint(f[3], 10, 31)
	want, err2 := hex.DecodeString(f[4])
	if err != nil || err2 != nil || rounds < 1 || len(want) != sha1.Size {
		return parsed{}, ErrFormat
	}
	if over(int(rounds), l.Rounds, 1_000_000) {
		return parsed{}, ErrCost
	}
	return parsed{cost: int(rounds), match: func(p string) bool {
		got, err := pbkdf2.Key(sha1.New, p, []byte(f[2]), int(rounds), len(want))
		return err == nil && equal(got, want)
	}}, nil
}

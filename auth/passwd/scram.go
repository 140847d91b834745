package passwd

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"

	"github.com/goniec-mail/goniec/auth"
)

// scramIterations is the cost of new SCRAM keys. Clients refuse more than 600,000, and small ones
// time out at that.
const scramIterations = 10_000

// parseSCRAM reads Dovecot's "iterations,salt,StoredKey,ServerKey", the last three in base64.
func parseSCRAM(newHash func() hash.Hash) func(body, encoding string, l Limits) (parsed, error) {
	return func(body, _ string, l Limits) (parsed, error) {
		keys, err := scramKeys(body, newHash().Size())
		if err != nil {
			return parsed{}, err
		}
		if over(keys.Iterations, l.Rounds, 1_000_000) {
			return parsed{}, ErrCost
		}
		return parsed{cost: keys.Iterations, keys: keys, match: func(p string) bool {
			got, err := deriveSCRAM(newHash, p, keys.Salt, keys.Iterations)
			return err == nil && equal(got.StoredKey, keys.StoredKey)
		}}, nil
	}
}

func scramKeys(body string, size int) (keys auth.SCRAMKeys, err error) {
	f := strings.Split(body, ",")
	if len(f) != 4 {
		return keys, ErrFormat
	}
	n, err := strconv.ParseUint(f[0], 10, 31)
	keys.Iterations = int(n)
	for i, key := range [...]*[]byte{&keys.Salt, &keys.StoredKey, &keys.ServerKey} {
		b, err1 := base64.StdEncoding.DecodeString(f[i+1])
		*key = b
		if err == nil {
			err = err1
		}
	}
	if err != nil || n < 1 || len(keys.Salt) < 1 || len(keys.Salt) > 64 || len(keys.StoredKey) != size || len(keys.ServerKey) != size {
		return keys, ErrFormat
	}
	return keys, nil
}

func createSCRAM(newHash func() hash.Hash) func(string) (string, error) {
	return func(password string) (string, error) {
		keys, err := deriveSCRAM(newHash, password, randomBytes(16), scramIterations)
		if err != nil {
			return "", err
		}
		enc := base64.StdEncoding.EncodeToString
		return fmt.Sprintf("%d,%s,%s,%s", keys.Iterations, enc(keys.Salt), enc(keys.StoredKey), enc(keys.ServerKey)), nil
	}
}

// deriveSCRAM computes the keys of a password (RFC 5802 §3). The password is prepared with SASLprep
// as clients do; one that has no such form (as with an emoji, unknown in Unicode 3.2) is taken as it is.
func deriveSCRAM(newHash func() hash.Hash, password string, salt []byte, iterations int) (auth.SCRAMKeys, error) {
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = prepared
	}
	salted, err := pbkdf2.Key(newHash, password, salt, iterations, newHash().Size())
	if err != nil {
		return auth.SCRAMKeys{}, err
	}
	mac := func(text string) []byte {
		m := hmac.New(newHash, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := newHash()
	stored.Write(mac("Client Key"))
	return auth.SCRAMKeys{Salt: salt, Iterations: iterations, StoredKey: stored.Sum(nil), ServerKey: mac("Server Key")}, nil
}

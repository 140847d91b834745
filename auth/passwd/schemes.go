package passwd

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
)

// scheme is one way of storing passwords, under the name that Dovecot gives it.
type scheme struct {
	name   string
	weak   bool // fast to try: upgraded on login
	cost   int  // of create, to compare with parsed.cost
	parse  func(body, encoding string, l Limits) (parsed, error)
	create func(password string) (string, error) // nil: verified only
}

// schemeOf finds a scheme by its name in upper case.
func schemeOf(name string) (scheme, bool) {
	switch name {
	case "PLAIN", "CLEAR", "CLEARTEXT":
		return scheme{name: "PLAIN", parse: parsePlain, create: func(p string) (string, error) { return p, nil }}, true
	case "ARGON2ID", "ARGON2I":
		return scheme{name: name, cost: argonPasses * argonMemory, parse: parseArgon, create: creator(name == "ARGON2ID", createArgon)}, true
	case "BLF-CRYPT":
		return scheme{name: name, cost: bcryptCost, parse: parseBcrypt, create: createBcrypt}, true
	case "SHA512-CRYPT":
		return scheme{name: name, cost: shaRounds, parse: parseSHACrypt, create: createSHA512Crypt}, true
	case "SHA256-CRYPT":
		return scheme{name: name, cost: shaRounds, parse: parseSHACrypt, create: createSHA256Crypt}, true
	case "MD5-CRYPT":
		return scheme{name: name, weak: true, parse: parseMD5Crypt}, true
	case "DES-CRYPT":
		return scheme{name: name, weak: true, parse: parseDES}, true
	case "CRYPT":
		return scheme{name: name, parse: parseCrypt, create: createYescrypt}, true
	case "PBKDF2":
		return scheme{name: name, cost: pbkdf2Rounds, parse: parsePBKDF2}, true
	case "SCRAM-SHA-1":
		return scheme{name: name, cost: scramIterations, parse: parseSCRAM(sha1.New), create: createSCRAM(sha1.New)}, true
	case "SCRAM-SHA-256":
		return scheme{name: name, cost: scramIterations, parse: parseSCRAM(sha256.New), create: createSCRAM(sha256.New)}, true
	case "MD5":
		return scheme{name: name, weak: true, parse: parseMD5}, true
	}
	return digestScheme(name)
}

func creator(ok bool, f func(string) (string, error)) func(string) (string, error) {
	if !ok {
		return nil
	}
	return f
}

// digestScheme finds the schemes that are one digest, of the password or of password and salt.
func digestScheme(name string) (scheme, bool) {
	type kind struct {
		name           string
		new            func() hash.Hash
		salted, create bool
	}
	var d kind
	for _, k := range [...]kind{
		{"PLAIN-MD5", md5.New, false, false},
		{"LDAP-MD5", md5.New, false, false},
		{"SMD5", md5.New, true, false},
		{"SHA", sha1.New, false, false},
		{"SHA1", sha1.New, false, false},
		{"SSHA", sha1.New, true, true},
		{"SHA256", sha256.New, false, false},
		{"SSHA256", sha256.New, true, true},
		{"SHA512", sha512.New, false, false},
		{"SSHA512", sha512.New, true, true},
	} {
		if k.name == name {
			d = k
		}
	}
	if d.new == nil {
		return scheme{}, false
	}
	return scheme{
		name: d.name, weak: true,
		parse: func(body, encoding string, _ Limits) (parsed, error) {
			return parseDigest(d.new, d.salted, body, encoding)
		},
		create: creator(d.create, func(p string) (string, error) {
			salt := randomBytes(8)
			return base64.StdEncoding.EncodeToString(append(digest(d.new, p, salt), salt...)), nil
		}),
	}, true
}

func parsePlain(body, _ string, _ Limits) (parsed, error) {
	return parsed{plain: body, match: func(p string) bool { return equal([]byte(p), []byte(body)) }}, nil
}

// parseDigest reads digest, or digest and salt, in base64 or hex. As Dovecot does it takes an unsalted
// one of twice the digest's length for hex; a salted one is hex if its scheme says so (".HEX").
func parseDigest(newHash func() hash.Hash, salted bool, body, encoding string) (parsed, error) {
	size := newHash().Size()
	var raw []byte
	var err error
	if encoding == "HEX" || encoding == "" && !salted && len(body) == 2*size {
		raw, err = hex.DecodeString(body)
	} else {
		raw, err = base64.StdEncoding.DecodeString(body)
	}
	if err != nil || len(raw) < size || !salted && len(raw) != size || len(raw) > size+64 {
		return parsed{}, ErrFormat
	}
	want, salt := raw[:size], raw[size:]
	return parsed{match: func(p string) bool { return equal(digest(newHash, p, salt), want) }}, nil
}

func digest(newHash func() hash.Hash, password string, salt []byte) []byte {
	d := newHash()
	d.Write([]byte(password))
	d.Write(salt)
	return d.Sum(nil)
}

// parseMD5 reads what has gone by the name {MD5}: MD5-CRYPT in Dovecot, a digest in LDAP.
func parseMD5(body, encoding string, l Limits) (parsed, error) {
	if body[0] == '$' {
		return parseMD5Crypt(body, encoding, l)
	}
	return parseDigest(md5.New, false, body, encoding)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// randomBytes returns n octets of crypto/rand, which does not fail.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

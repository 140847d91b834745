package passwd

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/auth"
)

// Hashes of the password "secret", made by doveadm pw (Dovecot 2.3.19), mkpasswd and openssl passwd.
var foreign = map[string]string{
	"ARGON2ID":      "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$3/o9u1bB0/UV7kTH4cORlQ$xHhqnsLbKY6sL24XrZMm7b3EXaqsoln/QjLRouEed/o",
	"ARGON2I":       "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$4ed1ybtQqe9HMqDKYv7Jww$Kseqk9zOCl5dwwYO2xhE66PoyQDxo4wBVga8IWrhQ9c",
	"BLF-CRYPT":     "{BLF-CRYPT}$2y$05$D3mUAPz1u4q7KyBFiQKbxOAFSWSSZWSKkavHnNhMo5RaAA5Vl9via",
	"SHA512-CRYPT":  "{SHA512-CRYPT}$6$5L1eDQ1ljQ8KhLlS$6DjfUVAoNSo2go8V73GNBMXhGhFD4mkVfn9SpAO/7jQWSztMOcvYv.ceP1GLv.47qs247AlxYzYh/cc9RTcBJ.",
	"SHA256-CRYPT":  "{SHA256-CRYPT}$5$hlfMhVCmE7NEbYyC$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2",
	"MD5-CRYPT":     "{MD5-CRYPT}$1$fBAQbl35$oXe2nYPR6Xt5PUhyazx7f0",
	"CRYPT":         "{CRYPT}$2y$05$pASiD9zdXGUckxsqqOCcx.iOpz0dggrAqH4Eo3TGBQBaFKbd70tN2",
	"CRYPT DES":     "{CRYPT}7CSnhXeQ8bpgc",
	"bare":          "$5$hlfMhVCmE7NEbYyC$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2",
	"bare DES":      "7CSnhXeQ8bpgc",
	"SHA":           "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
	"SSHA":          "{SSHA}/3OO9M4zKSi+trAa98aE3M0w1FtxnTVY",
	"SHA256":        "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
	"SSHA256":       "{SSHA256}g4OyMzRyTfHFkvC4khwt4mJDz+0GdnaL3vGvOMHh/lyn+bKg",
	"SHA512":        "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
	"SSHA512":       "{SSHA512}QFeSxjYvIL/1EdoWWjDhWQWTOQf2r8P7oVCXDuDmi1Zss+jAQvhukHSxVMWcpBkPW3LJKAYtQN0P3cjcfMFH8L6n3rA=",
	"PLAIN-MD5":     "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
	"LDAP-MD5":      "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"MD5 hex":       "{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
	"MD5 base64":    "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"MD5 crypt":     "{MD5}$1$ALOSZUGo$PxYzS5Ps/iXT4v9moy5Jm1",
	"SMD5":          "{SMD5}5t7DuWdnOj3WJE2XjcV6MQSisj8=",
	"SCRAM-SHA-1":   "{SCRAM-SHA-1}4096,zvedV/rtfC2y4+gEg0LfGw==,awWRdgn2NqldYsDWc8JzeFUmgGs=,OmPiNZbYYu1kjjE0+jBFnTw4X9g=",
	"SCRAM-SHA-256": "{SCRAM-SHA-256}4096,y52uplXebumGp5iHK5qmig==,5msy0EuAzNuP7CX3RM5TFfGYJaMt1EWPrt6JEBOCN3Y=,iepS0jfiq6TuPIK0j4gm6dl49s5aDVUXsEKn9MyLA6s=",
	"PBKDF2":        "{PBKDF2}$1$GByzediQw/B3A784$5000$f66058551bba88710870947fe96b0b8cdf930807",
	"PLAIN":         "{PLAIN}secret",
	"CLEARTEXT":     "{CLEARTEXT}secret",
	"clear, lower":  "{clear}secret",
	"DES-CRYPT":     "{DES-CRYPT}7CSnhXeQ8bpgc",
	"SSHA.HEX":      "{SSHA.HEX}cac60039b13c8359090352c406c255bc1c50550ebbd80af2",
	"SHA512.B64":    "{SHA512.B64}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
	"SHA hex":       "{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
}

func TestForeignHashes(t *testing.T) {
	ctx := context.Background()
	var h Hasher
	for name, stored := range foreign {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, h.Check(stored))
			require.NoError(t, h.Verify(ctx, stored, auth.NewSecret("secret")))
			wrongs := []string{"secreT", "secre", "secrets", "", "\x00", "sécret"}
			if strings.HasPrefix(name, "ARGON2") { // 64 MiB each
				wrongs = wrongs[:1]
			}
			for _, wrong := range wrongs {
				require.ErrorIs(t, h.Verify(ctx, stored, auth.NewSecret(wrong)), ErrMismatch)
			}
		})
	}
}

// More hashes made elsewhere: perl's crypt, openssl passwd, mkpasswd.
func TestForeignCrypt(t *testing.T) {
	var h Hasher
	for stored, password := range map[string]string{
		"abNANd1rDfiNc": "secret",
		"zz6dpSdr.LHZw": "",
		"..VjoufsVUYCc": "pässwörd!longer",
		"9/1KInTVG6Mt.": "\xff\xfe\x80abc",
		"$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9":                                               "secret",
		"$6$rounds=1000$abc$MqEcPZUYRGGcOeq7PhMpfjfu/F0HrVEI0OlZBijWvO8mSG77iNUDP5MqFceKpJTBc8iITVtNyLiNTRNCxv6oh0": "secret",
		"$6$xyz$.93lutCQh7gdmqGUmc0pqsyIV6oV.yg/JdutjxPyVxVRhfQnlOaWqbPLlVr.r.CkGAEbx50p7atJLgFxm972z0":             "secret",
		"$1$xyz$Qia9Wq6FxQkYcwNWMk/RM0":                      "secret",
		"$5$xyz$ifvnqJEnDw1U3s4hNgRQfsh5KGcuIMh2ReetMWPfxY7": "secret",
		"{CRYPT}$argon2id$v=19$m=65536,t=3,p=1$3/o9u1bB0/UV7kTH4cORlQ$xHhqnsLbKY6sL24XrZMm7b3EXaqsoln/QjLRouEed/o": "secret",
	} {
		require.NoError(t, h.Verify(ctx, stored, auth.NewSecret(password)), stored)
		require.ErrorIs(t, h.Verify(ctx, stored, auth.NewSecret("x"+password)), ErrMismatch)
	}
}

// What New makes, Verify takes; two hashes of one password differ.
func TestNew(t *testing.T) {
	for _, scheme := range []string{"", "argon2id", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "CRYPT", "SCRAM-SHA-1", "SCRAM-SHA-256", "SSHA", "SSHA256", "SSHA512", "PLAIN"} {
		t.Run(scheme, func(t *testing.T) {
			if scheme == "BLF-CRYPT" && raceDetector {
				t.Skip("takes a minute under the race detector; TestPeerDoveadm makes one all the same")
			}
			h := Hasher{Scheme: scheme}
			a, err := h.New(ctx, auth.NewSecret("sécret"))
			require.NoError(t, err)
			require.NoError(t, h.Verify(ctx, a, auth.NewSecret("sécret")))
			if cheap := strings.HasPrefix(scheme, "SS") || strings.HasPrefix(scheme, "SC") || scheme == "PLAIN"; cheap {
				require.NoError(t, h.Verify(ctx, a, auth.NewSecret("se\u0301cret")), "decomposed, as some keyboards send it")
				require.ErrorIs(t, h.Verify(ctx, a, auth.NewSecret("secret")), ErrMismatch)
				b, err := h.New(ctx, auth.NewSecret("sécret"))
				require.NoError(t, err)
				require.Equal(t, scheme == "PLAIN", a == b)
			}
			require.Equal(t, scheme == "SSHA" || scheme == "SSHA256" || scheme == "SSHA512", h.Outdated(a))
		})
	}
	for _, scheme := range []string{"MD5", "DES-CRYPT", "MD5-CRYPT", "SHA", "SMD5", "PBKDF2", "ARGON2I", "NONE"} {
		_, err := (&Hasher{Scheme: scheme}).New(ctx, auth.NewSecret("x"))
		require.Error(t, err, scheme)
	}
	_, err := (&Hasher{Scheme: "BLF-CRYPT"}).New(ctx, auth.NewSecret(strings.Repeat("x", 73)))
	require.Error(t, err, "bcrypt would ignore the rest")
	for _, pw := range []string{"", "a\x00b", strings.Repeat("x", auth.MaxPassword+1)} {
		_, err := (&Hasher{}).New(ctx, auth.NewSecret(pw))
		require.Error(t, err)
	}
	strict := Hasher{Scheme: "SSHA512", Strict: true}
	a, err := strict.New(ctx, auth.NewSecret("se\u0301cret"))
	require.NoError(t, err)
	require.ErrorIs(t, strict.Verify(ctx, a, auth.NewSecret("sécret")), ErrMismatch)
}

func TestOutdated(t *testing.T) {
	h := Hasher{}
	for name, want := range map[string]bool{
		"ARGON2ID": false, "BLF-CRYPT": false, "SHA512-CRYPT": false, "SCRAM-SHA-256": false, "PLAIN": false, "PBKDF2": false, "CRYPT": false,
		"CRYPT DES": true, "bare DES": true, "MD5-CRYPT": true, "MD5 crypt": true, "SHA": true, "SSHA": true, "SSHA512": true, "PLAIN-MD5": true, "SMD5": true,
	} {
		require.Equal(t, want, h.Outdated(foreign[name]), name)
	}
	require.False(t, h.Outdated("{NONE}x"))
	require.True(t, h.Outdated("{ARGON2ID}$argon2id$v=19$m=1024,t=1,p=1$3/o9u1bB0/UV7kTH4cORlQ$xHhqnsLbKY6sL24XrZMm7b3EXaqsoln/QjLRouEed/o"), "cheaper than new ones")
	require.True(t, (&Hasher{Scheme: "BLF-CRYPT"}).Outdated(foreign["BLF-CRYPT"]), "cost 5")
}

// The caps on stored costs hold at the limit and one beyond.
func TestLimits(t *testing.T) {
	argon := func(m, t, p int) string {
		return fmt.Sprintf("{ARGON2ID}$argon2id$v=19$m=%d,t=%d,p=%d$3/o9u1bB0/UV7kTH4cORlQ$xHhqnsLbKY6sL24XrZMm7b3EXaqsoln/QjLRouEed/o", m, t, p)
	}
	bcrypt := func(cost int) string {
		return fmt.Sprintf("$2y$%02d$D3mUAPz1u4q7KyBFiQKbxOAFSWSSZWSKkavHnNhMo5RaAA5Vl9via", cost)
	}
	sha := func(rounds int) string {
		return fmt.Sprintf("$5$rounds=%d$hlfMhVCmE7NEbYyC$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2", rounds)
	}
	pbkdf2 := func(rounds int) string {
		return fmt.Sprintf("{PBKDF2}$1$GByzediQw/B3A784$%d$f66058551bba88710870947fe96b0b8cdf930807", rounds)
	}
	scram := func(n int) string { return strings.Replace(foreign["SCRAM-SHA-256"], "4096", strconv.Itoa(n), 1) }
	var h Hasher
	for _, c := range [][2]string{
		{argon(262144, 1, 1), argon(262145, 1, 1)},
		{argon(65536, 32, 1), argon(65536, 33, 1)},
		{argon(65536, 1, 16), argon(65536, 1, 17)},
		{bcrypt(15), bcrypt(16)},
		{sha(1_000_000), sha(1_000_001)},
		{pbkdf2(1_000_000), pbkdf2(1_000_001)},
		{scram(1_000_000), scram(1_000_001)},
		{"$y$jDT$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9", "$y$jET$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9"},
	} {
		require.NoError(t, h.Check(c[0]), c[0])
		require.ErrorIs(t, h.Check(c[1]), ErrCost, c[1])
		require.NoError(t, (&Hasher{Limits: Limits{-1, -1, -1, -1, -1}}).Check(c[1]))
	}
}

// Hashes that are not what they say are errors, never a panic, and never match.
func TestMalformed(t *testing.T) {
	var h Hasher
	for _, stored := range []string{
		"{", "{}", "{}x", "{PLAIN", "{" + strings.Repeat("A", 40) + "}x", "{NTLM}x", "{SSHA}", "{SSHA}x", "{SSHA}AAAA", "{SHA}" + strings.Repeat("A", 200), "{PLAIN-MD5}zz", "{SSHA.HEX}zz",
		"$", "$$", "$1$", "$1$abcdefghi$oXe2nYPR6Xt5PUhyazx7f0", "$1$a$short", "$2y$", "$2y$05$short", "$2y$99$D3mUAPz1u4q7KyBFiQKbxOAFSWSSZWSKkavHnNhMo5RaAA5Vl9via",
		"$5$a$b", "$6$rounds=x$a$b", "$6$rounds=10$a$b", "$5$" + strings.Repeat("s", 17) + "$UPgqjZKjFPuvCwElVzKcK1674hHtK7P9Wluga9LkGN2", "$y$", "$y$j9T$$", "$y$zzz$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
		"{ARGON2ID}$argon2id$v=19$m=0,t=0,p=0$AAAA$AAAAAAAA", "{ARGON2ID}$argon2id$v=16$m=8,t=1,p=1$AAAA$AAAAAAAA", "{ARGON2ID}$argon2id$v=19$m=-8,t=1,p=1$AAAA$AAAAAAAA", "{ARGON2ID}$argon2d$v=19$m=8,t=1,p=1$AAAA$AAAAAAAA",
		"{ARGON2ID}$argon2id$v=19$m=8,t=1,p=2$AAAA$AAAAAAAA", "{ARGON2ID}$argon2id$v=19$m=99999999999999999999,t=1,p=1$AAAA$AAAAAAAA",
		"ab", "abNANd1rDfiN", "abNANd1rDfiNcc", "ab!ANd1rDfiNc", "_J9..rasmBYk8r9AiWNc", "{SCRAM-SHA-256}1,2,3", "{SCRAM-SHA-256}0,AAAA,AAAA,AAAA", "{SCRAM-SHA-256}x,AAAA,AAAA,AAAA", "{PBKDF2}$1$$5000$00", "{PBKDF2}$1$a$0$f66058551bba88710870947fe96b0b8cdf930807", "{MD5}$2$",
	} {
		err := h.Check(stored)
		require.Error(t, err, stored)
		require.Error(t, h.Verify(ctx, stored, auth.NewSecret("x")))
	}
	for _, locked := range []string{"", "!", "*", "!!", "*LK*", "!$6$x", "{CRYPT}!", "{CRYPT}*", "{SSHA}"} {
		require.ErrorIs(t, h.Verify(ctx, locked, auth.NewSecret(strings.TrimPrefix(locked, "{CRYPT}"))), ErrLocked, locked)
	}
}

// Passwords that SASLprep refuses are taken as they are, on both sides.
func TestSCRAMWithoutSASLprep(t *testing.T) {
	h := Hasher{Scheme: "SCRAM-SHA-256"}
	stored, err := h.New(ctx, auth.NewSecret("🐴🔋"))
	require.NoError(t, err)
	require.NoError(t, h.Verify(ctx, stored, auth.NewSecret("🐴🔋")))
}

func FuzzStored(f *testing.F) {
	for _, s := range foreign {
		f.Add(s)
	}
	h := Hasher{Limits: Limits{Memory: 64, Passes: 1, Threads: 1, BcryptCost: 4, Rounds: 1000}}
	f.Fuzz(func(t *testing.T, stored string) {
		err := h.Check(stored)
		verr := h.Verify(ctx, stored, auth.NewSecret("some password"))
		if err != nil && verr == nil {
			t.Fatalf("%q: Check says %v, Verify lets in", stored, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	var h Hasher
	secret := auth.NewSecret("secret")
	stored, _ := h.New(ctx, secret)
	hashes := map[string]string{"ARGON2ID-default": stored}
	for _, name := range []string{"SSHA512", "SHA512-CRYPT", "DES-CRYPT", "MD5-CRYPT", "SCRAM-SHA-256", "PLAIN"} {
		hashes[name] = foreign[name]
	}
	for name, stored := range hashes {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Verify(ctx, stored, secret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

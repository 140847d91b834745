package auth

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// masked is what a Secret shows to everybody who does not call Reveal.
const masked = "***"

// Secret is a password or a token that does not print: fmt with any verb, slog, encoding/json,
// encoding/xml and the like all show "***". The zero value is the empty secret.
//
// The text sits behind a pointer because fmt reads unexported fields without asking their
// methods: a struct that holds a Secret shows an address at worst, never the text.
type Secret struct{ text *string }

// NewSecret returns text as a Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text. Every call of it is a place where a secret could leak.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether the secret has no text.
func (s Secret) Empty() bool { return s.text == nil }

// Equal compares two secrets in a time that depends on their lengths only.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "***".
func (s Secret) String() string { return masked }

// GoString returns "***".
func (s Secret) GoString() string { return masked }

// Format writes "***" for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, masked) }

// LogValue returns "***".
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "***": a Secret is never part of a file or a message by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

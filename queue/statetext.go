package queue

import (
	"fmt"
	"slices"
)

// stateNames are the states as in listings.
func stateNames() []string { return []string{"incoming", "active", "deferred", "hold", "corrupt"} }

// MarshalText implements encoding.TextMarshaler by String, so that JSON says "deferred".
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It is an error if no state has that name.
func (s *State) UnmarshalText(b []byte) error {
	i := slices.Index(stateNames(), string(b))
	if i < 0 {
		return fmt.Errorf("queue: no state is called %q", b)
	}
	*s = State(i)
	return nil
}

// kindNames are the kinds as in JSON.
func kindNames() []string { return []string{"mail", "report", "notice"} }

// String returns the kind in a word: "mail", "report" or "notice".
func (k Kind) String() string {
	if names := kindNames(); int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler by String, so that JSON says "report".
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. It is an error if no kind has that name.
func (k *Kind) UnmarshalText(b []byte) error {
	i := slices.Index(kindNames(), string(b))
	if i < 0 {
		return fmt.Errorf("queue: no kind of message is called %q", b)
	}
	*k = Kind(i)
	return nil
}

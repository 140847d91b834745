package imap

import "time"

// CommandVerbs returns the verbs of the command table.
func CommandVerbs() (verbs []string) {
	for _, c := range commands() {
		verbs = append(verbs, c.verb)
	}
	return verbs
}

// DefaultTimeouts returns how long a client may be silent, and how long it may take for a command.
func DefaultTimeouts() (idle, command time.Duration) {
	s := new(Server).settings()
	return s.IdleTimeout, s.CommandTimeout
}

package imap

// CommandVerbs returns the verbs of the command table.
func CommandVerbs() (verbs []string) {
	for _, c := range commands() {
		verbs = append(verbs, c.verb)
	}
	return verbs
}

package main

import (
	"fmt"
	"slices"
	"strings"
)

// targetNames gives each folder its name in the target. Names that need no change keep theirs; where a changed one
// is taken it gets a number, in the order of the source's names.
func targetNames(kind string, names []string) map[string]string {
	to, taken := make(map[string]string), make(map[string]bool)
	names = slices.Sorted(slices.Values(names))
	for _, n := range names {
		if safeName(kind, n) == n {
			to[n], taken[n] = n, true
		}
	}
	for _, n := range names {
		if to[n] != "" {
			continue
		}
		name := safeName(kind, n)
		for i := 2; taken[name]; i++ {
			name = fmt.Sprintf("%s_%d", safeName(kind, n), i)
		}
		to[n], taken[name] = name, true
	}
	return to
}

// safeName replaces what the target's names can not have by "_".
func safeName(kind, name string) string {
	bad := "" // "/" never is part of a level
	if kind == "maildir" {
		bad = ".%*" // Maildir++ has "." between the levels; the others IMAP clients can not name
	}
	levels := strings.Split(name, "/")
	for i, l := range levels {
		l = strings.Map(func(r rune) rune {
			if strings.ContainsRune(bad, r) {
				return '_'
			}
			return r
		}, l)
		if strings.HasPrefix(l, ".") || strings.HasSuffix(l, ".lock") || strings.HasSuffix(l, ".sbd") {
			l = "_" + strings.TrimPrefix(strings.ReplaceAll(l, ".", "_"), "_")
		}
		levels[i] = l
	}
	return strings.Join(levels, "/")
}

//go:build !windows

package maildir

// infoSep stands between a message's name and its info ("2,FLAGS").
const infoSep = ':'

//go:build !linux

package mbox

// holderLine is what dotlocks tell of their holder beside its number.
func holderLine() string { return "" }

// holderDead can not tell.
func holderDead(int, string) bool { return false }

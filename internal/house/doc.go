// Package house holds the tests that keep the house: import arrows between the rooms, golden lists of exported names and of
// third-party packages linked, documentation and examples in every public package, compiling README blocks, an outside module
// that imports each package alone, and alarms for long files and functions. It has no code of its own.
//
// The golden lists under testdata change on purpose only; after such a change:
//
//	go test ./internal/house -update
package house

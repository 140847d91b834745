// Package benchpeers measures this project beside others in one run. It is a module of its own, so that nobody who imports
// ours downloads them.
package benchpeers

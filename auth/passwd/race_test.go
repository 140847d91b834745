//go:build race

package passwd

// raceDetector makes bcrypt, which is all memory accesses, some hundred times slower.
const raceDetector = true

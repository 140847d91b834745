//go:build race

package smtp_test

// raceDetector tells tests that measure memory that they would measure the detector's.
const raceDetector = true

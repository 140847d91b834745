//go:build race

package crlf

// raceDetector: pools drop what they are given at random, and everything takes ten times as long.
const raceDetector = true

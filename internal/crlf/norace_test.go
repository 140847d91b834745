//go:build !race

package crlf

const raceDetector = false

package crlf

import (
	"encoding/binary"
	"math/bits"
)

// Masks for 8 octets in one word.
const (
	ones = 0x0101010101010101
	high = 0x8080808080808080
	low7 = 0x7f7f7f7f7f7f7f7f
	crs  = '\r' * ones
	lfs  = '\n' * ones
	dots = '.' * ones
)

// zeros returns a word in which the high bit of each octet tells that the octet of v is zero.
func zeros(v uint64) uint64 { return ^((v&low7 + low7) | v | low7) }

// someZero is cheaper and tells only whether there is a zero octet; of the bits it returns the lowest is right.
func someZero(v uint64) uint64 { return (v - ones) &^ v & high }

// cursor knows where in a line a scan is.
type cursor struct {
	line    int  // octets of the unfinished line so far
	longest int  // the longest line so far
	bol     bool // at the beginning of a line, by the strict rule
}

// grow passes n octets within a line.
func (c *cursor) grow(n int) {
	c.line += n
	c.longest = max(c.longest, c.line)
}

// pass goes over the beginning of b while it is text in which nothing needs a look: no bare CR or LF, no dot at the beginning of a line.
// It works on 8 octets at a time, stops in good time, and returns how far it came.
//
// In a word without bare CRs and LFs, the LFs are where the CRs are, one octet later. So short lines cost no more than long ones.
func (c *cursor) pass(b []byte) int {
	var (
		i         int
		cr        uint64 // 0x80: the octet before i is a CR
		lf        uint64 // 0x80: the octet before i is an LF, or the beginning
		line, top = c.line, c.longest
	)
	if c.bol {
		lf = 0x80
	}
	for ; len(b)-i >= 8; i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		if someZero(v^crs)|someZero(v^lfs)|cr|lf == 0 {
			line += 8
			continue
		}
		crHere, lfHere := zeros(v^crs), zeros(v^lfs)
		if lfHere != crHere<<8|cr || zeros(v^dots)&(lfHere<<8|lf) != 0 {
			break
		}
		cr, lf = crHere>>56, lfHere>>56
		if lfHere == 0 {
			line += 8
			continue
		}
		top = max(top, line+bits.TrailingZeros64(lfHere)>>3-1)
		if top < 5 { // lines within the word count
			top = max(top, longestWithin(lfHere))
		}
		line = bits.LeadingZeros64(lfHere) >> 3
	}
	if cr != 0 { // judged with what follows, which has not been seen
		i--
		line--
	}
	c.line, c.longest, c.bol = line, max(top, line), lf != 0
	return i
}

// longestWithin returns the length of the longest line between the LFs of a word.
func longestWithin(lf uint64) int {
	longest := 0
	for last := bits.TrailingZeros64(lf) >> 3; ; {
		lf &= lf - 1
		if lf == 0 {
			return longest
		}
		next := bits.TrailingZeros64(lf) >> 3
		longest = max(longest, next-last-2)
		last = next
	}
}

type eolVerdict uint8

const (
	wholeEOL eolVerdict = iota // a CRLF
	bareEOL                    // a bare CR or LF
	cutEOL                     // a CR at the end of what is there: the next octet decides
)

// judgeEOL says what b, which begins with a CR or LF, begins with.
func judgeEOL(b []byte) eolVerdict {
	switch {
	case b[0] == '\n':
		return bareEOL
	case len(b) == 1:
		return cutEOL
	case b[1] != '\n':
		return bareEOL
	}
	return wholeEOL
}

// indexEOL returns the index of the first CR or LF in b, or -1. One search for both is what keeps hostile mixtures of bare CRs and LFs as
// cheap as ordinary lines.
func indexEOL(b []byte) int {
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		if m := someZero(v^crs) | someZero(v^lfs); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '\r' || b[i] == '\n' {
			return i
		}
	}
	return -1
}

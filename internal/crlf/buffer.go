package crlf

import "sync"

// smallBuffer is what every Reader owns. An idle connection costs this and no more, while a command, and the pipelined
// MAIL, RCPT and DATA of one transaction, still arrive in one read.
const smallBuffer = 1 << 10

// bulkBuffer is what message data is read with.
const bulkBuffer = 64 << 10

// bufferSizes are the sizes kept in pools, smallest first. A long line takes the next size only when it has filled the last one, so
// that memory follows the octets received and not the limit announced.
var bufferSizes = [...]int{8 << 10, 16 << 10, bulkBuffer}

// pools holds *buffer by bufferSizes. What lies in them is free memory, not state.
var pools [len(bufferSizes)]sync.Pool

// buffer is boxed so that it goes in and out of a pool without an allocation.
type buffer struct {
	b     []byte
	class int // index into bufferSizes; -1 = too large to be kept
}

// takeBuffer returns a buffer of at least size octets.
func takeBuffer(size int) *buffer {
	for class, s := range bufferSizes {
		if s < size {
			continue
		}
		if b, ok := pools[class].Get().(*buffer); ok {
			return b
		}
		return &buffer{make([]byte, s), class}
	}
	return &buffer{make([]byte, size), -1}
}

// giveBuffer returns b to its pool. Nothing may hold a slice of it any more.
func giveBuffer(b *buffer) {
	if b != nil && b.class >= 0 {
		pools[b.class].Put(b)
	}
}

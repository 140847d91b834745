package queue

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sync/atomic"

	"github.com/goniec-mail/goniec/faultfs"
)

// A segment is a file of fixed size, written with zeros when it is made and used again and again,
// because a flush is cheapest where nothing but data changes:
//
//	header | record | record | ... free ... | footer | trailer
//
// The epoch is a random number that changes with each use. It stands in every record and goes into
// every checksum, so neither what an earlier use left behind nor anything that a sender puts into
// a message is ever taken for a record. The footer, written when the segment is full, holds the
// heads of all records.
const (
	segmentMagic  = "GNQS\x01\r\n\x00" // name and version of the format
	trailerMagic  = "GNQF\x01\r\n\x00"
	segmentHeader = 32 // magic, number u64, epoch u64, size of the file u32, crc u32
	recordHeader  = 20 // epoch u64, crc u32, length of the payload u32, time u32
	trailerSize   = 40 // magic, epoch u64, footer offset u32, footer length u32, end of records u32, time u32, crc of footer u32, crc u32
)

// castagnoli is computed by hardware.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type segment struct {
	n     uint32 // number; they rise
	name  string
	file  faultfs.File
	size  uint32
	epoch uint64

	end     uint32        // of its records
	written atomic.Uint32 // the same, for the flush
	footer  []byte        // of the open segment: gathered
	sealed  bool
	broken  bool // a flush failed: not written any more

	flusher *flusher

	puts, live atomic.Int32 // messages put here, and those of them still queued
	pins       atomic.Int32 // bodies being read
}

// segmentName makes the name of a segment's file. They sort by number.
func segmentName(n uint32) string { return fmt.Sprintf("s%010d.seg", n) }

func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

func (s *segment) header() []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(s.n))
	binary.LittleEndian.PutUint64(b[16:], s.epoch)
	binary.LittleEndian.PutUint32(b[24:], s.size)
	binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli()))
	return b
}

// parseHeader reads the header; ok is false if it is damaged, newer if its version is another. full is the
// size that the file had.
func (s *segment) parseHeader(b []byte) (full uint32, ok, newer bool) {
	if len(b) < segmentHeader || binary.LittleEndian.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli()) {
		return 0, false, false
	}
	if string(b[:8]) != segmentMagic || binary.LittleEndian.Uint64(b[8:]) != uint64(s.n) {
		return 0, false, true
	}
	s.epoch = binary.LittleEndian.Uint64(b[16:])
	return binary.LittleEndian.Uint32(b[24:]), true, false
}

// payloadSum is the part of a record's checksum that does not depend on its place.
func payloadSum(b []byte) uint32 { return crc32.Checksum(b[recordHeader:], castagnoli()) }

// stamp fills in the header of a record whose payload stands at b[recordHeader:].
func (s *segment) stamp(b []byte, off, now uint32, payloadSum uint32) {
	binary.LittleEndian.PutUint64(b, s.epoch)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-recordHeader))
	binary.LittleEndian.PutUint32(b[16:], now)
	binary.LittleEndian.PutUint32(b[8:], s.sum(b, off, payloadSum))
}

// sum is the checksum of a record: payload, header, place and epoch.
func (s *segment) sum(b []byte, off, payloadSum uint32) uint32 {
	var x [20]byte
	binary.LittleEndian.PutUint64(x[:], s.epoch)
	binary.LittleEndian.PutUint32(x[8:], off)
	copy(x[12:], b[12:recordHeader])
	return crc32.Update(payloadSum, castagnoli(), x[:])
}

// room reports whether a record with these heads fits, with the footer that will describe it.
func (s *segment) room(record, heads, reserve int) bool {
	need := int64(s.end) + int64(record) + int64(len(s.footer)) + int64(heads) + footerEntry + trailerSize + int64(reserve)
	return need <= int64(s.size)
}

// footerEntry is the most that the footer needs for a record beside its heads.
const footerEntry = 3 * binary.MaxVarintLen32

// note adds a record to the footer.
func (s *segment) note(off, length uint32, heads []byte) {
	s.footer = binary.AppendUvarint(s.footer, uint64(off))
	s.footer = binary.AppendUvarint(s.footer, uint64(length))
	s.footer = appendText(s.footer, heads)
}

// writeFooter writes footer and trailer to the end of the file.
func (s *segment) writeFooter(now uint32) error {
	t := make([]byte, trailerSize)
	at := s.size - trailerSize - uint32(len(s.footer))
	copy(t, trailerMagic)
	binary.LittleEndian.PutUint64(t[8:], s.epoch)
	binary.LittleEndian.PutUint32(t[16:], at)
	binary.LittleEndian.PutUint32(t[20:], uint32(len(s.footer)))
	binary.LittleEndian.PutUint32(t[24:], s.end)
	binary.LittleEndian.PutUint32(t[28:], now)
	binary.LittleEndian.PutUint32(t[32:], crc32.Checksum(s.footer, castagnoli()))
	binary.LittleEndian.PutUint32(t[36:], crc32.Checksum(t[:36], castagnoli()))
	if _, err := s.file.WriteAt(append(s.footer[:len(s.footer):len(s.footer)], t...), int64(at)); err != nil {
		return err
	}
	return nil
}

// readFooter calls each for every record that the footer names. ok is false, and nothing was
// called, if there is none or it is damaged. The error is one of reading, or of each.
func (s *segment) readFooter(each func(off, length uint32, heads []byte) error) (now uint32, ok bool, err error) {
	t := make([]byte, trailerSize)
	if s.size < segmentHeader+trailerSize {
		return 0, false, nil
	}
	if _, err := s.file.ReadAt(t, int64(s.size)-trailerSize); err != nil {
		return 0, false, err
	}
	if string(t[:8]) != trailerMagic || binary.LittleEndian.Uint64(t[8:]) != s.epoch ||
		binary.LittleEndian.Uint32(t[36:]) != crc32.Checksum(t[:36], castagnoli()) {
		return 0, false, nil
	}
	at, length := binary.LittleEndian.Uint32(t[16:]), binary.LittleEndian.Uint32(t[20:])
	if int64(at)+int64(length) > int64(s.size) {
		return 0, false, nil
	}
	footer := make([]byte, length)
	if _, err := s.file.ReadAt(footer, int64(at)); err != nil {
		return 0, false, err
	}
	if binary.LittleEndian.Uint32(t[32:]) != crc32.Checksum(footer, castagnoli()) {
		return 0, false, nil
	}
	s.end = binary.LittleEndian.Uint32(t[24:])
	c := cursor{b: footer}
	for len(c.b) > 0 && err == nil {
		off, n := c.small(), c.small()
		heads := c.text()
		if c.bad {
			return 0, false, errCodec // checksummed, and yet wrong: a bug, not damage
		}
		err = each(off, n, heads)
	}
	return binary.LittleEndian.Uint32(t[28:]), true, err
}

// readRecord reads and checks the record at off. The result is its payload and its time; errDamaged
// if it is not what was written.
func (s *segment) readRecord(off uint32, buf []byte) (payload []byte, now uint32, err error) {
	buf = append(buf[:0], make([]byte, recordHeader)...)
	if _, err := s.file.ReadAt(buf, int64(off)); err != nil {
		return nil, 0, s.readError(off, err)
	}
	n := binary.LittleEndian.Uint32(buf[12:])
	if int64(off)+recordHeader+int64(n) > int64(s.size) {
		return nil, 0, s.readError(off, errDamaged)
	}
	if cap(buf) < recordHeader+int(n) {
		buf = append(make([]byte, 0, recordHeader+int(n)), buf...)
	}
	buf = buf[:recordHeader+int(n)]
	if _, err := s.file.ReadAt(buf[recordHeader:], int64(off)+recordHeader); err != nil {
		return nil, 0, s.readError(off, err)
	}
	if !s.valid(buf, off) {
		return nil, 0, s.readError(off, errDamaged)
	}
	return buf[recordHeader:], binary.LittleEndian.Uint32(buf[16:]), nil
}

var errDamaged = fmt.Errorf("%w: checksum does not fit", ErrCorrupt)

func (s *segment) readError(off uint32, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = fmt.Errorf("%w: file is too short", ErrCorrupt)
	}
	return fmt.Errorf("queue segment %s at %d: %w", s.name, off, err)
}

// valid checks a whole record; its epoch need not be right where it stands in clear, only in the
// checksum, so that damage there is no loss.
func (s *segment) valid(rec []byte, off uint32) bool {
	sum := crc32.Checksum(rec[recordHeader:], castagnoli())
	return binary.LittleEndian.Uint32(rec[8:]) == s.sum(rec, off, sum)
}

// recordAt returns the record at off in an image of the file, if a valid one stands there.
func (s *segment) recordAt(img []byte, off int) (rec []byte, ok bool) {
	if off+recordHeader > len(img) {
		return nil, false
	}
	n := int64(binary.LittleEndian.Uint32(img[off+12:]))
	if n < 4 || int64(off)+recordHeader+n > int64(len(img)) {
		return nil, false
	}
	rec = img[off : off+recordHeader+int(n)]
	return rec, s.valid(rec, uint32(off))
}

// damage is a part of a segment that holds no valid record, though something was written there.
type damage struct{ from, to int }

// scan finds all records in an image of the file. Behind damage it goes on at the next valid record.
func (s *segment) scan(img []byte, each func(off, length uint32, now uint32, payload []byte) error) (bad []damage, err error) {
	var mark [8]byte
	binary.LittleEndian.PutUint64(mark[:], s.epoch)
	off := segmentHeader
	s.end = uint32(off)
	for off < len(img) {
		if rec, ok := s.recordAt(img, off); ok {
			err := each(uint32(off), uint32(len(rec)), binary.LittleEndian.Uint32(rec[16:]), rec[recordHeader:])
			if err != nil {
				return bad, err
			}
			off += len(rec)
			s.end = uint32(off)
			continue
		}
		next, found := s.resync(img, off, mark[:])
		switch {
		case found:
			bad = append(bad, damage{off, next})
		case bytes.HasPrefix(img[off:], mark[:]):
			// The last record is torn, or damaged: nobody can tell.
			bad = append(bad, damage{off, s.tornEnd(img, off)})
		}
		if !found {
			break
		}
		off = next
	}
	return bad, nil
}

// resync looks for the next valid record behind off.
func (s *segment) resync(img []byte, off int, mark []byte) (int, bool) {
	for at := off + 1; at < len(img); at++ {
		i := bytes.Index(img[at:], mark)
		if i < 0 {
			return 0, false
		}
		at += i
		if _, ok := s.recordAt(img, at); ok {
			return at, true
		}
	}
	return 0, false
}

// tornEnd guesses where a torn record ends: where it says, but its length may be what is damaged.
func (s *segment) tornEnd(img []byte, off int) int {
	if off+recordHeader > len(img) {
		return len(img)
	}
	end := int64(off) + recordHeader + int64(binary.LittleEndian.Uint32(img[off+12:]))
	return int(min(max(end, int64(off)+64<<10), int64(len(img))))
}

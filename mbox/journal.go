package mbox

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
)

// crcTable is Castagnoli's polynomial, which processors know.
var crcTable = crc32.MakeTable(crc32.Castagnoli)

// The journal beside the file, ".name.goniec-append", says what is being appended where, before the
// first octet is written. It has one line of journalSize octets; what does not end with its right
// checksum is no journal. After a crash it tells a torn tail from a message.
//
//	goniec-mbox-append 1 <size before> <length> <crc of the record> <crc of what lies before> <first octets, hex> <crc of the line>
//
// Of several messages that are stored together, or not at all, each is a part. They are in a table of lines behind the
// first one, in the order of the file:
//
//	goniec-mbox-append 2 <size before> <length> <crc of what lies before> <number of parts> <crc of the table> <crc of the line>
//	<length> <crc of the record> <first octets, hex>
type journal struct {
	size, length int64
	before       uint32 // of the last octets of the file, up to beforeSize
	parts        []part
}

// part is one message of an append.
type part struct {
	length int64
	sum    uint32
	head   []byte // up to headSize
}

const (
	journalFormat  = "goniec-mbox-append 1 %d %d %08x %08x %x"
	togetherFormat = "goniec-mbox-append 2 %d %d %08x %d %08x"
	partFormat     = "%d %08x %x\n"
	journalSize    = 256
	partSize       = 128 // the longest line of the table
	beforeSize     = 4096
	headSize       = 48
	// maxLooks is how many words "From " of a torn tail are looked at.
	maxLooks = 100_000
	// maxTogether is how many messages can be stored at once.
	maxTogether = 10_000
)

func journalName(name string) string { return "." + name + ".goniec-append" }

// text is the journal.
func (j *journal) text() []byte {
	if len(j.parts) == 1 {
		p := j.parts[0]
		return journalText(fmt.Sprintf(journalFormat, j.size, p.length, p.sum, j.before, p.head))
	}
	var table []byte
	for _, p := range j.parts {
		table = fmt.Appendf(table, partFormat, p.length, p.sum, p.head)
	}
	line := fmt.Sprintf(togetherFormat, j.size, j.length, j.before, len(j.parts), crc32.Checksum(table, crcTable))
	return append(journalText(line), table...)
}

// doneLine stands in the journal when nothing is under way. It names the file whose name is known to be durable, with its
// size and the checksum of its end: another one may get the same number. The zero Info is none.
func doneLine(info faultfs.Info, sum uint32) []byte {
	return journalText(fmt.Sprintf("goniec-mbox-append 1 done %d %d %d %08x", info.Device, info.Inode, info.Size, sum))
}

func journalText(text string) []byte {
	text = fmt.Sprintf("%s %08x", text, crc32.Checksum([]byte(text), crcTable))
	return append(bytes.Repeat([]byte(" "), journalSize-1-len(text)), text+"\n"...)
}

// readJournal reads what is under way; nil when nothing is.
func readJournal(r io.ReaderAt) (*journal, error) {
	line := make([]byte, journalSize)
	n, err := r.ReadAt(line, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	text := bytes.TrimSpace(line[:n])
	i := bytes.LastIndexByte(text, ' ')
	if i < 0 || fmt.Sprintf("%08x", crc32.Checksum(text[:i], crcTable)) != string(text[i+1:]) {
		return nil, nil
	}
	j, p := &journal{}, part{}
	if _, err = fmt.Sscanf(string(text[:i]), journalFormat, &j.size, &p.length, &p.sum, &j.before, &p.head); err == nil {
		j.length, j.parts = p.length, []part{p}
		return j.valid(), nil
	}
	var parts int
	var sum uint32
	if _, err = fmt.Sscanf(string(text[:i]), togetherFormat, &j.size, &j.length, &j.before, &parts, &sum); err != nil || parts < 1 || parts > maxTogether {
		return nil, nil
	}
	return j.readTable(io.NewSectionReader(r, journalSize, int64(parts)*partSize), parts, sum)
}

// readTable reads the parts; nil when they are not those of the line.
func (j *journal) readTable(r io.Reader, parts int, sum uint32) (*journal, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	at := 0
	for range parts {
		end := bytes.IndexByte(text[at:], '\n') + 1
		var p part
		if _, err := fmt.Sscanf(string(text[at:at+end]), partFormat, &p.length, &p.sum, &p.head); err != nil {
			return nil, nil
		}
		j.parts = append(j.parts, p)
		at += end
	}
	if crc32.Checksum(text[:at], crcTable) != sum {
		return nil, nil
	}
	return j.valid(), nil
}

// valid returns j, or nil when its numbers can not be.
func (j *journal) valid() *journal {
	left := j.length
	for _, p := range j.parts {
		if p.length <= 0 || p.length > left {
			return nil
		}
		left -= p.length
	}
	if j.size < 0 || left != 0 {
		return nil
	}
	return j
}

// torn tells whether the file ends with a part of what the journal says. Everything must fit: what lies before
// it, how each message begins, and that no other message follows in it. In doubt the tail stays: a partial message is
// better than one lost.
func (h *held) torn(j *journal) (bool, error) {
	size := h.info.Size
	if size <= j.size || size > j.size+j.length {
		return false, nil
	}
	before, err := sumBefore(h.file, j.size)
	if err != nil || before != j.before {
		return false, err
	}
	at, torn := j.size, size < j.size+j.length
	for _, p := range j.parts {
		if at >= size {
			break
		}
		state, err := h.partState(p, io.NewSectionReader(h.file, at, min(p.length, size-at)))
		if err != nil || state == partForeign {
			return false, err
		}
		torn = torn || state == partTorn
		at += p.length
	}
	return torn, nil
}

type partState uint8

const (
	partWhole partState = iota
	partTorn
	partForeign // it is, or holds, somebody else's
)

// partState looks at what is there of a message of ours.
func (h *held) partState(p part, src *io.SectionReader) (partState, error) {
	w := &sumWriter{}
	if _, err := io.Copy(w, src); err != nil {
		return 0, err
	}
	if w.n == p.length && w.sum == p.sum {
		return partWhole, nil
	}
	for i, b := range w.head {
		if i < len(p.head) && b != 0 && b != p.head[i] { // zeros: a sector that did not reach the disk
			return partForeign, nil
		}
	}
	// A record of mboxcl2 may hold whole messages; the checksum has told it if it is complete.
	if found, err := hasFromLine(src); found || err != nil {
		return partForeign, err
	}
	return partTorn, nil
}

// hasFromLine tells whether there is a plausible From_ line behind the first octet, wherever: a program that does not look
// at what was there before begins its message in the middle of a line. Too many words "From " to look at all count as one.
func hasFromLine(src goniec.Content) (bool, error) {
	buf, looks := make([]byte, min(src.Size()+1, 64<<10)), 0
	for at := int64(1); ; {
		n, err := src.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return false, err
		}
		b, last := buf[:n], err == io.EOF
		for {
			i := bytes.Index(b, fromWord)
			if i < 0 || len(b)-i < maxFromLine && !last {
				break
			}
			line, _, _ := bytes.Cut(b[i:min(len(b), i+maxFromLine)], []byte("\n"))
			if _, ok := ParseFromLine(line); ok || looks == maxLooks {
				return true, nil
			}
			b = b[i+1:]
			looks++
		}
		if last {
			return false, nil
		}
		// What is at the end is looked at again, with what follows.
		at += int64(n - min(len(b), maxFromLine))
	}
}

// sumBefore is the checksum of the last octets before an offset.
func sumBefore(f io.ReaderAt, off int64) (uint32, error) {
	b := make([]byte, min(off, beforeSize))
	n, err := f.ReadAt(b, off-int64(len(b)))
	if err != nil && (err != io.EOF || n < len(b)) {
		return 0, err
	}
	return crc32.Checksum(b, crcTable), nil
}

// sumWriter counts and sums, and keeps the beginning.
type sumWriter struct {
	n    int64
	sum  uint32
	head []byte
}

func (s *sumWriter) Write(p []byte) (int, error) {
	if room := headSize - len(s.head); room > 0 {
		s.head = append(s.head, p[:min(room, len(p))]...)
	}
	s.n += int64(len(p))
	s.sum = crc32.Update(s.sum, crcTable, p)
	return len(p), nil
}

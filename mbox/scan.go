package mbox

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"

	"github.com/goniec-mail/goniec/mailbox"
)

// found is a message that a scan has found.
type found struct {
	entry
	list mailbox.FlagList // of its status fields
}

// scan finds the messages of a file from an offset on.
func scan(file io.ReaderAt, from, size int64, d Dialect) ([]found, error) {
	r := NewReader(io.NewSectionReader(file, from, size-from), d)
	r.buf = make([]byte, min(size-from+maxFromLine, readerBuffer))
	var all []found
	for m, err := range r.Messages() {
		if err != nil {
			return nil, err
		}
		one, err := r.scanMessage(m)
		if err != nil {
			return nil, err
		}
		one.offset, one.start, one.end = one.offset+from, one.start+from, max(one.end, one.start)+from
		if n := len(all); n > 0 {
			all[n-1].next = one.offset
		}
		one.next = size
		all = append(all, one)
	}
	return all, nil
}

// scanMessage reads the message that has begun.
func (r *Reader) scanMessage(m *Message) (f found, err error) {
	f.offset, f.start, f.size, f.date = m.Offset, r.base+int64(r.r), -1, m.Date.Unix()
	head, err := r.head()
	if err != nil {
		return f, err
	}
	f.own = m.has(markStatus) && isBlock(head)
	if f.own {
		_, f.list = splitStatus(head[:blockSize])
		f.sum = crc32.Checksum(head[blockSize:], crcTable)
	} else {
		end := headerEnd(head)
		rest, list := splitStatus(head[:end])
		f.list = list
		f.sum = crc32.Update(crc32.Checksum(rest, crcTable), crcTable, head[end:])
	}
	for {
		piece, err := r.piece()
		if err != nil {
			return f, err
		}
		if piece == nil {
			f.end = r.end
			return f, nil
		}
		f.sum = crc32.Update(f.sum, crcTable, piece)
	}
}

// head returns the beginning of the message, with its header unless that is very long. How much it is depends
// on the message alone.
func (r *Reader) head() ([]byte, error) {
	var head []byte
	for len(head) < maxLengthHeader {
		piece, err := r.piece()
		if err != nil {
			return nil, err
		}
		if piece == nil {
			break
		}
		if end := headerEnd(piece); len(head) == 0 && end < len(piece) || len(piece) > maxLengthHeader {
			r.r -= len(piece) - min(end, maxLengthHeader)
			if len(piece) > min(end, maxLengthHeader) {
				r.in = true
			}
			return piece[:min(end, maxLengthHeader)], nil
		}
		head = append(bytes.Clone(head), piece...)
	}
	return head, nil
}

// headerEnd returns where the body begins; all of b when it has no empty line.
func headerEnd(b []byte) int {
	if n := blankLine(b); n > 0 {
		return n
	}
	end := len(b)
	if i := bytes.Index(b, []byte("\n\n")); i >= 0 {
		end = i + 2
	}
	if i := bytes.Index(b[:end], []byte("\n\r\n")); i >= 0 {
		end = i + 3
	}
	return end
}

// message opens one message of the file for reading in network form.
func (e *entry) message(file io.ReaderAt, d Dialect) (io.Reader, error) {
	r := NewReader(io.NewSectionReader(file, e.offset, e.next-e.offset), d)
	r.buf = make([]byte, min(e.next-e.offset+maxFromLine, readerBuffer)) // most messages are small
	m, err := r.Next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if e.own {
		if r.w-r.r < blockSize || !isBlock(r.buf[r.r:r.w]) {
			return nil, mailbox.ErrGone
		}
		r.r += blockSize
		r.start += int64(blockSize)
		return readerOnly{r}, nil
	}
	for r.w-r.r < maxLengthHeader && r.fill() {
		continue
	}
	raw := r.buf[r.r:r.w]
	if left := max(e.end-e.offset-(r.base+int64(r.r)), 0); int64(len(raw)) > left {
		raw = raw[:left]
	}
	raw = raw[:min(len(raw), maxLengthHeader)]
	end := headerEnd(raw)
	rest, _ := splitStatus(raw[:end])
	r.r += end
	dec := &r.dec
	dec.raw = m.has(markRaw)
	return io.MultiReader(bytes.NewReader(dec.append(nil, rest)), readerOnly{r}), nil
}

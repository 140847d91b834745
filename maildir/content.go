package maildir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/goniec-mail/goniec/faultfs"
)

// maxSize bounds a message's size in the index: 40 bits, a terabyte.
const maxSize = 1<<40 - 2

// form is how a file's octets become the message's.
type form uint8

const (
	formUnknown form = iota // no usable sizes in the name: count the line ends first
	formRaw                 // as they are
	formLF                  // each LF without CR before it is CRLF
)

// formOf takes a file's form from the sizes in its name, if they fit the file.
func formOf(base string, fileSize int64) (form, int64) {
	s, w := sizeIn(base, keyFileSize), sizeIn(base, keyNetSize)
	switch {
	case s != fileSize || w < s || w > 2*s: // each octet becomes two at the most
		return formUnknown, -1
	case s == w:
		return formRaw, w
	default:
		return formLF, w
	}
}

// openContent opens a message's file and learns its form.
func openContent(dir faultfs.Dir, name string) (*content, error) { return openTrusting(dir, name, nil) }

// openTrusting is openContent where trust is asked whether the network size of the name is to be believed: it can not be
// checked without reading the file.
func openTrusting(dir faultfs.Dir, name string, trust func(size int64) bool) (*content, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	base, _ := splitInfo(name)
	how, size := formOf(base, info.Size)
	if how == formLF && trust != nil && !trust(size) {
		how = formUnknown
	}
	c := newContent(f, size, how)
	c.fileSize = info.Size
	if how == formUnknown {
		err = c.measure(info.Size)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return c, nil
}

// content is a message's file in network form. Offsets of the two forms are tied together every
// chunkSize octets of the file by a mark, so that ReadAt reads at most a chunk before its offset;
// marks are made as far as somebody has read. Where the last read ended is remembered, so that
// reading on costs nothing.
type content struct {
	file     faultfs.File
	fileSize int64 // 0: not known
	size     int64 // in network form
	form     form
	wrong    func() // called when the size turns out to be wrong; nil: nobody asks

	mu    sync.Mutex
	marks []int64 // marks[i] is the network offset of file offset i*chunkSize
	next  cursor  // where the last ReadAt ended
}

// cursor ties a network offset to a file offset. cr: the octet before is a CR (so that an LF that
// comes now stands alone); half: the CR that an LF at file gets was given already.
type cursor struct {
	net, file int64
	cr, half  bool
}

func newContent(f faultfs.File, size int64, how form) *content {
	return &content{file: f, size: size, form: how, marks: []int64{0}}
}

// Size implements goniec.Content.
func (c *content) Size() int64 { return c.size }

// Close closes the file.
func (c *content) Close() error { return c.file.Close() }

// measure finds the network size of a file of n octets: it makes all marks.
func (c *content) measure(n int64) error {
	for at := int64(0); at < n; at += chunkSize {
		if err := c.mark(); err != nil && err != io.EOF {
			return err
		}
	}
	last := len(c.marks) - 1
	c.size, c.form = c.marks[last]-(int64(last)*chunkSize-n), formLF
	if c.size == n {
		c.form = formRaw
	}
	return nil
}

// mark adds the mark after the last one. After the end of the file marks go on as if octets came.
func (c *content) mark() error {
	buf := chunks.Get().(*[chunkSize + 1]byte)
	defer chunks.Put(buf)
	at := int64(len(c.marks)-1) * chunkSize
	b, err := c.chunkAt(buf, at)
	if err != nil && err != io.EOF {
		return err
	}
	lone := bytes.Count(b[1:], []byte{'\n'}) - bytes.Count(b, []byte("\r\n")) // b[0] is of the chunk before
	c.marks = append(c.marks, c.marks[len(c.marks)-1]+chunkSize+int64(lone))
	return err
}

// chunkAt reads the chunk at a file offset with the octet before it in front (0 at the start).
func (c *content) chunkAt(buf *[chunkSize + 1]byte, at int64) ([]byte, error) {
	if at == 0 {
		buf[0] = 0
		n, err := c.file.ReadAt(buf[1:], 0)
		return buf[:1+n], err
	}
	n, err := c.file.ReadAt(buf[:], at-1)
	if n == 0 {
		buf[0], n = 0, 1
	}
	return buf[:n], err
}

// ReadAt implements io.ReaderAt in network form.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("maildir: negative offset")
	}
	if off >= c.size {
		return 0, io.EOF
	}
	// Never more than Size, whatever the file has by now: a protocol has told it.
	wanted := p[:min(int64(len(p)), c.size-off)]
	n, err := c.read(wanted, off)
	if err == nil && len(wanted) < len(p) {
		err = io.EOF
	}
	return n, err
}

// read fills p, which ends within Size.
func (c *content) read(p []byte, off int64) (n int, err error) {
	if c.form == formRaw {
		if n, err = c.file.ReadAt(p, off); n < len(p) {
			return n, c.shorter(err)
		}
		return n, nil
	}
	at, err := c.seek(off)
	if err != nil {
		return 0, err
	}
	buf := chunks.Get().(*[chunkSize + 1]byte)
	defer chunks.Put(buf)
	for n < len(p) {
		m, err := c.file.ReadAt(buf[:min(chunkSize, len(p)-n)], at.file)
		if m == 0 {
			return n, c.shorter(err)
		}
		n += at.expand(p[n:], buf[:m])
	}
	if at.net == c.size && at.file < c.fileSize {
		return n, c.shorter(nil) // there is more
	}
	c.mu.Lock()
	c.next = at
	c.mu.Unlock()
	return n, nil
}

// shorter is the error for a file that does not have the octets of its size: somebody has cut it, or its name is wrong.
func (c *content) shorter(err error) error {
	if err != nil && err != io.EOF {
		return err
	}
	if c.wrong != nil {
		c.wrong()
	}
	return errSizes
}

// errSizes is temporary: at the next opening the size is found out.
var errSizes = fmt.Errorf("maildir: a message's file does not have the size that its name says: %w", fs.ErrInvalid)

// expand copies src to p with the CRs that are missing, and moves on; src begins at the cursor.
func (at *cursor) expand(p, src []byte) int {
	n := 0
	for len(src) > 0 && n < len(p) {
		if src[0] == '\n' && !at.cr && !at.half {
			p[n] = '\r'
			n++
			at.net++
			at.half = true
			continue
		}
		// Up to the next LF (not one at the start: its CR is there) all is copied as it is.
		end := 1 + bytes.IndexByte(src[1:], '\n')
		if end == 0 {
			end = len(src)
		}
		m := copy(p[n:], src[:end])
		n += m
		at.net += int64(m)
		at.file += int64(m)
		at.cr, at.half = src[m-1] == '\r', false
		src = src[m:]
	}
	return n
}

// seek finds the cursor of a network offset.
func (c *content) seek(off int64) (cursor, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next.net == off && off > 0 {
		return c.next, nil
	}
	for c.marks[len(c.marks)-1] <= off {
		if err := c.mark(); err != nil {
			if err != io.EOF {
				return cursor{}, err
			}
			break
		}
	}
	i := sort.Search(len(c.marks), func(i int) bool { return c.marks[i] > off }) - 1
	return c.walk(cursor{net: c.marks[i], file: int64(i) * chunkSize}, off)
}

// walk goes from a mark to the offset, at most a chunk.
func (c *content) walk(at cursor, off int64) (cursor, error) {
	buf := chunks.Get().(*[chunkSize + 1]byte)
	defer chunks.Put(buf)
	b, err := c.chunkAt(buf, at.file)
	if err != nil && err != io.EOF {
		return at, err
	}
	at.cr, b = b[0] == '\r', b[1:]
	for at.net < off {
		if len(b) == 0 {
			return at, c.shorter(nil)
		}
		if b[0] == '\n' && !at.cr && !at.half {
			at.net++
			at.half = true
			continue
		}
		m := 1 + bytes.IndexByte(b[1:], '\n')
		if m == 0 {
			m = len(b)
		}
		m = int(min(int64(m), off-at.net))
		at.net += int64(m)
		at.file += int64(m)
		at.cr, at.half = b[m-1] == '\r', false
		b = b[m:]
	}
	return at, nil
}

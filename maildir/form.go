package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// chunkSize is how many octets are read and written at once.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize + 1]byte) }}

// errMixed ends the LF form: the message has a line end that is not CRLF.
var errMixed = errors.New("line ends are mixed")

// stored is a message in tmp/, complete and synced.
type stored struct {
	tmp      string // its name there, without sizes
	fileSize int64
	netSize  int64
	date     int64 // time of the file, Unix seconds; noDate before dated
	saved    int64 // SAVEDATE where it is not the present, Unix seconds; 0 else
}

// name is the message's base name for good. It begins with the second of SAVEDATE; what makes it unique comes behind.
func (m *stored) name() string {
	base := m.tmp
	if _, rest, ok := strings.Cut(base, "."); ok && m.saved > 0 {
		base = strconv.FormatInt(m.saved, 10) + "." + rest
	}
	return withSizes(base, m.fileSize, m.netSize)
}

// savedAs notes the SAVEDATE of AppendOptions. Before 1970 and beyond twelve digits there is none that a name can have.
func (m *stored) savedAs(o mailbox.AppendOptions) *stored {
	if s := o.Saved.Unix(); !o.Saved.IsZero() && s > 0 && s < 1e11 {
		m.saved = s
	}
	return m
}

// spoolTo writes msg under a new name in tmp, in the form design allows, and syncs it. On an error
// nothing is left there.
func (s *Store) spoolTo(ctx context.Context, tmp faultfs.Dir, msg io.Reader, date *dateStamp) (m *stored, err error) {
	w := &spooler{store: s, ctx: ctx, dir: tmp, limit: s.maxMessage()}
	defer func() {
		if err != nil {
			w.drop()
		}
	}()
	if err = w.create(); err != nil {
		return nil, err
	}
	if err = w.write(msg); err != nil {
		return nil, err
	}
	if err = date.apply(tmp, w.name); err != nil {
		return nil, err
	}
	// A failed sync is final for the file: it is dropped, never synced again.
	if err = w.file.Sync(); err != nil {
		return nil, err
	}
	file := w.file
	w.file = nil
	if err = file.Close(); err != nil {
		return nil, err
	}
	return &stored{tmp: w.name, fileSize: w.fileSize, netSize: w.netSize, date: noDate}, nil
}

// spooler writes one message. It begins with the LF form, and when a line does not end in CRLF it
// restores what it has written (every LF back to CRLF) and goes on octet by octet.
type spooler struct {
	store *Store
	ctx   context.Context
	dir   faultfs.Dir
	name  string
	file  faultfs.File
	limit int64

	fileSize, netSize int64
}

func (w *spooler) create() (err error) {
	w.name = w.store.names.next()
	w.file, err = w.dir.Create(w.name, 0o600)
	if err != nil {
		w.name = ""
	}
	return err
}

func (w *spooler) drop() {
	if w.file != nil {
		_ = w.file.Close()
	}
	if w.name != "" {
		_ = w.dir.Remove(w.name)
	}
}

func (w *spooler) write(msg io.Reader) error {
	content, seekable := goniec.AsContent(msg)
	if seekable {
		msg = goniec.NewReader(content)
	}
	if w.store.CRLF {
		return w.copyRaw(msg)
	}
	rest, err := w.copyLF(msg)
	if !errors.Is(err, errMixed) {
		return err
	}
	if seekable {
		return w.again(goniec.NewReader(content))
	}
	return w.restore(rest, msg)
}

// again starts over with the octets as they are.
func (w *spooler) again(msg io.Reader) error {
	if err := w.file.Truncate(0); err != nil {
		return err
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w.fileSize, w.netSize = 0, 0
	return w.copyRaw(msg)
}

// restore turns what was written in LF form back into what was read, in a new file, and appends
// rest and the remainder of msg.
func (w *spooler) restore(rest []byte, msg io.Reader) error {
	old, oldName, oldSize := w.file, w.name, w.netSize
	defer func() {
		_ = old.Close()
		_ = w.dir.Remove(oldName)
	}()
	w.file, w.fileSize, w.netSize = nil, 0, 0
	if err := w.create(); err != nil {
		return err
	}
	before := io.NewSectionReader(newContent(old, oldSize, formLF), 0, oldSize)
	return w.copyRaw(io.MultiReader(before, bytes.NewReader(rest), msg))
}

// put appends octets to the file; net is what they count in network form.
func (w *spooler) put(b []byte, net int64) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	if w.netSize += net; w.limit >= 0 && w.netSize > w.limit {
		return fmt.Errorf("%w (limit %d octets)", mailbox.ErrTooLarge, w.limit)
	}
	w.fileSize += int64(len(b))
	n, err := w.file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

func (w *spooler) copyRaw(msg io.Reader) error {
	buf := chunks.Get().(*[chunkSize + 1]byte)
	defer chunks.Put(buf)
	for {
		n, err := readChunk(msg, buf[:chunkSize])
		if n > 0 {
			if err := w.put(buf[:n], int64(n)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyLF writes the LF form as long as every line ends in CRLF. With errMixed, rest is what was read
// and not written.
func (w *spooler) copyLF(msg io.Reader) (rest []byte, err error) {
	buf := chunks.Get().(*[chunkSize + 1]byte)
	defer chunks.Put(buf)
	held := 0 // 1 when buf[0] is a CR that waits for its LF
	for {
		n, readErr := readChunk(msg, buf[held:chunkSize])
		b := buf[:held+n]
		if readErr != nil && readErr != io.EOF {
			return nil, readErr
		}
		whole := b
		if held = 0; readErr == nil && len(b) > 0 && b[len(b)-1] == '\r' {
			whole, held = b[:len(b)-1], 1
		}
		if !strictCRLF(whole) {
			return bytes.Clone(b), errMixed
		}
		if len(whole) > 0 {
			if err := w.put(dropCR(whole), int64(len(whole))); err != nil {
				return nil, err
			}
		}
		if readErr == io.EOF {
			return nil, nil
		}
		buf[0] = '\r'
	}
}

// readChunk fills b; io.EOF comes with the last octets.
func readChunk(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return n, err
}

// strictCRLF reports whether each LF of b follows a CR and each CR is followed by LF.
func strictCRLF(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return bytes.IndexByte(b, '\r') < 0
		}
		if i == 0 || bytes.IndexByte(b[:i], '\r') != i-1 {
			return false
		}
		b = b[i+1:]
	}
}

// dropCR removes the CRs of b in place: b is strict.
func dropCR(b []byte) []byte {
	to := bytes.IndexByte(b, '\r')
	if to < 0 {
		return b
	}
	for from := to + 1; ; {
		i := bytes.IndexByte(b[from:], '\r')
		if i < 0 {
			return b[:to+copy(b[to:], b[from:])]
		}
		to += copy(b[to:], b[from:from+i])
		from += i + 1
	}
}

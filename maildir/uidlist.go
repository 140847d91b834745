package maildir

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// listName is Dovecot's file of UIDs. Version 3 is
//
//	3 V<UIDVALIDITY> N<UIDNEXT> G<128 bits of the folder's identity> [other fields]
//	<UID> [fields, each a letter and a value] :<file name up to the info>
//
// with ascending UIDs. Lines are appended without changing the header, so that UIDNEXT is the higher
// of N and the last UID + 1. Version 1 is "1 <UIDVALIDITY> <UIDNEXT>" and "<UID> <file name>".
// Every change is made under the dotlock dovecot-uidlist.lock.
const listName = "dovecot-uidlist"

const (
	// listLimit bounds the file: 16 million messages.
	listLimit = 2 << 30
	// listSlack is how many lines of expunged messages stay before the file is written anew, beside
	// as many as there are messages.
	listSlack = 1000
)

// errList is in the chain of errors about the content of a uidlist.
var errList = errors.New("dovecot-uidlist is damaged")

// listHeader is the first line.
type listHeader struct {
	validity uint32
	next     uint32
	id       string // 32 hex digits
	more     string // fields we do not know, kept as they are
}

func (h *listHeader) line() string {
	line := fmt.Sprintf("3 V%d N%d G%s", h.validity, h.next, h.id)
	if h.more != "" {
		line += " " + h.more
	}
	return line + "\n"
}

func newFolderID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func parseListHeader(line string) (h listHeader, version int, err error) {
	fields := strings.Split(strings.TrimRight(line, " "), " ")
	if len(fields) == 3 && fields[0] == "1" {
		h.validity, h.next = parseUID(fields[1]), parseUID(fields[2])
		version = 1
	} else if len(fields) >= 3 && fields[0] == "3" {
		version = 3
		for _, f := range fields[1:] {
			if f == "" {
				continue
			}
			switch f[0] {
			case 'V':
				h.validity = parseUID(f[1:])
			case 'N':
				h.next = parseUID(f[1:])
			case 'G':
				h.id = f[1:]
			default:
				h.more = strings.TrimSpace(h.more + " " + f)
			}
		}
	}
	if h.validity == 0 || h.next == 0 || h.id != "" && !isFolderID(h.id) {
		return h, 0, fmt.Errorf("%w: header %.100q", errList, line)
	}
	return h, version, nil
}

func isFolderID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 16
}

func parseUID(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// parseListLine reads a line without its LF. fields is what stands between.
func parseListLine(line []byte, version int) (uid uint32, fields, base []byte, err error) {
	i := 0
	var n uint64
	for i < len(line) && i < 11 && line[i] >= '0' && line[i] <= '9' {
		n = n*10 + uint64(line[i]-'0')
		i++
	}
	name := line[min(i+1, len(line)):]
	if version == 3 {
		colon := bytes.IndexByte(name, ':')
		if colon < 0 {
			name = nil
		} else {
			fields, name = bytes.TrimRight(name[:colon], " "), name[colon+1:]
		}
	}
	if i := bytes.IndexByte(name, infoSep); i >= 0 {
		name = name[:i]
	}
	if n == 0 || n >= 1<<32-1 || i >= len(line) || line[i] != ' ' || len(name) == 0 || len(name) > maxNameOctets ||
		bytes.ContainsAny(name, "/\x00") {
		return 0, nil, nil, fmt.Errorf("%w: line %.100q", errList, line)
	}
	return uint32(n), fields, name, nil
}

// listEntry is a line of the list.
type listEntry struct {
	uid  uint32
	base string
}

// listFile is what we know of the file: its header, how far it was read, and which file it was.
type listFile struct {
	listHeader
	known bool // it was read, or written by us
	info  faultfs.Info
	end   int64 // offset behind the last whole line
	lines int
	last  uint32 // UID of the last line
	torn  bool   // octets without LF follow end: it must be written anew, not appended to
}

// uidNext is above every UID of the list.
func (l *listFile) uidNext() uint32 { return max(l.next, l.last+1) }

// unchanged reports whether the file is still as we know it.
func (l *listFile) unchanged(info faultfs.Info, err error) bool {
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) && !l.known
	}
	return l.known && sameDir(info, l.info) && info.Size == l.info.Size && info.ModTime.Equal(l.info.ModTime)
}

// readList reads the lines behind what is known of the file, or all of it. whole tells which. add is called for each
// line in order. An error that wraps errList says that the file can not be trusted.
func (f *folder) readList(l *listFile, add func(uid uint32, fields, base []byte)) (whole bool, err error) {
	file, err := f.base.Open(listName)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size > listLimit {
		return false, fmt.Errorf("%w: longer than %d octets", errList, int64(listLimit))
	}
	from := l.end
	if !l.known || l.torn || !sameDir(info, l.info) || info.Size < l.end {
		*l, from, whole = listFile{}, 0, true
	}
	data := make([]byte, info.Size-from)
	if n, err := io.ReadFull(io.NewSectionReader(file, from, info.Size-from), data); err != nil {
		if err != io.ErrUnexpectedEOF && err != io.EOF {
			return whole, err
		}
		data = data[:n]
	}
	l.info, l.known = info, true
	return whole, l.parse(data, whole, add)
}

// parse reads lines; with header the first one is that.
func (l *listFile) parse(data []byte, header bool, add func(uid uint32, fields, base []byte)) error {
	version := 3
	for first := header; ; first = false {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			l.torn = l.torn || len(data) > 0 || version == 1
			if first {
				return fmt.Errorf("%w: no header", errList)
			}
			return nil
		}
		line := data[:i]
		data = data[i+1:]
		l.end += int64(i + 1)
		if first {
			var err error
			if l.listHeader, version, err = parseListHeader(string(line)); err != nil {
				return err
			}
			continue
		}
		uid, fields, base, err := parseListLine(line, version)
		if err == nil && uid <= l.last {
			err = fmt.Errorf("%w: UID %d after %d", errList, uid, l.last)
		}
		if err != nil {
			return err
		}
		l.last = uid
		l.lines++
		add(uid, fields, base)
	}
}

// appendList adds lines, durably. An error leaves the list as it was, as far as that can be done; it is read
// again before its next use.
func (f *folder) appendList(l *listFile, entries []listEntry) error {
	if len(entries) == 0 {
		return nil
	}
	file, err := f.base.OpenFile(listName, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	var b []byte
	for _, e := range entries {
		b = appendListLine(b, e.uid, nil, e.base)
	}
	n, err := file.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = file.Datasync()
	}
	var info faultfs.Info
	if err == nil {
		info, err = file.Stat()
	}
	if err != nil {
		if n > 0 {
			_ = file.Truncate(l.end)
		}
		l.known = false
		return err
	}
	l.info = info
	l.end += int64(len(b))
	l.lines += len(entries)
	l.last = entries[len(entries)-1].uid
	return nil
}

func appendListLine[S ~string | ~[]byte](b []byte, uid uint32, fields []byte, base S) []byte {
	b = strconv.AppendUint(b, uint64(uid), 10)
	if len(fields) > 0 {
		b = append(append(b, ' '), fields...)
	}
	b = append(append(b, " :"...), base...)
	return append(b, '\n')
}

// writeList writes the whole list anew, durably: the messages of t, with what else the present file
// has on their lines.
func (f *folder) writeList(l *listFile, t *table) error {
	fields := f.listFields()
	h := l.listHeader
	h.next = l.uidNext()
	if h.id == "" {
		h.id = newFolderID()
	}
	b := make([]byte, 0, 80+len(t.names)+16*len(t.recs))
	b = append(b, h.line()...)
	last := uint32(0)
	for i := range t.recs {
		r := &t.recs[i]
		b = appendListLine(b, r.uid, fields[r.uid], t.base(r))
		last = r.uid
	}
	if err := faultfs.WriteFile(f.base, listName, b, 0o600); err != nil {
		l.known = false
		return err
	}
	info, err := f.base.Lstat(listName)
	if err != nil {
		l.known = false
		return err
	}
	*l = listFile{listHeader: h, known: true, info: info, end: int64(len(b)), lines: len(t.recs), last: last}
	return nil
}

// listFields returns the fields of the lines that have some, as far as the present file is readable:
// POP3 identities above all, that a migration has put there.
func (f *folder) listFields() map[uint32][]byte {
	data, err := faultfs.ReadFile(f.base, listName, listLimit)
	if err != nil {
		return nil
	}
	fields := make(map[uint32][]byte)
	for line := range bytes.Lines(data) {
		if uid, more, _, err := parseListLine(bytes.TrimSuffix(line, []byte{'\n'}), 3); err == nil && len(more) > 0 {
			fields[uid] = more
		}
	}
	return fields
}

// lockList takes Dovecot's lock of the list. f.lock is held, so that there is one holder in this folder, who
// may come back for it.
func (f *folder) lockList(ctx context.Context) (unlock func(), err error) {
	if f.listDepth == 0 {
		if f.listLock, err = f.acct.store.takeDotlockBy(ctx, f.base, listName, &f.spare); err != nil {
			return nil, err
		}
		f.spare.locks++
	}
	f.listDepth++
	return func() {
		if f.listDepth--; f.listDepth == 0 {
			f.listLock.unlock()
		}
	}, nil
}

// uidsLeft checks that n more UIDs can be given.
func uidsLeft(next uint32, n int) error {
	if uint64(next)+uint64(n) >= uint64(mailbox.MaxUID) {
		return mailbox.ErrUIDRange
	}
	return nil
}

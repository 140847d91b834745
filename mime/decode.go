package mime

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"
)

var stdBase64 = base64.StdEncoding

// isIdentity reports whether an encoding leaves the octets as they are (RFC 2045 §6.2).
func isIdentity(encoding string) bool {
	switch encoding {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// knownEncoding reports whether NewDecoder decodes the encoding.
func knownEncoding(encoding string) bool {
	return isIdentity(encoding) || codecOf(encoding) != nil
}

// A codec undoes a transfer encoding. decode takes all of src it can, and all of it when atEOF;
// full says that src is as long as it gets, so that something must be taken. dst is at least as
// long as src, plus 8.
type codec interface {
	decode(dst, src []byte, full, atEOF bool) (nDst, nSrc int)
	warning() WarningKind // 0 = nothing was odd so far
}

func codecOf(encoding string) codec {
	switch encoding {
	case "base64":
		return &base64Decoder{}
	case "quoted-printable":
		return &qpDecoder{}
	case "x-uuencode", "x-uue", "uuencode":
		return &uuDecoder{}
	}
	return nil
}

// A Decoder reads a body without its transfer encoding. It repairs what it can: what is no
// base64 is passed over, what is no quoted-printable stays. Memory is 64 KiB, borrowed until
// the end of the body or Close. It is not safe for concurrent use.
type Decoder struct {
	r       io.Reader
	codec   codec // nil = identity
	window  *[windowSize]byte
	lo, hi  int // decoded, not yet read: window[half+lo : half+hi]
	pending int // not yet decoded: window[:pending]
	readErr error
	unknown bool
}

const half = windowSize / 2

// NewDecoder decodes r by a Content-Transfer-Encoding as Part.Encoding gives it. An unknown
// encoding is taken for binary: see Warning.
func NewDecoder(r io.Reader, encoding string) *Decoder {
	d := &Decoder{r: r}
	if !isIdentity(encoding) {
		d.codec = codecOf(encoding)
		d.unknown = d.codec == nil
	}
	return d
}

// Warning tells what was odd in what was decoded so far, 0 if nothing.
func (d *Decoder) Warning() WarningKind {
	switch {
	case d.unknown:
		return WarnEncoding
	case d.codec != nil:
		return d.codec.warning()
	}
	return 0
}

// Close gives the memory back; reads after it return io.EOF. It is needed only where a body is
// not read to its end.
func (d *Decoder) Close() error {
	d.release()
	d.lo, d.hi, d.pending = 0, 0, 0
	d.readErr = io.EOF
	return nil
}

func (d *Decoder) release() {
	if d.window != nil {
		windows.Put(d.window)
		d.window = nil
	}
}

// Read implements io.Reader.
func (d *Decoder) Read(p []byte) (int, error) {
	if d.codec == nil {
		if d.readErr != nil {
			return 0, d.readErr
		}
		return d.r.Read(p)
	}
	for d.lo == d.hi {
		if err := d.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.window[half+d.lo:half+d.hi])
	d.lo += n
	return n, nil
}

// WriteTo implements io.WriterTo, so that io.Copy needs no buffer of its own.
func (d *Decoder) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for {
		if d.lo == d.hi {
			if err := d.more(); err == io.EOF {
				return n, nil
			} else if err != nil {
				return n, err
			}
		}
		k, err := w.Write(d.window[half+d.lo : half+d.hi])
		d.lo += k
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

// more decodes the next stretch; io.EOF when there is none.
func (d *Decoder) more() error {
	if d.readErr != nil && d.pending == 0 {
		d.release()
		return d.readErr
	}
	if d.window == nil {
		d.window = windows.Get().(*[windowSize]byte)
	}
	for tries := 0; d.pending < half-8 && d.readErr == nil; tries++ {
		n, err := d.r.Read(d.window[d.pending : half-8])
		d.pending += n
		d.readErr = err
		if n > 0 || err != nil {
			break
		}
		if tries == maxEmptyReads {
			d.readErr = io.ErrNoProgress
		}
	}
	d.decode()
	return nil
}

func (d *Decoder) decode() {
	src := d.window[:d.pending]
	if d.codec == nil {
		d.lo, d.hi, d.pending = 0, copy(d.window[half:], src), 0
		return
	}
	nDst, nSrc := d.codec.decode(d.window[half:], src, d.pending == half-8, d.readErr != nil)
	d.lo, d.hi = 0, nDst
	d.pending = copy(src, src[nSrc:])
}

// base64Decoder passes over line ends silently and over anything else with a warning. Padding
// ends a group, not the text: bodies put together from several base64 texts are read whole.
type base64Decoder struct {
	acc    uint32 // n sextets
	n      int
	padded bool
	odd    bool
}

const notBase64 = 0xff << 24

// base64Tables hold each character's sextet, shifted to its place in a group, so that a group
// is three ORs.
var base64Tables = func() (t [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for k := range t {
		for i := range t[k] {
			t[k][i] = notBase64
		}
		for i := range alphabet {
			t[k][alphabet[i]] = uint32(i) << (18 - 6*k)
		}
	}
	return t
}()

func (d *base64Decoder) warning() WarningKind {
	if d.odd {
		return WarnBase64
	}
	return 0
}

func (d *base64Decoder) decode(dst, src []byte, _, atEOF bool) (nDst, nSrc int) {
	n, i := 0, 0
	for i < len(src) {
		if d.n == 0 && !d.padded { // text behind padding is noticed octet by octet
			kDst, kSrc := base64Groups(dst[n:], src[i:])
			n, i = n+kDst, i+kSrc
			if i == len(src) {
				break
			}
		}
		n += d.octet(dst[n:], src[i])
		i++
	}
	if atEOF {
		n += d.finish(dst[n:])
	}
	return n, len(src)
}

// base64Groups is the fast path: whole groups, two at a time, and line ends between them.
func base64Groups(dst, src []byte) (n, i int) {
	t := &base64Tables
	for i+8 <= len(src) && n+8 <= len(dst) {
		s := src[i : i+8 : i+8]
		a := t[0][s[0]] | t[1][s[1]] | t[2][s[2]] | t[3][s[3]]
		b := t[0][s[4]] | t[1][s[5]] | t[2][s[6]] | t[3][s[7]]
		switch {
		case a|b < 1<<24:
			binary.BigEndian.PutUint64(dst[n:], uint64(a)<<40|uint64(b)<<16)
			n += 6
			i += 8
		case a < 1<<24: // the line ends half-way, as lines of 76 characters do
			binary.BigEndian.PutUint32(dst[n:], a<<8)
			n += 3
			i += 4
		case s[0] == '\r' && s[1] == '\n':
			i += 2
		default:
			return n, i
		}
	}
	return n, i
}

// octet takes one character outside of the fast path.
func (d *base64Decoder) octet(dst []byte, c byte) int {
	if v := base64Tables[3][c]; v != notBase64 {
		if d.padded && d.n == 0 {
			d.odd, d.padded = true, false
		}
		d.acc = d.acc<<6 | v
		if d.n++; d.n == 4 {
			d.n = 0
			dst[0], dst[1], dst[2] = byte(d.acc>>16), byte(d.acc>>8), byte(d.acc)
			return 3
		}
		return 0
	}
	switch c {
	case '\r', '\n', ' ', '\t':
	case '=':
		d.padded = true
		return d.group(dst)
	default:
		d.odd = true
	}
	return 0
}

// group ends a group before its fourth character.
func (d *base64Decoder) group(dst []byte) int {
	n := d.n
	d.n = 0
	switch n {
	case 1:
		d.odd = true
	case 2:
		dst[0] = byte(d.acc >> 4)
		return 1
	case 3:
		dst[0], dst[1] = byte(d.acc>>10), byte(d.acc>>2)
		return 2
	}
	return 0
}

// finish ends the text; missing padding is repaired.
func (d *base64Decoder) finish(dst []byte) int {
	if d.n > 0 {
		d.odd = true
	}
	return d.group(dst)
}

// qpDecoder undoes quoted-printable (RFC 2045 §6.7) line by line, since white space at the end
// of a line does not count.
type qpDecoder struct{ odd bool }

func (d *qpDecoder) warning() WarningKind {
	if d.odd {
		return WarnQuotedPrintable
	}
	return 0
}

func (d *qpDecoder) decode(dst, src []byte, full, atEOF bool) (nDst, nSrc int) {
	n, i := 0, 0
	for i < len(src) {
		j := bytes.IndexByte(src[i:], '\n')
		if j < 0 {
			break
		}
		n += d.line(dst[n:], src[i:i+j+1])
		i += j + 1
	}
	switch rest := src[i:]; {
	case len(rest) == 0:
	case atEOF:
		n += d.lastLine(dst[n:], rest)
		i = len(src)
	case full && i == 0:
		k := safePrefix(rest)
		n += d.escapes(dst[n:], rest[:k])
		i = k
	}
	return n, i
}

// safePrefix is how much of a line longer than the window can be decoded before its end is
// known.
func safePrefix(p []byte) int {
	n := len(bytes.TrimRight(p, " \t\r"))
	if n == 0 {
		return len(p) // white space only: too long to be the end of a line
	}
	if k := bytes.LastIndexByte(p[max(0, n-2):n], '='); k >= 0 {
		return max(0, n-2) + k
	}
	return n
}

// line decodes a line with its line end.
func (d *qpDecoder) line(dst, line []byte) int {
	text := line[:len(line)-1]
	end := line[len(line)-1:]
	if k := len(text); k > 0 && text[k-1] == '\r' {
		text, end = text[:k-1], line[k-1:]
	}
	text = trimWSP(text)
	if k := len(text); k > 0 && text[k-1] == '=' { // soft line break
		return d.escapes(dst, text[:k-1])
	}
	n := d.escapes(dst, text)
	return n + copy(dst[n:], end)
}

func trimWSP(p []byte) []byte {
	for len(p) > 0 && isWSP(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

// lastLine decodes a line without line end. A soft break there continues nothing.
func (d *qpDecoder) lastLine(dst, text []byte) int {
	text = trimWSP(text)
	if k := len(text); k > 0 && text[k-1] == '=' {
		d.odd = true
		text = text[:k-1]
	}
	return d.escapes(dst, text)
}

// escapes decodes =XX; what is none stays as it is (RFC 2045 §6.7, note to implementors).
func (d *qpDecoder) escapes(dst, p []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(p, '=')
		if i < 0 {
			return n + copy(dst[n:], p)
		}
		n += copy(dst[n:], p[:i])
		p = p[i:]
		if len(p) > 2 {
			if hi, lo := unhexTable[p[1]], unhexTable[p[2]]; hi|lo < 16 {
				dst[n] = hi<<4 | lo
				n++
				p = p[3:]
				continue
			}
		}
		d.odd = true
		dst[n] = '='
		n++
		p = p[1:]
	}
}

var unhexTable = func() (t [256]byte) {
	for i := range t {
		t[i] = unhex(byte(i))
	}
	return t
}()

// uuDecoder undoes x-uuencode: what stands between its begin and end lines.
type uuDecoder struct {
	inside, odd bool
}

func (d *uuDecoder) warning() WarningKind {
	if d.odd {
		return WarnUuencode
	}
	return 0
}

func (d *uuDecoder) decode(dst, src []byte, full, atEOF bool) (nDst, nSrc int) {
	n, i := 0, 0
	for i < len(src) {
		j := bytes.IndexByte(src[i:], '\n')
		if j < 0 {
			if !atEOF && !(full && i == 0) {
				break
			}
			j = len(src) - i - 1
		}
		n += d.line(dst[n:], bytes.TrimRight(src[i:i+j+1], "\r\n"))
		i += j + 1
	}
	return n, i
}

func (d *uuDecoder) line(dst, line []byte) int {
	switch {
	case !d.inside:
		d.inside = bytes.HasPrefix(line, []byte("begin "))
		return 0
	case len(line) == 0 || string(line) == "end" || string(line) == "`":
		d.inside = string(line) != "end"
		return 0
	}
	want := int(line[0]-' ') & 63
	line = line[1:]
	if len(line) < (want*8+5)/6 {
		d.odd = true
		want = min(want, len(line)*6/8)
	}
	n := 0
	for i := 0; n < want; i += 4 {
		var g [4]byte
		copy(g[:], line[i:])
		v := uint32(0)
		for _, c := range g {
			v = v<<6 | uint32(c-' ')&63
		}
		for shift := 16; shift >= 0 && n < want; shift -= 8 {
			dst[n] = byte(v >> shift)
			n++
		}
	}
	return n
}

package mime

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The serialised form of a Structure begins with its name and version. After it all numbers are
// varints, all strings have their length before them. A later version gets another number;
// readers refuse what they do not know, and the structure is made again from the message.
const binaryMagic = "mime.Structure\x01"

// ErrFormat is the error of UnmarshalBinary for bytes that are no Structure of this version.
var ErrFormat = errors.New("mime: not a serialised structure of this version")

// MarshalBinary implements encoding.BinaryMarshaler, so that an index can keep a Structure. It
// returns no error.
func (s *Structure) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// AppendBinary implements encoding.BinaryAppender. It returns no error.
func (s *Structure) AppendBinary(b []byte) ([]byte, error) {
	w := binaryWriter(append(b, binaryMagic...))
	w.num(s.Size)
	w.num(s.Lines)
	w.flag(s.Truncated)
	w.num(int64(len(s.Warnings)))
	for _, x := range s.Warnings {
		w.num(int64(x.Kind))
		w.num(x.Offset)
		w.num(int64(x.Part))
	}
	w.num(int64(len(s.Parts)))
	for i := range s.Parts {
		w.part(&s.Parts[i])
	}
	return w, nil
}

type binaryWriter []byte

func (w *binaryWriter) num(n int64)  { *w = binary.AppendUvarint(*w, uint64(n)) }
func (w *binaryWriter) str(s string) { w.num(int64(len(s))); *w = append(*w, s...) }

func (w *binaryWriter) flag(b bool) {
	if b {
		w.num(1)
	} else {
		w.num(0)
	}
}

func (w *binaryWriter) params(ps Params) {
	w.num(int64(len(ps)))
	for _, p := range ps {
		w.str(p.Name)
		w.str(p.Value)
	}
}

func (w *binaryWriter) part(p *Part) {
	w.num(int64(p.Parent + 1))
	w.num(int64(p.next))
	w.num(int64(p.Kind))
	w.num(p.HeaderStart)
	w.num(p.BodyStart - p.HeaderStart)
	w.num(p.BodyEnd - p.BodyStart)
	w.num(p.Lines)
	for _, s := range p.strings() {
		w.str(*s)
	}
	w.params(p.Type.Params)
	w.params(p.DispositionParams)
	w.num(int64(len(p.Language)))
	for _, l := range p.Language {
		w.str(l)
	}
	if p.Envelope == nil {
		w.num(0)
		return
	}
	w.num(int64(p.Envelope.has)<<1 | 1)
	for id, v := range p.Envelope.values {
		if p.Envelope.has&(1<<id) != 0 {
			w.str(v)
		}
	}
}

// strings lists the single strings of a part in their serialised order.
func (p *Part) strings() [8]*string {
	return [...]*string{
		&p.Type.Type, &p.Type.Subtype, &p.Encoding, &p.ID,
		&p.Description, &p.Location, &p.MD5, &p.Disposition,
	}
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. Any bytes are safe to give it: it
// makes no more parts than there are bytes for, and checks that the parts form a tree whose
// ranges lie within the message. The error wraps ErrFormat.
func (s *Structure) UnmarshalBinary(b []byte) error {
	r := binaryReader{s: string(b)}
	if len(b) < len(binaryMagic) || r.s[:len(binaryMagic)] != binaryMagic {
		return ErrFormat
	}
	r.s = r.s[len(binaryMagic):]
	out := Structure{Size: r.num(), Lines: r.num(), Truncated: r.num() != 0}
	if n := r.count(3); n > 0 {
		out.Warnings = make([]Warning, 0, n)
		for range n {
			out.Warnings = append(out.Warnings, Warning{Kind: WarningKind(r.num()), Offset: r.num(), Part: int(r.num())})
		}
	}
	n := r.count(minPartBytes)
	out.Parts = make([]Part, 0, n)
	for i := 0; i < n && !r.bad; i++ {
		p := r.part()
		if !out.fits(&p, i, n) {
			r.bad = true
		}
		out.Parts = append(out.Parts, p)
	}
	if r.bad || r.s != "" || n == 0 {
		return fmt.Errorf("%w: damaged", ErrFormat)
	}
	*s = out
	return nil
}

// minPartBytes is the length of a part in which every number is small and every string empty.
const minPartBytes = 7 + 8 + 4

// fits reports whether p may be part i of n: after its parent, inside it, and with siblings
// that come later.
func (s *Structure) fits(p *Part, i, n int) bool {
	switch {
	case p.HeaderStart < 0 || p.BodyStart < p.HeaderStart || p.BodyEnd < p.BodyStart || p.BodyEnd > s.Size:
		return false
	case p.next != 0 && (p.next <= i || p.next >= n) || p.Kind > Embedded:
		return false
	case i == 0:
		return p.Parent == -1
	case p.Parent < 0 || p.Parent >= i:
		return false
	}
	parent := &s.Parts[p.Parent]
	return parent.Kind != Leaf && p.HeaderStart >= parent.BodyStart && p.BodyEnd <= parent.BodyEnd
}

// binaryReader reads from one string, from which all strings of the result are cut.
type binaryReader struct {
	s   string
	bad bool
}

func (r *binaryReader) num() int64 {
	var n uint64
	for i := 0; i < len(r.s) && i < binary.MaxVarintLen64; i++ {
		c := r.s[i]
		n |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.s = r.s[i+1:]
			if n > 1<<62 {
				r.bad = true
				return 0
			}
			return int64(n)
		}
	}
	r.bad, r.s = true, ""
	return 0
}

// count reads how many things of at least size octets follow.
func (r *binaryReader) count(size int) int {
	n := r.num()
	if n > int64(len(r.s)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *binaryReader) str() string {
	n := r.count(1)
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *binaryReader) params() Params {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	ps := make(Params, n)
	for i := range ps {
		ps[i].Name, ps[i].Value = r.str(), r.str()
	}
	return ps
}

func (r *binaryReader) part() Part {
	p := Part{Parent: int(r.num()) - 1, next: int(r.num()), Kind: Kind(min(r.num(), 255))}
	p.HeaderStart = r.num()
	p.BodyStart = p.HeaderStart + r.num()
	p.BodyEnd = p.BodyStart + r.num()
	p.Lines = r.num()
	for _, s := range p.strings() {
		*s = r.str()
	}
	p.Type.Params = r.params()
	p.DispositionParams = r.params()
	if n := r.count(1); n > 0 {
		p.Language = make([]string, n)
		for i := range p.Language {
			p.Language[i] = r.str()
		}
	}
	if has := r.num(); has&1 != 0 {
		p.Envelope = r.envelope(uint64(has) >> 1)
	}
	return p
}

func (r *binaryReader) envelope(has uint64) *Envelope {
	e := &Envelope{}
	if has >= 1<<envelopeFields {
		r.bad = true
		return e
	}
	for id := range envelopeFields {
		if has&(1<<id) != 0 {
			e.set(id, r.str())
		}
	}
	return e
}

package mime

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
)

// Kind tells how a part is built.
type Kind uint8

// The kinds of part.
const (
	// Leaf is a part whose body is content, or is not opened: a multipart without a usable
	// boundary, an encoded message, whatever lies beyond a limit. Its Type is what the header
	// says all the same.
	Leaf Kind = iota
	// Multipart is a part whose body is parts, possibly none.
	Multipart
	// Embedded is a message/rfc822 or message/global part; its one child is the message.
	Embedded
)

// A Part is one node of a message: where it is and what its header says. Offsets are octets
// from the start of the message. The header with its empty line is [HeaderStart, BodyStart),
// the body [BodyStart, BodyEnd); the line end before a delimiter line belongs to neither.
type Part struct {
	Parent int // index in Structure.Parts; -1 for the message itself
	next   int // the next sibling, 0 = none

	Kind                            Kind
	HeaderStart, BodyStart, BodyEnd int64
	// Lines of the body; a last line without line end counts.
	Lines int64

	Type     ContentType // text/plain where the header says nothing (message/rfc822 in a multipart/digest)
	Encoding string      // Content-Transfer-Encoding in lower case, "" if there is none
	// ID, Description, Location and MD5 are the bodies of Content-ID and its kind, unfolded,
	// not decoded.
	ID, Description, Location, MD5 string
	Language                       []string
	Disposition                    string // in lower case, "" if there is none
	DispositionParams              Params
	// Envelope is there for messages only: the message itself and the children of Embedded
	// parts.
	Envelope *Envelope
}

// Size is the length of the body in octets, still encoded.
func (p *Part) Size() int64 { return p.BodyEnd - p.BodyStart }

// Filename returns the clean and the raw file name: see the function Filename.
func (p *Part) Filename() (clean, raw string) {
	return Filename(p.DispositionParams, p.Type.Params)
}

// A Structure is the tree of a message, laid flat: Parts[0] is the message itself, and every
// part stands before its children and its later siblings. It holds no reference to the message
// and can be kept: see MarshalBinary. It is safe for concurrent use as long as nobody changes
// it.
type Structure struct {
	Parts    []Part
	Warnings []Warning
	Size     int64 // octets of the message
	Lines    int64 // lines of the message
	// Truncated says that MaxDepth, MaxParts or a header limit was reached: there may be more
	// in the message than Parts tell.
	Truncated bool
}

// What a parser keeps for the next message is bounded.
const (
	maxPooledParts = 64
	maxPooledText  = 1 << 20
)

var parsers = sync.Pool{New: func() any { return new(parser) }}

// Parse reads the structure of a message in one pass and in memory that does not depend on its
// size. It never fails because a message is ugly: what it had to guess is in Warnings. The
// error is one of reading (io.ErrUnexpectedEOF if c is shorter than it says) or, with
// Options.Strict, the first *Warning.
func Parse(c Content, o Options) (*Structure, error) {
	s, err := ParseStream(io.NewSectionReader(c, 0, c.Size()), o)
	if err == nil && s.Size != c.Size() {
		return nil, fmt.Errorf("mime: content has %d octets of %d: %w", s.Size, c.Size(), io.ErrUnexpectedEOF)
	}
	return s, err
}

// ParseStream is Parse for a message that can be read only once. See Reader for its bodies too.
func ParseStream(r io.Reader, o Options) (*Structure, error) {
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	s := &Structure{Parts: p.parts[:0]}
	p.start(r, o, s)
	defer p.stop()
	for ev := evField; ev != evEnd; {
		ev, _ = p.next()
	}
	if p.err != nil {
		p.parts = nil
		return nil, p.err
	}
	p.total()
	p.parts, s.Parts = s.Parts, slices.Clone(s.Parts)
	return s, nil
}

// total notes the size of the message when all is read.
func (p *parser) total() {
	p.out.Size, p.out.Lines = p.scan.pos(), p.scan.lines
	if p.scan.last != '\n' {
		p.out.Lines++
	}
}

// stop lets go of everything that is not the parser's own.
func (p *parser) stop() {
	p.scan.release()
	p.scan.r, p.out = nil, nil
	p.params = paramParser{}
	clear(p.parts)
	if cap(p.parts) > maxPooledParts {
		p.parts = nil
	}
	clear(p.scan.delims[:cap(p.scan.delims)])
	if cap(p.header.text) > maxPooledText {
		p.header.text = nil
	}
}

// Children ranges over the indices of the children of part i.
func (s *Structure) Children(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		if i+1 >= len(s.Parts) || s.Parts[i+1].Parent != i {
			return
		}
		for k := i + 1; k > 0; k = s.Parts[k].next {
			if !yield(k) {
				return
			}
		}
	}
}

// Find returns the index of the part that IMAP numbers path (RFC 9051 §6.4.5.1), for example 1,
// 2 for "1.2". No path is the message itself. Part 1 of a message that is no multipart is its
// body, whose index is that of the message; a number below an embedded message goes into it. ok
// is false if there is no such part.
func (s *Structure) Find(path ...int) (index int, ok bool) {
	if len(s.Parts) == 0 {
		return 0, false
	}
	at, message := 0, true // at is a message whose body has no number yet
	for _, n := range path {
		if !message && s.Parts[at].Kind == Embedded {
			at, message = at+1, true
		}
		if s.Parts[at].Kind == Multipart {
			if at, ok = s.child(at, n); !ok {
				return 0, false
			}
		} else if n != 1 || !message {
			return 0, false
		}
		message = false
	}
	return at, true
}

// child returns child n of a part, counted from 1.
func (s *Structure) child(i, n int) (int, bool) {
	for k := range s.Children(i) {
		if n--; n == 0 {
			return k, true
		}
	}
	return 0, false
}

// Path is the reverse of Find: the IMAP part number of part i, empty for the message itself. A
// multipart message inside an Embedded part shares the number of that part; any other is part 1
// below it.
func (s *Structure) Path(i int) []int {
	var path []int
	for at := i; at >= 0; at = s.Parts[at].Parent {
		parent := s.Parts[at].Parent
		switch {
		case parent < 0 && i == 0:
		case parent < 0 || s.Parts[parent].Kind == Embedded:
			if s.Parts[at].Kind != Multipart {
				path = append(path, 1)
			}
		default:
			path = append(path, s.position(parent, at))
		}
	}
	slices.Reverse(path)
	return path
}

// position counts the child among its siblings, from 1.
func (s *Structure) position(parent, child int) int {
	n := 1
	for k := range s.Children(parent) {
		if k == child {
			break
		}
		n++
	}
	return n
}

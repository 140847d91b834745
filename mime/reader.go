package mime

import "io"

// A Reader reads a message that passes by once: part after part, and within a part its body. It
// finds the same parts as Parse, with the same tokenizer, and holds one window of 64 KiB, the
// header of the current part and the Structure so far. It is not safe for concurrent use.
//
//	r := mime.NewReader(src, mime.Options{})
//	defer r.Close()
//	for {
//		part, err := r.Next()
//		if err == io.EOF { break }
//		...
//		io.Copy(dst, r.Decoded())
//	}
type Reader struct {
	p      *parser // borrowed; nil when the message is over
	err    error   // why it is over
	out    Structure
	limit  int64
	block  []byte // the header of the current part
	data   []byte // of the body, not yet read
	part   int    // the current part
	inBody bool   // its body goes on
}

// NewReader starts to read a message.
func NewReader(r io.Reader, o Options) *Reader {
	x := &Reader{p: parsers.Get().(*parser), limit: o.limits().header}
	x.p.start(r, o, &x.out)
	return x
}

// Next goes to the next part, passing over what was not read of the last one, and returns what
// its header says; multiparts and embedded messages come before their children. BodyEnd and
// Lines are not known yet. The Part is valid until the next call. At the end of the message the
// error is io.EOF; else it is one of reading, or *Warning with Options.Strict.
func (r *Reader) Next() (*Part, error) {
	r.block, r.data, r.inBody = r.block[:0], nil, false
	for r.p != nil {
		ev, data := r.p.next()
		switch ev {
		case evField:
			if int64(len(r.block)+len(data)) <= r.limit {
				r.block = append(r.block, data...)
			}
		case evBody:
			r.block = append(r.block, data...)
			r.part = r.p.opened
			r.inBody = r.out.Parts[r.part].Kind == Leaf
			return &r.out.Parts[r.part], nil
		case evEnd:
			r.end()
		}
	}
	return nil, r.err
}

// end notes why there is no more, and gives the parser back.
func (r *Reader) end() {
	if r.err = r.p.err; r.err == nil {
		r.p.total()
		r.err = io.EOF
	}
	r.giveBack()
}

func (r *Reader) giveBack() {
	r.p.stop()
	parsers.Put(r.p)
	r.p = nil
}

// Index returns the index of the current part in Structure.Parts.
func (r *Reader) Index() int { return r.part }

// Header returns the header of the current part. Fields beyond Options.MaxHeaderBytes are
// missing, and a warning says so.
func (r *Reader) Header() *Header { return ParseHeader(r.block) }

// Read reads the body of the current part as it stands in the message. A part that is no Leaf
// has none: its children follow.
func (r *Reader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: Read without a copy in between.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var n int64
	for {
		if err := r.fill(); err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		k, err := w.Write(r.data)
		n += int64(k)
		r.data = r.data[k:]
		if err != nil {
			return n, err
		}
	}
}

// fill makes data non-empty.
func (r *Reader) fill() error {
	for len(r.data) == 0 {
		if !r.inBody || r.p == nil {
			return io.EOF
		}
		switch ev, data := r.p.next(); ev {
		case evData:
			r.data = data
		case evPartEnd:
			r.inBody = false
			if r.p.scan.err != nil { // the part ends because the input does
				return r.p.scan.err
			}
		default:
			r.inBody = false
			if r.p.err != nil {
				return r.p.err
			}
		}
	}
	return nil
}

// Decoded returns the body of the current part without its transfer encoding; it ends with the
// part.
func (r *Reader) Decoded() *Decoder { return NewDecoder(r, r.out.Parts[r.part].Encoding) }

// Text returns the body of the current part in UTF-8: see Structure.Text.
func (r *Reader) Text() io.Reader {
	return textReader(r.out.Parts[r.part].Type.Charset(), r.Decoded())
}

// Structure returns what was read so far; it is complete when Next has returned io.EOF.
func (r *Reader) Structure() *Structure { return &r.out }

// Close gives the memory back. It is needed only where a message is not read to its end.
func (r *Reader) Close() error {
	if r.p != nil {
		r.err = io.EOF
		r.giveBack()
	}
	r.data, r.inBody = nil, false
	return nil
}

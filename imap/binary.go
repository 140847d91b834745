package imap

import (
	"bytes"
	"io"

	"github.com/goniec-mail/goniec/mime"
)

// binaryPiece is a part without its transfer encoding (RFC 3516).
type binaryPiece struct {
	open func() io.ReadCloser
	size int64
	nul  bool // only a literal8 can carry it
	none bool // there is no such part
}

// findBinary locates a part and measures it by decoding it once: its size must be told before its first
// octet, and it may be larger than memory.
func findBinary(m *message, s *section) (*binaryPiece, error) {
	b := &binaryPiece{}
	if len(s.path) == 0 { // the whole message is not encoded
		b.open = func() io.ReadCloser { return io.NopCloser(io.NewSectionReader(m.content, 0, m.content.Size())) }
		return b, b.measure()
	}
	st, err := m.structure()
	if err != nil {
		return nil, err
	}
	i, ok := st.Find(s.path...)
	if !ok {
		b.none = true
		return b, nil
	}
	if !decodable(&st.Parts[i]) {
		return nil, errUnknownEncoding
	}
	b.open = func() io.ReadCloser { return st.Decoded(m.content, i) }
	return b, b.measure()
}

func decodable(p *mime.Part) bool {
	switch p.Encoding {
	case "", "7bit", "8bit", "binary", "quoted-printable", "base64":
		return true
	}
	return p.Kind != mime.Leaf
}

func (b *binaryPiece) measure() error {
	r := b.open()
	defer r.Close()
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := r.Read(*buf)
		b.size += int64(n)
		b.nul = b.nul || bytes.IndexByte((*buf)[:n], 0) >= 0
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *fetchWriter) binaryValue(item *fetchItem, b *binaryPiece) {
	e := &w.response.enc
	switch {
	case item.kind == itemBinarySize:
		e.Number(uint64(b.size)) // 0 for what is not there: the grammar has no NIL
		return
	case b.none:
		e.Raw("NIL")
		return
	}
	offset, count := item.section.cut(b.size)
	w.response.literal(&skipReader{open: b.open, skip: offset}, count, b.nul)
}

// skipReader opens a decoder at its first Read and passes over what comes before a partial.
type skipReader struct {
	open func() io.ReadCloser
	skip int64
	r    io.ReadCloser
}

// Read implements io.Reader.
func (s *skipReader) Read(p []byte) (int, error) {
	if s.r == nil {
		s.r = s.open()
		if _, err := io.CopyN(io.Discard, s.r, s.skip); err != nil {
			return 0, err
		}
	}
	return s.r.Read(p)
}

// Close gives the decoder's memory back.
func (s *skipReader) Close() error {
	if s.r == nil {
		return nil
	}
	return s.r.Close()
}

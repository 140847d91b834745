package mime

import "io"

// Header reads the header of part i: of the message itself, or the MIME header of a part.
func (s *Structure) Header(c Content, i int) (*Header, error) {
	p := &s.Parts[i]
	block := make([]byte, p.BodyStart-p.HeaderStart)
	if _, err := readAt(c, block, p.HeaderStart); err != nil {
		return nil, err
	}
	return ParseHeader(block), nil
}

// readAt fills p; a Content that ends early is io.ErrUnexpectedEOF.
func readAt(c io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := c.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Body returns the body of part i as it stands in the message.
func (s *Structure) Body(c Content, i int) *io.SectionReader {
	p := &s.Parts[i]
	return io.NewSectionReader(c, p.BodyStart, p.Size())
}

// Decoded returns the body of part i without its transfer encoding. Of a multipart or embedded
// message it returns the body as it is.
func (s *Structure) Decoded(c Content, i int) *Decoder {
	encoding := s.Parts[i].Encoding
	if s.Parts[i].Kind != Leaf {
		encoding = ""
	}
	return NewDecoder(s.Body(c, i), encoding)
}

// Text returns the body of part i in UTF-8, without transfer encoding and from its charset. A
// part without a charset, or with an unknown one, is read as UTF-8 where it is UTF-8 and as
// windows-1252 where it is not. Line ends stay as they are.
func (s *Structure) Text(c Content, i int) io.ReadCloser {
	d := s.Decoded(c, i)
	return &textBody{text: textReader(s.Parts[i].Type.Charset(), d), decoder: d}
}

// textBody is a charset reader that closes the decoder below it.
type textBody struct {
	text    io.Reader
	decoder *Decoder
}

// Read implements io.Reader.
func (t *textBody) Read(p []byte) (int, error) { return t.text.Read(p) }

// Close implements io.Closer.
func (t *textBody) Close() error { return t.decoder.Close() }

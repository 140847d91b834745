package imap

import (
	"compress/flate"
	"context"
	"io"
	"sync"

	"github.com/goniec-mail/goniec/imap/internal/inflate"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// compress turns compression on (RFC 4978), in both directions, for the rest of the connection.
func (c *conn) compress(context.Context) error {
	c.dec.SP()
	mechanism := c.dec.Keyword()
	if err := c.end(); err != nil {
		return err
	}
	switch {
	case mechanism != "DEFLATE":
		return bad("unknown compression mechanism")
	case c.deflate != nil:
		return no("COMPRESSIONACTIVE", "compression is active already")
	case c.in.Buffered() > 0:
		return bad("commands behind COMPRESS") // they would be read as compressed
	}
	c.done.text = "compression begins"
	c.tagged(&c.done)
	if err := c.flush(); err != nil {
		return err
	}
	c.deflate = newDeflater(&c.peer)
	c.in.Reset(inflate.NewReader(c.net))
	c.out.Reset(c.deflate)
	return errReplied
}

// deflater compresses what leaves in one flush. The compressor, of several hundred KiB, is borrowed for that long;
// nothing of one answer is used for the next, so that no guess at a secret can be measured by the length of
// what follows.
type deflater struct {
	out crlf.Writer   // the compressor writes a few hundred octets at a time
	z   *flate.Writer // nil between flushes
}

func newDeflater(w io.Writer) *deflater {
	d := &deflater{}
	d.out.Reset(w)
	return d
}

// deflaters holds *flate.Writer: free memory, not state.
var deflaters sync.Pool

func (d *deflater) Write(p []byte) (int, error) {
	if d.z == nil {
		d.z = takeDeflater(&d.out)
	}
	return d.z.Write(p)
}

func takeDeflater(w io.Writer) *flate.Writer {
	if z, ok := deflaters.Get().(*flate.Writer); ok {
		z.Reset(w)
		return z
	}
	z, _ := flate.NewWriter(w, flate.BestSpeed) // the level is a good one
	return z
}

// flush ends on an octet, so that the client can read all that was written.
func (d *deflater) flush() error {
	if d.z == nil {
		return nil
	}
	err := d.z.Flush()
	d.z.Reset(io.Discard) // do not keep the connection
	deflaters.Put(d.z)
	d.z = nil
	if e := d.out.Flush(); e != nil {
		err = e
	}
	return err
}

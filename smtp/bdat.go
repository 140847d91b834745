package smtp

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/crlf"
)

// bdat is the first BDAT size [LAST] of a message (RFC 3030 §2). It calls Session.Data, whose reads run the commands between the
// further chunks (chunkSource.more): no goroutine, no buffer. A refused chunk is read all the same, so that its octets never
// run as commands.
func (c *conn) bdat(arg string) (reply, error) {
	n, final, ok := c.parseChunk(arg)
	if !ok {
		c.giveUp(errChunksEnded)
		return "", nil
	}
	var err error
	if c.state&(inMail|inRcpt) != 0 {
		err = c.mayTransfer()
	} else {
		err = c.outOfOrder(&command{verb: "BDAT", flags: grouped})
	}
	if err != nil {
		return "", c.refuseChunk(n, final, err)
	}
	src := &c.body.chunks
	src.start(c, n, final)
	c.state = inChunks
	c.transfer(src)
	return "", nil
}

// refuseChunk skips a message's first chunk and answers it.
func (c *conn) refuseChunk(n int64, final bool, err error) error {
	if c.discard(n) != nil {
		c.giveUp(err)
		return nil
	}
	if final && c.set.dialect.EachRcpt && len(c.env.To) > 0 && c.open {
		c.replyEach(err) // RFC 2033 §4.3: the last chunk has a reply for each recipient
		err = nil
	}
	c.giveUp(err)
	return err
}

// giveUp ends a transaction of which a chunk was refused: chunks that were sent along with it must not make a message that lacks
// a piece (RFC 3030 §2).
func (c *conn) giveUp(cause error) {
	if c.open {
		c.abandon(cause)
		c.failed = true
	}
}

// parseChunk parses BDAT's argument. What can not be a size leaves us out of step, for nobody knows where the chunk ends: the
// connection ends. A size with something wrong behind it is skipped. In both cases the reply is given here.
func (c *conn) parseChunk(arg string) (n int64, final, ok bool) {
	size, rest, _ := strings.Cut(arg, " ")
	u, err := strconv.ParseUint(size, 10, 63)
	if err != nil || !isDigit(size[0]) {
		c.refuse(c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: BDAT size [LAST]"))
		c.closing = true
		return 0, false, false
	}
	n = int64(u)
	rest = strings.TrimSpace(rest)
	final = strings.EqualFold(rest, "LAST")
	if rest != "" && !final {
		if c.discard(n) == nil {
			c.refuse(c.fault(501, goniec.EnhancedCode{5, 5, 4}, "syntax: BDAT size [LAST]"))
		}
		return 0, false, false
	}
	return n, final, true
}

// discard reads a chunk that nobody wants. On an error the connection ends.
func (c *conn) discard(n int64) error {
	err := error(crlf.ErrDrainLimit)
	if n <= c.drainLimit() {
		if err = c.w.Flush(); err == nil {
			c.startDataStage(c.set.DataTimeout)
			_, err = c.r.Discard(n)
		}
	}
	if err != nil {
		c.hangUp(err)
	}
	return err
}

// errChunksEnded says that a message ended without its last chunk, by RSET and the like.
var errChunksEnded = errors.New("the client gave the message up between chunks")

// chunkSource is a message sent by BDAT: its chunks, one behind the other, as one text.
type chunkSource struct {
	c      *conn
	raw    crlf.RawReader  // of the chunk
	text   crlf.TextReader // of all chunks, by way of chunkReader
	binary bool            // BINARYMIME: bare CR and LF are content
	final  bool            // raw is the last chunk
	until  time.Time       // when the whole message must be there; zero = no limit
	chunk  int64           // its size
	total  int64           // of all chunks so far
	failed error           // why the message is lost; final
	flaw   error           // what drain met
}

// start makes s the message that begins with a chunk of n octets.
func (s *chunkSource) start(c *conn, n int64, final bool) {
	*s = chunkSource{c: c, binary: c.env.Body == goniec.BodyBinaryMIME}
	s.text.Reset(chunkReader{s}, c.textOptions())
	s.next(n, final)
}

// next goes over to a chunk of n octets.
func (s *chunkSource) next(n int64, final bool) {
	s.raw.Reset(&s.c.r, n)
	s.final, s.chunk = final, n
	if limit := s.c.set.MaxMessageBytes; limit >= 0 && n > limit-s.total {
		s.failed = crlf.ErrTooLarge
		return
	}
	s.total += n
}

func (s *chunkSource) begin() error {
	if total := s.c.set.DataTimeout; s.until.IsZero() && total > 0 {
		s.until = time.Now().Add(total)
	}
	s.c.startDataStage(s.left())
	return s.c.w.Flush() // the replies of what stood before the chunk
}

// left is what remains of the time for the message, not below 1; negative means no limit. It runs on between the chunks, else a
// client could hold a message open as long as it likes.
func (s *chunkSource) left() time.Duration {
	if s.until.IsZero() {
		return s.c.set.DataTimeout
	}
	return max(time.Until(s.until), 1)
}

func (s *chunkSource) unasked() bool { return true }

// Read implements io.Reader.
func (s *chunkSource) Read(p []byte) (int, error) {
	if s.binary {
		return chunkReader{s}.Read(p)
	}
	return s.text.Read(p)
}

// bulk are buffers for WriteTo, as large as what a socket has ready: with half of it BDAT took a third longer.
var bulk = sync.Pool{New: func() any { return new([128 << 10]byte) }}

// WriteTo implements io.WriterTo.
func (s *chunkSource) WriteTo(w io.Writer) (written int64, err error) {
	buf := bulk.Get().(*[128 << 10]byte)
	defer bulk.Put(buf)
	for {
		n, err := s.Read(buf[:])
		if n > 0 {
			m, werr := w.Write(buf[:n])
			written += int64(m)
			if werr != nil {
				return written, werr
			}
		}
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// chunkReader reads the octets of all chunks.
type chunkReader struct{ s *chunkSource }

func (x chunkReader) Read(p []byte) (int, error) {
	s := x.s
	for s.failed == nil && s.raw.Left() == 0 {
		if s.final {
			return 0, io.EOF
		}
		s.more()
	}
	if s.failed != nil {
		return 0, s.failed
	}
	n, err := s.raw.Read(p)
	if err != nil {
		s.failed = err
	}
	return n, err
}

// more answers a chunk and waits for the next. Until then the client may do little else (see the command table); what ends the
// transaction is run after Data has heard of it.
func (s *chunkSource) more() {
	c := s.c
	c.say("250 2.0.0 " + strconv.FormatInt(s.chunk, 10) + " octets taken\r\n")
	for {
		if s.left() == 1 { // pipelined chunks do not wait, so nothing else would notice
			s.failed = os.ErrDeadlineExceeded
			return
		}
		line, err := c.readCommand(maxLine - 2)
		if err != nil {
			c.badLine(err)
		}
		if err == nil && s.command(line) {
			return
		}
		c.limitErrors()
		if c.closing {
			s.failed = errHungUp
			return
		}
	}
}

// command takes a line between chunks and reports whether the waiting is over.
func (s *chunkSource) command(line []byte) bool {
	c := s.c
	var buf [maxVerb]byte
	verb, arg, _ := cutVerb(line, &buf)
	switch string(verb) {
	case "BDAT":
		n, final, ok := c.parseChunk(string(arg))
		if !ok { // answered; what comes behind it is not the message any more
			s.failed = errChunksEnded
			return true
		}
		s.next(n, final)
		if err := s.begin(); s.failed == nil {
			s.failed = err
		}
		return true
	case "RSET", "QUIT":
		c.again, s.failed = string(line), errChunksEnded
		return true
	}
	c.execute(line)
	return false
}

// drain reads the rest of a message that Data took without reading it all. Of one that it refused, or that turns out to be faulty,
// it reads the rest of the chunk: further chunks are refused one by one, the transaction being over.
func (s *chunkSource) drain(taken bool) error {
	if taken {
		_, s.flaw = s.WriteTo(io.Discard)
	}
	if left := s.raw.Left(); left > s.c.drainLimit() {
		return crlf.ErrDrainLimit
	}
	return s.raw.Discard()
}

func (s *chunkSource) fault() error { return s.flaw } // Read has told what it met

func (s *chunkSource) size() int64 { return s.total }

func (s *chunkSource) last() bool { return s.final }

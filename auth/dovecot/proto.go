package dovecot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest line in octets.
const maxLine = 16384

var (
	// ErrProtocol says that the other side does not speak version 1 of the protocol.
	ErrProtocol = errors.New("dovecot: protocol error")

	errLong = fmt.Errorf("%w: line is longer than %d octets", ErrProtocol, maxLine)
)

// newReader returns a reader for lines of up to maxLine octets.
func newReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxLine+1) }

// readLine reads a line and splits it at its tabs: the command and its parameters, unescaped.
func readLine(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, errLong
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	fields := strings.Split(string(line[:len(line)-1]), "\t")
	for i, f := range fields {
		fields[i] = unescape(f)
	}
	return fields, nil
}

// line joins a command and its parameters.
func line(fields ...string) []byte {
	var b []byte
	for i, f := range fields {
		if i > 0 {
			b = append(b, '\t')
		}
		b = append(b, escape(f)...)
	}
	return append(b, '\n')
}

// escape is Dovecot's tab escaping.
func escape(s string) string {
	if !strings.ContainsAny(s, "\x00\x01\t\r\n") {
		return s
	}
	return strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n").Replace(s)
}

func unescape(s string) string {
	if !strings.Contains(s, "\x01") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != 1 || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '0':
			b.WriteByte(0)
		case '1':
			b.WriteByte(1)
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'n', 'l': // the code writes n, the description says l
			b.WriteByte('\n')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// params are the optional parameters of a line: "name" or "name=value".
type params []string

// get returns the value of a parameter, "" for one without a value.
func (p params) get(name string) (value string, ok bool) {
	for _, f := range p {
		k, v, _ := strings.Cut(f, "=")
		if k == name {
			return v, true
		}
	}
	return "", false
}

func (p params) has(name string) bool {
	_, ok := p.get(name)
	return ok
}

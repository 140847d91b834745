package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// sourceKept is what a SourceState keeps of a folder.
type sourceKept struct {
	validity uint32
	next     UID
	modseq   ModSeq
	entries  []sourceEntry // UIDs and keys only
}

// The first line names the format and its version, the last has the checksum of all before it.
const (
	sourceKeptMagic = "goniec mailbox source 1\n"
	sourceKeptEnd   = "end "
)

func (k *sourceKept) bytes() []byte {
	var b bytes.Buffer
	b.WriteString(sourceKeptMagic)
	fmt.Fprintf(&b, "%d %d %d\n", k.validity, k.next, k.modseq)
	for _, e := range k.entries {
		fmt.Fprintf(&b, "%d %q\n", e.UID, e.key)
	}
	fmt.Fprintf(&b, sourceKeptEnd+"%08x\n", crc32.ChecksumIEEE(b.Bytes()))
	return b.Bytes()
}

var errSourceKept = errors.New("mailbox: the kept state of a source is damaged")

// parseSourceKept reads what bytes wrote; nothing gives the zero value.
func parseSourceKept(data []byte) (k sourceKept, err error) {
	if len(data) == 0 {
		return k, nil
	}
	text := string(data)
	at := strings.LastIndex(text, sourceKeptEnd)
	if !strings.HasPrefix(text, sourceKeptMagic) || at < 0 ||
		text[at:] != fmt.Sprintf(sourceKeptEnd+"%08x\n", crc32.ChecksumIEEE(data[:at])) {
		return k, errSourceKept
	}
	head, lines, _ := strings.Cut(text[len(sourceKeptMagic):at], "\n")
	if _, err := fmt.Sscanf(head, "%d %d %d", &k.validity, &k.next, &k.modseq); err != nil {
		return sourceKept{}, errSourceKept
	}
	last := UID(0)
	for line := range strings.SplitSeq(strings.TrimSuffix(lines, "\n"), "\n") {
		if line == "" {
			continue
		}
		e, err := parseSourceEntry(line)
		if err != nil || e.UID <= last || e.UID >= k.next {
			return sourceKept{}, errSourceKept
		}
		last = e.UID
		k.entries = append(k.entries, e)
	}
	return k, nil
}

func parseSourceEntry(line string) (e sourceEntry, err error) {
	number, quoted, _ := strings.Cut(line, " ")
	if e.UID, err = parseUID(number); err != nil {
		return e, err
	}
	e.key, err = strconv.Unquote(quoted)
	return e, err
}

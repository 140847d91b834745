package maildir

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// letters are the info letters of the system flags in the order of the file name (ASCII order, as
// the Maildir format wants it).
var letters = [...]struct {
	letter byte
	flag   flagBits
}{
	{'D', flagBits(mailbox.Draft)},
	{'F', flagBits(mailbox.Flagged)},
	{'R', flagBits(mailbox.Answered)},
	{'S', flagBits(mailbox.Seen)},
	{'T', flagBits(mailbox.Deleted)},
}

// flagBits is mailbox.Flags in 32 bits: the system flags, then the 26 keywords of a Maildir
// ('a' to 'z' in file names).
type flagBits uint32

const (
	keywordShift  = 5  // bit of keyword 'a' in flagBits
	keywordLimit  = 26 // 'a' to 'z'
	seamShift     = 8  // bit of the first keyword in mailbox.Flags
	systemBits    = flagBits(mailbox.SystemFlags)
	keywordInSeam = mailbox.Flags(1<<keywordLimit-1) << seamShift
)

func (f flagBits) seam() mailbox.Flags {
	return mailbox.Flags(f&systemBits) | mailbox.Flags(f>>keywordShift)<<seamShift
}

func bitsOf(f mailbox.Flags) flagBits {
	return flagBits(f&mailbox.SystemFlags) | flagBits(f&keywordInSeam>>seamShift)<<keywordShift
}

// infoNone is the info of a file in cur/ without flags.
const infoNone = string(infoSep) + "2,"

// splitInfo cuts a file name in cur/ into the part that stays and the info behind the separator.
func splitInfo(name string) (base, info string) {
	if i := strings.IndexByte(name, infoSep); i >= 0 {
		return name[:i], name[i:]
	}
	return name, ""
}

// parseInfo reads the flags of an info part. odd means that it is not what appendInfo writes: it has other
// letters, another order or another version, and must be kept.
func parseInfo(info string) (f flagBits, odd bool) {
	if len(info) < 3 || info[1] != '2' || info[2] != ',' {
		return 0, info != ""
	}
	for _, c := range []byte(info[3:]) {
		f |= letterBit(c)
	}
	var buf [40]byte
	return f, string(appendInfo(buf[:0], f)) != info
}

func letterBit(c byte) flagBits {
	if c >= 'a' && c <= 'z' {
		return 1 << (keywordShift + c - 'a')
	}
	for _, l := range letters {
		if l.letter == c {
			return l.flag
		}
	}
	return 0
}

// appendInfo writes the info part of a file with the flags f.
func appendInfo(b []byte, f flagBits) []byte {
	b = append(b, infoSep, '2', ',')
	for _, l := range letters {
		if f&l.flag != 0 {
			b = append(b, l.letter)
		}
	}
	for c := byte(0); f>>keywordShift != 0 && c < keywordLimit; c++ {
		if f&(1<<(keywordShift+c)) != 0 {
			b = append(b, 'a'+c)
		}
	}
	return b
}

// changeInfo writes the info part for the flags f, keeping the letters of old that are not ours
// (such as P, "passed"), in ASCII order.
func changeInfo(old string, f flagBits) string {
	info := appendInfo(nil, f)
	if len(old) < 3 || old[1] != '2' || old[2] != ',' {
		return string(info)
	}
	set := info[3:]
	for _, c := range []byte(old[3:]) {
		if letterBit(c) != 0 || strings.IndexByte(string(set), c) >= 0 {
			continue
		}
		at := 0
		for at < len(set) && set[at] < c {
			at++
		}
		set = append(set[:at], append([]byte{c}, set[at:]...)...)
	}
	return string(info[:3]) + string(set)
}

// sizeIn reads a size field (",S=" or ",W=") of a base name; -1 without one.
func sizeIn(base string, key string) int64 {
	_, rest, ok := strings.Cut(base, key)
	if !ok {
		return -1
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(rest[:end], 10, 64)
	if err != nil || n > maxSize {
		return -1
	}
	return n
}

// netSizeIn reads the network size of a base name; -1 without one, and where it can not be.
func netSizeIn(base string) int64 {
	s, w := sizeIn(base, keyFileSize), sizeIn(base, keyNetSize)
	if s >= 0 && (w < s || w > 2*s) {
		return -1
	}
	return w
}

const (
	keyFileSize = ",S=" // octets on disk
	keyNetSize  = ",W=" // octets in network form
)

// savedIn reads the second at the start of a name; 0 without one.
func savedIn[S ~string | ~[]byte](base S) mailbox.Date {
	n, i := mailbox.Date(0), 0
	for ; i < len(base) && i < 12 && base[i] >= '0' && base[i] <= '9'; i++ {
		n = 10*n + mailbox.Date(base[i]-'0')
	}
	if i == 0 || i == len(base) || base[i] != '.' {
		return 0
	}
	return n
}

// isMessage tells names of messages from hidden files.
func isMessage(name string) bool { return name != "" && name[0] != '.' }

// byArrival orders names by the time in them, so that UIDs follow arrival: the seconds as a number, then
// the microseconds where both have them (M), then the text.
func byArrival(x, y string) int {
	return cmp.Or(
		cmp.Compare(savedIn(x), savedIn(y)),
		cmp.Compare(microsIn(x), microsIn(y)),
		strings.Compare(x, y))
}

func microsIn(base string) int64 {
	_, rest, ok := strings.Cut(base, ".M")
	if !ok {
		return 0
	}
	end := 0
	for end < len(rest) && end < 7 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.ParseInt(rest[:end], 10, 64)
	return n
}

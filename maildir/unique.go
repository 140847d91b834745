package maildir

import (
	"crypto/rand"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// namer makes file names that nobody else makes: second, microsecond, process, a counter, random
// letters of the process, host. The random letters (50 bits) keep apart containers that share host
// name and process numbers, and a process from an earlier one after the clock was set back.
type namer struct {
	now    func() time.Time
	pid    string
	random string
	host   string
	count  atomic.Uint64
}

func newNamer(now func() time.Time, host string) *namer {
	if host == "" {
		host, _ = os.Hostname()
	}
	return &namer{
		now:    now,
		pid:    strconv.Itoa(os.Getpid()),
		random: strings.ToLower(rand.Text()[:10]),
		host:   cleanHost(host),
	}
}

// cleanHost escapes what has a meaning in a file name, as maildir(5) says for "/" and ":"; a comma
// would begin a field.
func cleanHost(host string) string {
	if host == "" {
		return "localhost"
	}
	var b strings.Builder
	for _, c := range []byte(host[:min(len(host), 64)]) {
		bad := c <= ' ' || c >= 0x7f || strings.IndexByte(`/\:;,%`, c) >= 0
		switch {
		case bad && infoSep != ':': // Windows has no backslash in names
			b.WriteByte('_')
		case bad:
			b.WriteString(`\` + strconv.FormatInt(int64(c)+0o1000, 8)[1:])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// next returns a new name without sizes.
func (n *namer) next() string {
	t := n.now()
	b := make([]byte, 0, 96)
	b = strconv.AppendInt(b, max(t.Unix(), 0), 10)
	b = append(b, ".M"...)
	b = strconv.AppendInt(b, int64(t.Nanosecond()/1000), 10)
	b = append(append(b, 'P'), n.pid...)
	b = strconv.AppendUint(append(b, 'Q'), n.count.Add(1), 10)
	b = append(append(b, 'R'), n.random...)
	return string(append(append(b, '.'), n.host...))
}

// withSizes adds the size fields: a stored message's name is complete with them.
func withSizes(name string, fileSize, netSize int64) string {
	return name + keyFileSize + strconv.FormatInt(fileSize, 10) + keyNetSize + strconv.FormatInt(netSize, 10)
}

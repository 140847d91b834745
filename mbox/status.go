package mbox

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// The status block is what Store puts in front of a message: three fields of fixed width, so that they can be
// changed in place. Its exact form tells it from the fields of other programs.
//
//	Status: RO
//	X-Status: AFDT
//	X-Keywords: $Forwarded Later …
const keywordWidth = 64

// blockSize is the length of every status block.
var blockSize = len(statusBlock(mailbox.FlagList{}))

func statusBlock(l mailbox.FlagList) string {
	status, extra := "O", ""
	if l.System&mailbox.Seen != 0 {
		status = "RO"
	}
	for _, f := range statusLetters {
		if l.System&f.flag != 0 {
			extra += string(f.letter)
		}
	}
	words := ""
	for _, k := range l.Keywords { // those that have no room are in the index only
		if len(words)+len(k)+1 <= keywordWidth {
			words = strings.TrimPrefix(words+" "+k, " ")
		}
	}
	return fmt.Sprintf("Status: %-2s\nX-Status: %-4s\nX-Keywords: %-*s\n", status, extra, keywordWidth, words)
}

// shown returns those of a message's flags that its status block says.
func shown(flags mailbox.Flags, keywords []string) mailbox.Flags {
	_, l := splitStatus([]byte(statusBlock(flags.List(keywords))))
	return mailbox.KnownFlags(keywords, l)
}

// statusLetters are those of X-Status, in mutt and Dovecot.
var statusLetters = [...]struct {
	letter byte
	flag   mailbox.Flags
}{{'A', mailbox.Answered}, {'F', mailbox.Flagged}, {'D', mailbox.Deleted}, {'T', mailbox.Draft}}

// isBlock tells whether b begins with a status block in its exact form.
func isBlock(b []byte) bool {
	if len(b) < blockSize {
		return false
	}
	empty := statusBlock(mailbox.FlagList{})
	at := 0
	for line := range strings.SplitAfterSeq(empty, "\n") {
		if line == "" {
			break
		}
		name, _, _ := strings.Cut(line, ":")
		got := b[at : at+len(line)]
		if !bytes.HasPrefix(got, []byte(name+": ")) || bytes.IndexByte(got, '\n') != len(line)-1 {
			return false
		}
		at += len(line)
	}
	return true
}

// statusNames are the fields in which other programs keep what is not the message's.
var statusNames = [...]string{"status", "x-status", "x-keywords", "x-uid", "x-imap", "x-imapbase", "content-length"}

// splitStatus parts a header (or its beginning) into what belongs to the message and the flags that other
// programs have put there. A field Lines is mutt's when it follows Content-Length, and else the message's.
func splitStatus(header []byte) (rest []byte, l mailbox.FlagList) {
	skipping, afterLength := false, false
	for len(header) > 0 {
		end := bytes.IndexByte(header, '\n') + 1
		if end == 0 {
			end = len(header)
		}
		line := header[:end]
		header = header[end:]
		if line[0] != ' ' && line[0] != '\t' {
			name, value, ok := bytes.Cut(line, []byte(":"))
			skipping = ok && (isStatusName(name) || afterLength && bytes.EqualFold(name, []byte("Lines")))
			afterLength = ok && bytes.EqualFold(name, []byte("Content-Length"))
			if skipping {
				readStatus(&l, strings.ToLower(string(name)), string(bytes.TrimSpace(value)))
			}
		}
		if !skipping {
			rest = append(rest, line...)
		}
	}
	return rest, l
}

func isStatusName(name []byte) bool {
	for _, n := range statusNames {
		if len(n) == len(name) && strings.EqualFold(n, string(name)) {
			return true
		}
	}
	return false
}

func readStatus(l *mailbox.FlagList, name, value string) {
	switch name {
	case "status":
		if strings.Contains(value, "R") {
			l.System |= mailbox.Seen
		}
	case "x-status":
		for _, f := range statusLetters {
			if strings.IndexByte(value, f.letter) >= 0 {
				l.System |= f.flag
			}
		}
	case "x-keywords":
		for _, k := range strings.Fields(value) {
			if mailbox.CheckKeyword(k) == nil && mailbox.KeywordIndex(l.Keywords, k) < 0 && len(l.Keywords) < mailbox.MaxKeywords {
				l.Keywords = append(l.Keywords, k)
			}
		}
	}
}

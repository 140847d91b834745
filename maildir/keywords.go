package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// keywordsName is Dovecot's file of keywords: "<number> <name>" on each line; number 0 is the letter a
// in file names, 25 is z. It is changed under the lock of the uidlist.
const keywordsName = "dovecot-keywords"

// keywordFile is what we know of the file.
type keywordFile struct {
	names []string // by letter; shared with callers, so it is replaced and never changed
	info  faultfs.Info
	there bool
}

// unnamed is what Dovecot calls letter i when the file does not explain it, unless another letter has that name.
func unnamed(i int, names []string) string {
	name := "unknown-" + strconv.Itoa(i)
	for mailbox.KeywordIndex(names, name) >= 0 {
		name += "-"
	}
	return name
}

// refresh reads the file again if it has changed. Letters only ever gain names.
func (k *keywordFile) refresh(base faultfs.Dir) error {
	info, err := base.Lstat(keywordsName)
	if errors.Is(err, fs.ErrNotExist) {
		k.there = false
		return nil
	}
	if err != nil {
		return err
	}
	if k.there && sameDir(info, k.info) && info.Size == k.info.Size && info.ModTime.Equal(k.info.ModTime) {
		return nil
	}
	data, err := faultfs.ReadFile(base, keywordsName, 64<<10)
	if err != nil {
		return err
	}
	names := parseKeywords(data)
	for i := len(names); i < len(k.names); i++ {
		name := k.names[i]
		if mailbox.KeywordIndex(names, name) >= 0 {
			name = unnamed(i, names)
		}
		names = append(names, name)
	}
	k.names, k.info, k.there = names, info, true
	return nil
}

func parseKeywords(data []byte) []string {
	var names []string
	for line := range bytes.Lines(data) {
		number, name, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		i, err := strconv.Atoi(number)
		if !ok || err != nil || i < 0 || i >= keywordLimit || !isKeyword(name) {
			continue
		}
		for len(names) <= i {
			names = append(names, "")
		}
		if mailbox.KeywordIndex(names, name) < 0 {
			names[i] = name
		}
	}
	for i, name := range names {
		if name == "" {
			names[i] = unnamed(i, names)
		}
	}
	return names
}

// isKeyword reports whether name is a flag-keyword of IMAP (RFC 9051 §9: an atom), of a size that
// the file bears.
func isKeyword(name string) bool {
	if name == "" || len(name) > maxNameOctets {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// cover makes sure that each letter in use has a name.
func (k *keywordFile) cover(used flagBits) {
	used >>= keywordShift
	if used>>len(k.names) == 0 {
		return
	}
	names := append([]string(nil), k.names...)
	for used>>len(names) != 0 {
		names = append(names, unnamed(len(names), names))
	}
	k.names = names
}

// flagBits returns the bits of a flag list; missing are the keywords that have no letter yet.
func (k *keywordFile) flagBits(l mailbox.FlagList) (f flagBits, missing []string) {
	f = bitsOf(l.System & mailbox.SystemFlags)
	for _, name := range l.Keywords {
		if i := mailbox.KeywordIndex(k.names, name); i >= 0 {
			f |= 1 << (keywordShift + i)
		} else if mailbox.KeywordIndex(missing, name) < 0 {
			missing = append(missing, name)
		}
	}
	return f, missing
}

// resolve turns a flag list into bits. New keywords get letters, durably.
func (f *folder) resolve(ctx context.Context, l mailbox.FlagList) (flagBits, error) {
	bits, missing := f.state.keywords.flagBits(l)
	if len(missing) == 0 {
		return bits, nil
	}
	if err := mailbox.CheckKeywords(missing); err != nil {
		return 0, err
	}
	unlock, err := f.lockList(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := f.state.keywords.refresh(f.base); err != nil {
		return 0, err
	}
	if _, missing = f.state.keywords.flagBits(l); len(missing) > 0 {
		if err := f.addKeywords(missing); err != nil {
			return 0, err
		}
	}
	bits, _ = f.state.keywords.flagBits(l)
	return bits, nil
}

// resolveFor is resolve; lenient leaves out the keywords that find no room: mail must not be stuck for
// a label.
func (f *folder) resolveFor(ctx context.Context, l mailbox.FlagList, lenient bool) (flagBits, error) {
	bits, err := f.resolve(ctx, l)
	for lenient && errors.Is(err, mailbox.ErrKeywordLimit) && len(l.Keywords) > 0 {
		// One after the other: the first ones may still fit.
		_, missing := f.state.keywords.flagBits(l)
		last := missing[len(missing)-1]
		l.Keywords = slices.DeleteFunc(slices.Clone(l.Keywords), func(k string) bool { return strings.EqualFold(k, last) })
		bits, err = f.resolve(ctx, l)
	}
	return bits, err
}

// addKeywords writes the file with some more names; the uidlist is locked.
func (f *folder) addKeywords(missing []string) error {
	k := &f.state.keywords
	if len(k.names)+len(missing) > keywordLimit {
		return fmt.Errorf("%q: %w", missing[0], mailbox.ErrKeywordLimit)
	}
	names := append(append([]string(nil), k.names...), missing...)
	var b []byte
	for i, name := range names {
		b = fmt.Appendf(b, "%d %s\n", i, name)
	}
	if err := faultfs.WriteFile(f.base, keywordsName, b, 0o600); err != nil {
		k.there = false
		return err
	}
	info, err := f.base.Lstat(keywordsName)
	if err == nil && k.there && !info.ModTime.Truncate(time.Second).After(k.info.ModTime) {
		// Dovecot looks at the seconds of the time alone: they must grow.
		later := k.info.ModTime.Truncate(time.Second).Add(time.Second)
		if err = f.base.Chtimes(keywordsName, later); err == nil {
			info, err = f.base.Lstat(keywordsName)
		}
	}
	if err != nil {
		k.there = false
		return err
	}
	k.names, k.info, k.there = names, info, true
	return nil
}

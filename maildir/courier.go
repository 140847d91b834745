package maildir

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/mutf7"
	"github.com/goniec-mail/goniec/mailbox"
)

// Files of Courier. They are read once, where a folder has no dovecot-uidlist yet, and never written.
//
//	courierimapuiddb               "1 <UIDVALIDITY> <UIDNEXT>", then "<UID> <file name>"
//	courierimapkeywords/:list      keywords, one a line; an empty line; "<file name>:<number> <number>..."
//	courierimapkeywords/<name>     a message's keywords, one a line, changed after :list was written
//	courierimapkeywords/.<n>.<name>    the same, older: the highest n counts, and only if the file above is not there
//	courierimapsubscribed          "INBOX.Name.Name", one a line, in modified UTF-7, or in UTF-8 since version 5
//
// <file name> is without the info behind ":".
const (
	courierUIDs          = "courierimapuiddb"
	courierKeywords      = "courierimapkeywords"
	courierList          = ":list"
	courierSubscriptions = "courierimapsubscribed"
	courierLimit         = 64 << 20
)

// adoptCourier begins a folder's list with the UIDs of Courier. It reports false when there are none.
func (f *folder) adoptCourier(ctx context.Context) (bool, error) {
	s := &f.state
	data, err := faultfs.ReadFile(f.base, courierUIDs, listLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var l listFile
	s.t = table{}
	if err := l.parse(data, true, func(uid uint32, _, base []byte) {
		s.t.add(s.t.newRec(uid, string(base), infoNone, nil))
	}); err != nil {
		f.acct.store.log("Courier's UIDs can not be used", "folder", f.base.Name(), "err", err)
		s.t = table{}
		return false, nil
	}
	s.list = listFile{listHeader: listHeader{validity: l.validity, next: l.uidNext()}, last: l.last}
	if err := f.adoptKeywords(ctx); err != nil {
		return false, err
	}
	if err := f.rewrite(ctx); err != nil {
		return false, err
	}
	s.uidNext = s.list.uidNext()
	return true, nil
}

// adoptKeywords puts Courier's keywords into the names of the files in cur/.
func (f *folder) adoptKeywords(ctx context.Context) error {
	byBase, err := f.courierKeywords()
	if err != nil || len(byBase) == 0 {
		return err
	}
	names, err := f.cur.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		base, info := splitInfo(name)
		keywords := byBase[base]
		if len(keywords) == 0 {
			continue
		}
		bits, err := f.resolveFor(ctx, mailbox.FlagList{Keywords: keywords}, true)
		if err != nil {
			return err
		}
		old, _ := parseInfo(info)
		if err := f.cur.Rename(name, f.cur.Dir, base+changeInfo(info, old|bits)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.failed(f.cur.Sync())
}

// courierKeywords reads the keywords of each message.
func (f *folder) courierKeywords() (map[string][]string, error) {
	d, err := f.base.OpenDir(courierKeywords)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	defer d.Close()
	files, err := d.Names()
	if err != nil {
		return nil, err
	}
	byBase := make(map[string][]string)
	text, err := readOptional(d, courierList, courierLimit)
	if err != nil {
		return nil, err
	}
	parseCourierList(text, byBase)
	for base, name := range courierUpdates(files) {
		if text, err = readOptional(d, name, 64<<10); err != nil {
			return nil, err
		}
		lines, _, _ := strings.Cut(text, "\n\n")
		byBase[base] = atoms(strings.Split(lines, "\n"))
	}
	return byBase, nil
}

// readOptional reads a file that need not be there. Trouble with the disk is an error: these files are read only once.
func readOptional(d faultfs.Dir, name string, limit int64) (string, error) {
	text, err := faultfs.ReadFile(d, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(text), err
}

// courierUpdates picks the newest update file of each message.
func courierUpdates(files []string) map[string]string {
	newest, ranks := make(map[string]string), make(map[string]uint64)
	for _, name := range files {
		base, rank := name, uint64(math.MaxUint64)
		if name[0] == ':' {
			continue
		}
		if name[0] == '.' {
			number, rest, ok := strings.Cut(name[1:], ".")
			n, err := strconv.ParseUint(number, 10, 63)
			if !ok || err != nil {
				continue // being written
			}
			base, rank = rest, n
		}
		if base, _ = splitInfo(base); rank > ranks[base] {
			newest[base], ranks[base] = name, rank
		}
	}
	return newest
}

func parseCourierList(text string, byBase map[string][]string) {
	head, rest, _ := strings.Cut(text, "\n\n")
	names := strings.Split(head, "\n")
	for line := range strings.Lines(rest) {
		base, numbers, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		var keywords []string
		for number := range strings.FieldsSeq(numbers) {
			if i, err := strconv.Atoi(number); err == nil && i >= 0 && i < len(names) {
				keywords = append(keywords, names[i])
			}
		}
		byBase[base] = atoms(keywords)
	}
}

// atoms keeps what can be a keyword.
func atoms(names []string) (kept []string) {
	for _, n := range names {
		if mailbox.CheckKeyword(n) == nil {
			kept = append(kept, n)
		}
	}
	return kept
}

// courierSubscribed reads Courier's list into s.
func (a *account) courierSubscribed(s *subscriptions) error {
	data, err := faultfs.ReadFile(a.root, courierSubscriptions, subscriptionsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "INBOX."); ok {
			line = rest
		}
		if _, err := mutf7.Decode(line); err != nil && utf8.ValidString(line) {
			line = mutf7.Encode(line)
		}
		if line != "" {
			s.lines = append(s.lines, line)
		}
	}
	return err
}

// renameUTF8 returns how to give a directory with a name in UTF-8 the one that we and Dovecot use; nil where that can not be.
func (a *account) renameUTF8(dir string) func() error {
	target, err := folderDir(strings.ReplaceAll(dir[1:], ".", "/"))
	ascii := !strings.ContainsFunc(dir, func(r rune) bool { return r >= utf8.RuneSelf })
	if err != nil || target == "" || ascii { // in ASCII nobody knows what was meant
		return nil
	}
	if _, err := a.root.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return func() error {
		a.tree.Lock()
		defer a.tree.Unlock()
		return errors.Join(a.root.Rename(dir, a.root, target), a.root.Sync())
	}
}

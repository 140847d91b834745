package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// aclName is Dovecot's file of a folder's access control list, beside its new/: a line for each entry,
//
//	["-"]<identifier> SP <letters of RFC 4314> [SP ":" <Dovecot's own rights>]
//
// with user=, group= and group-override= before names; lines that are empty or begin with "#" are comments. An
// identifier with a space is in double quotes. It is changed under dovecot-acl.lock.
const (
	aclName  = "dovecot-acl"
	aclLimit = 256 << 10
	// aclListName is Dovecot's cache of which folders of an account anybody else sees. It is made again when it is
	// missing, and not when a list changes behind Dovecot's back.
	aclListName = "dovecot-acl-list"
)

// errACL is a file that can not be read. Nobody but the owner gets at the folder then, as in Dovecot.
var errACL = errors.New("access control list is damaged")

// aclPrefixes are how Dovecot's files call identifiers that have a mark in front for clients, the longest mark first.
var aclPrefixes = [...]struct{ mark, prefix string }{
	{mailbox.OverridePrefix, "group-override="},
	{mailbox.GroupPrefix, "group="},
	{"", "user="},
}

// aclLine is a line as it is in the file, and what it says.
type aclLine struct {
	text  string
	entry mailbox.ACLEntry
	named string // Dovecot's own rights, which have no letters
	other bool   // a comment
}

// parseACL reads the file. A line that can not be understood makes all of it useless: it may have taken
// rights away.
func parseACL(data []byte) ([]aclLine, error) {
	var lines []aclLine
	for text := range strings.Lines(string(data)) {
		l := aclLine{text: strings.TrimSuffix(text, "\n")}
		if l.other = l.text == "" || l.text[0] == '#'; !l.other {
			var err error
			if l.entry, l.named, err = parseACLLine(l.text); err != nil {
				return nil, fmt.Errorf("%w: line %d: %w", errACL, len(lines)+1, err)
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func parseACLLine(line string) (e mailbox.ACLEntry, named string, err error) {
	id, rest, err := cutIdentifier(line)
	if err != nil {
		return e, "", err
	}
	id, e.Negative = strings.CutPrefix(id, "-")
	if e.ID, err = readIdentifier(id); err != nil {
		return e, "", err
	}
	letters, names, _ := strings.Cut(rest, ":")
	letters = strings.Trim(letters, " \t")
	if strings.ContainsAny(letters, "cd") { // only clients may say these
		return e, "", fmt.Errorf("%w: %q", mailbox.ErrRights, letters)
	}
	if e.Rights, err = mailbox.ParseRights(letters); err != nil {
		return e, "", err
	}
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(" ,\t", r) }) {
		if r := rightNamed(name); r != 0 {
			e.Rights |= r
		} else {
			named += " " + name
		}
	}
	return e, named, nil
}

// rightNames are Dovecot's names of the rights, in the order of their bits.
var rightNames = [...]string{
	"lookup", "read", "write-seen", "write", "insert", "post", "create", "delete", "write-deleted", "expunge", "admin",
}

// rightNamed returns the right with a name of Dovecot's; 0 when it is none of RFC 4314's.
func rightNamed(name string) mailbox.Rights {
	if i := slices.Index(rightNames[:], name); i >= 0 {
		return 1 << i
	}
	return 0
}

// cutIdentifier parts a line behind the identifier.
func cutIdentifier(line string) (id, rest string, err error) {
	if line[0] != '"' {
		id, rest, _ = strings.Cut(line, " ")
		return id, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			return b.String(), line[i+1:], nil
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a quote is not closed")
}

func readIdentifier(id string) (mailbox.Identifier, error) {
	switch id {
	case "anyone", "anonymous":
		return mailbox.IDAnyone, nil
	case "authenticated":
		return mailbox.IDAuthenticated, nil
	case "owner":
		return mailbox.IDOwner, nil
	}
	for _, p := range aclPrefixes {
		if name, ok := strings.CutPrefix(id, p.prefix); ok {
			return readName(p.mark, name)
		}
	}
	return "", fmt.Errorf("unknown identifier %.80q", id)
}

// readName makes sure that a user whose name looks like another identifier is not taken for it.
func readName(mark, name string) (mailbox.Identifier, error) {
	id := mailbox.Identifier(mark + name)
	if err := id.Check(); err != nil {
		return "", err
	}
	if id.IsUser() != (mark == "") {
		return "", fmt.Errorf("%.80q can not be told from what is no user", name)
	}
	return id, nil
}

// formatACLLine writes an entry as Dovecot does.
func formatACLLine(e mailbox.ACLEntry, named string) string {
	id := string(e.ID)
	switch e.ID {
	case mailbox.IDAnyone, mailbox.IDAuthenticated, mailbox.IDOwner:
	default:
		for _, p := range aclPrefixes {
			if name, ok := strings.CutPrefix(id, p.mark); ok {
				id = p.prefix + name
				break
			}
		}
	}
	if e.Negative {
		id = "-" + id
	}
	if strings.ContainsRune(id, ' ') {
		id = `"` + aclEscapes.Replace(id) + `"`
	}
	if named != "" {
		named = " :" + strings.TrimLeft(named, " ")
	}
	return id + " " + e.Rights.String() + named
}

var aclEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`)

// readACL reads the list of a folder.
func readACL(base faultfs.Dir) ([]aclLine, error) {
	data, err := faultfs.ReadFile(base, aclName, aclLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lines, err := parseACL(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.Name(), err)
	}
	return lines, nil
}

// entriesOf returns the list that lines say. Of two lines about one identifier the rights are added up.
func entriesOf(lines []aclLine) mailbox.ACL {
	var l mailbox.ACL
	for _, line := range lines {
		if !line.other {
			l = l.With(line.entry)
		}
	}
	return l
}

// withFolder calls do with the open directory of a folder.
func (a *Account) withFolder(ctx context.Context, name string, do func(base faultfs.Dir) error) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	dir, err := folderDir(name)
	if err != nil {
		return err
	}
	if dir == "" {
		return do(a.root)
	}
	base, err := a.root.OpenDir(dir)
	if err != nil {
		return notFound(err)
	}
	defer base.Close()
	return do(base)
}

// ACL implements mailbox.ACLKeeper. The file is read at each call: what other programs did to it counts at once.
func (a *Account) ACL(ctx context.Context, name string) (l mailbox.ACL, err error) {
	err = a.withFolder(ctx, name, func(base faultfs.Dir) error {
		lines, err := readACL(base)
		l = entriesOf(lines)
		return err
	})
	return l, err
}

// ChangeACL implements mailbox.ACLKeeper. Lines about others stay as they are, with comments and what only Dovecot
// knows.
func (a *Account) ChangeACL(ctx context.Context, name string, changes ...mailbox.ACLChange) error {
	return a.withFolder(ctx, name, func(base faultfs.Dir) error {
		a.tree.Lock()
		defer a.tree.Unlock()
		lock, err := a.store.takeDotlock(ctx, base, aclName)
		if err != nil {
			return err
		}
		defer lock.unlock()
		lines, err := readACL(base)
		if err != nil {
			return err
		}
		old := entriesOf(lines)
		l, err := old.Apply(changes...)
		if err != nil {
			return err
		}
		text := mergeACL(lines, old, l)
		if len(text) > aclLimit {
			return mailbox.ErrACLLimit
		}
		if err := faultfs.WriteFile(base, aclName, []byte(text), 0o600); err != nil {
			return err
		}
		_ = a.root.Remove(aclListName) // a cache, and not ours: where it can not be removed, it is old
		return nil
	})
}

// mergeACL writes the new list: lines whose entries have not changed stay.
func mergeACL(lines []aclLine, old, l mailbox.ACL) string {
	var b strings.Builder
	written := make(map[mailbox.ACLEntry]bool)
	for _, line := range lines {
		same := func(e mailbox.ACLEntry) bool { return e.ID == line.entry.ID && e.Negative == line.entry.Negative }
		was, _ := find(old, same)
		now, there := find(l, same)
		switch {
		case line.other, there && now == was:
			b.WriteString(line.text + "\n")
		case there && !written[now]:
			b.WriteString(formatACLLine(now, line.named) + "\n")
		}
		if there && !line.other {
			written[now] = true
		}
	}
	for _, e := range l {
		if !written[e] {
			b.WriteString(formatACLLine(e, "") + "\n")
		}
	}
	return b.String()
}

func find(l mailbox.ACL, is func(mailbox.ACLEntry) bool) (mailbox.ACLEntry, bool) {
	for _, e := range l {
		if is(e) {
			return e, true
		}
	}
	return mailbox.ACLEntry{}, false
}

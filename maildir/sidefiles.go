package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/mutf7"
	"github.com/goniec-mail/goniec/mailbox"
)

// subscriptionsName is Dovecot's file: one name a line in modified UTF-7, with "." between levels;
// or, behind the header line "V<TAB>2" and an empty one, with tabs between levels. It is written in
// the form it has.
const subscriptionsName = "subscriptions"

const (
	subscriptionsV2    = "V\t2\n\n"
	subscriptionsLimit = 4 << 20
)

// subscriptions is the file's content.
type subscriptions struct {
	separator string // "." or a tab
	lines     []string
}

func (a *account) readSubscriptions() (s subscriptions, err error) {
	s.separator = "."
	data, err := faultfs.ReadFile(a.root, subscriptionsName, subscriptionsLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return s, a.courierSubscribed(&s)
	}
	text, v2 := strings.CutPrefix(string(data), subscriptionsV2)
	if v2 {
		s.separator = "\t"
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			s.lines = append(s.lines, line)
		}
	}
	return s, err
}

func (s *subscriptions) format() []byte {
	var b strings.Builder
	if s.separator == "\t" {
		b.WriteString(subscriptionsV2)
	}
	for _, line := range s.lines {
		b.WriteString(line + "\n")
	}
	return []byte(b.String())
}

// name reads a line; false when it is no name of ours.
func (s *subscriptions) name(line string) (string, bool) {
	name, err := mutf7.Decode(strings.ReplaceAll(line, s.separator, "/"))
	return mailbox.CanonicalName(name), err == nil
}

func (s *subscriptions) line(name string) string {
	return strings.ReplaceAll(mutf7.Encode(name), "/", s.separator)
}

// Subscribed implements mailbox.Subscriber.
func (a *Account) Subscribed(ctx context.Context) ([]string, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	s, err := a.readSubscriptions()
	var names []string
	for _, line := range s.lines {
		if name, ok := s.name(line); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// Subscribe implements mailbox.Subscriber.
func (a *Account) Subscribe(ctx context.Context, name string, on bool) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	name = mailbox.CanonicalName(name)
	if _, err := folderDir(name); err != nil {
		return err
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	lock, err := a.store.takeDotlock(ctx, a.root, subscriptionsName)
	if err != nil {
		return err
	}
	defer lock.unlock()
	s, err := a.readSubscriptions()
	if err != nil {
		return err
	}
	before := len(s.lines)
	same := func(line string) bool { n, ok := s.name(line); return ok && n == name }
	if !on {
		s.lines = slices.DeleteFunc(s.lines, same)
	} else if !slices.ContainsFunc(s.lines, same) {
		s.lines = append(s.lines, s.line(name))
	}
	if len(s.lines) == before {
		return nil
	}
	defer a.watch.look(false)
	return faultfs.WriteFile(a.root, subscriptionsName, s.format(), 0o600)
}

// useName is the file in a folder's directory that says its special use; so it goes with the folder
// when that is renamed or deleted.
const (
	useName   = "goniec-special-use"
	useHeader = "goniec-special-use 1\n"
)

func readUse(base faultfs.Dir) (mailbox.SpecialUse, error) {
	data, err := faultfs.ReadFile(base, useName, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	text, ok := strings.CutPrefix(string(data), useHeader)
	if use := mailbox.SpecialUse(strings.TrimSpace(text)); ok && knownUse(use) {
		return use, err
	}
	return "", err
}

func writeUse(base faultfs.Dir, use mailbox.SpecialUse) error {
	return faultfs.WriteFile(base, useName, []byte(useHeader+string(use)+"\n"), 0o600)
}

func knownUse(use mailbox.SpecialUse) bool {
	switch use {
	case mailbox.UseAll, mailbox.UseArchive, mailbox.UseDrafts, mailbox.UseFlagged,
		mailbox.UseImportant, mailbox.UseJunk, mailbox.UseSent, mailbox.UseTrash:
		return true
	}
	return false
}

// freeUse makes sure that a use can be given to a folder: it is one we know and no other has it.
func (a *account) freeUse(use mailbox.SpecialUse) error {
	if use == "" {
		return nil
	}
	if !knownUse(use) {
		return fmt.Errorf("special use %.40q: %w", use, mailbox.ErrCannot)
	}
	dirs, err := a.folderDirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		info, err := a.describe(dir)
		if err == nil && info.SpecialUse == use {
			return fmt.Errorf("%s is %s already: %w", info.Name, use, mailbox.ErrCannot)
		}
	}
	return nil
}

// SetSpecialUse implements mailbox.SpecialUser.
func (a *Account) SetSpecialUse(ctx context.Context, name string, use mailbox.SpecialUse) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	dir, err := folderDir(name)
	if err != nil {
		return err
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	info, err := a.describe(dir)
	if err != nil || info.SpecialUse == use {
		return notFound(err)
	}
	if err := a.freeUse(use); err != nil {
		return err
	}
	base := a.root
	if dir != "" {
		if base, err = a.root.OpenDir(dir); err != nil {
			return notFound(err)
		}
		defer base.Close()
	}
	defer a.watch.look(true)
	if use != "" {
		return writeUse(base, use)
	}
	if err := base.Remove(useName); err != nil {
		return err
	}
	return base.Sync()
}

package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
)

// ShareFiles is a ShareIndex in a directory, for any number of processes at once. Each identifier has a
// directory, and in it an empty file for each owner; a file beside them tells the format:
//
//	goniec-shares                    "goniec-shares 1\n"
//	user=bob@example.org/            what is shared with bob:
//	user=bob@example.org/joe@example.org
//	group=team/  anyone/  authenticated/
//
// Whoever looks for the owners that share with him reads one directory for himself, one for each of his groups,
// and two for everybody: nothing depends on how many users there are. "/", "%" and other characters that file
// systems do not bear are written "%2F" and so on. Everything in it can be had again from the lists of the folders
// (SharedStore.Reindex).
type ShareFiles struct{ dir faultfs.Dir }

const (
	sharesName   = "goniec-shares"
	sharesFormat = "goniec-shares 1\n"
)

// OpenShareFiles opens the index in a directory, which is made if need be, durably. fsys is the file system; nil
// means the real one.
func OpenShareFiles(fsys faultfs.FS, path string) (*ShareFiles, error) {
	if fsys == nil {
		fsys = faultfs.OS{}
	}
	dir, err := fsys.OpenDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = faultfs.MkdirAll(fsys, path, 0o700); err == nil {
			dir, err = fsys.OpenDir(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("index of shared folders: %w", err)
	}
	if err := checkShares(dir); err != nil {
		_ = dir.Close()
		return nil, fmt.Errorf("index of shared folders: %w", err)
	}
	return &ShareFiles{dir}, nil
}

// checkShares makes sure that the directory is in the format we know.
func checkShares(dir faultfs.Dir) error {
	text, err := faultfs.ReadFile(dir, sharesName, 4096)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return faultfs.WriteFile(dir, sharesName, []byte(sharesFormat), 0o600)
	case err == nil && string(text) != sharesFormat:
		return fmt.Errorf("%s: format %.40q is not known", dir.Name(), text)
	}
	return err
}

// Close frees the directory.
func (s *ShareFiles) Close() error { return s.dir.Close() }

// identifierFile is the name of an identifier's directory.
func identifierFile(id Identifier) (string, error) {
	name := string(id)
	switch id.class() {
	case 2:
		name = "group=" + name[len(GroupPrefix):]
	case 4:
		name = "user=" + name
	case 5: // a member finds both under the group
		name = "group=" + name[len(OverridePrefix):]
	}
	return escapeFile(name)
}

// escapeFile makes a file name of text; different texts give different names.
func escapeFile(text string) (string, error) {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c < 0x20, c == 0x7F, strings.IndexByte(`%/\:*?"<>|`, c) >= 0, i == 0 && c == '.':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	if b.Len() == 0 || b.Len() > maxFileName {
		return "", fmt.Errorf("%w: %.40q can not be the name of a file", ErrIdentifier, text)
	}
	return b.String(), nil
}

// maxFileName is NAME_MAX of every file system in use.
const maxFileName = 255

// unescapeFile is the way back; false for what escapeFile does not make.
func unescapeFile(name string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		var c byte
		if len(name) < i+3 {
			return "", false
		}
		if _, err := fmt.Sscanf(name[i+1:i+3], "%02X", &c); err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	back, err := escapeFile(b.String())
	return b.String(), err == nil && back == name
}

// open opens the directory of an identifier.
func (s *ShareFiles) open(ctx context.Context, id Identifier) (faultfs.Dir, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	name, err := identifierFile(id)
	if err != nil {
		return nil, err
	}
	return s.dir.OpenDir(name)
}

// Owners implements ShareIndex.
func (s *ShareFiles) Owners(ctx context.Context, id Identifier, limit int) ([]string, error) {
	d, err := s.open(ctx, id)
	if err != nil {
		return nil, absent(err)
	}
	defer d.Close()
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	var owners []string
	for _, n := range names {
		if len(owners) >= limit {
			break
		}
		if owner, ok := unescapeFile(n); ok {
			owners = append(owners, owner)
		}
	}
	return owners, nil
}

// absent makes no error of a file that is not there, or could never be.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrIdentifier) {
		return nil
	}
	return err
}

// Has implements ShareIndex.
func (s *ShareFiles) Has(ctx context.Context, id Identifier, owner string) (bool, error) {
	d, err := s.open(ctx, id)
	if err != nil {
		return false, absent(err)
	}
	defer d.Close()
	name, err := escapeFile(owner)
	if err == nil {
		_, err = d.Lstat(name)
	}
	return err == nil, absent(err)
}

// Add implements ShareIndex.
func (s *ShareFiles) Add(ctx context.Context, id Identifier, owner string) error {
	if err := ended(ctx); err != nil {
		return err
	}
	dirName, err := identifierFile(id)
	if err != nil {
		return err
	}
	name, err := escapeFile(owner)
	if err != nil {
		return err
	}
	d, err := faultfs.MkdirSync(s.dir, dirName, 0o700)
	if err != nil {
		return err
	}
	defer d.Close()
	f, err := d.Create(name, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.Sync() // also where it was there: who made it may not have come so far
}

// Remove implements ShareIndex. Directories that are empty stay.
func (s *ShareFiles) Remove(ctx context.Context, id Identifier, owner string) error {
	d, err := s.open(ctx, id)
	if err != nil {
		return absent(err)
	}
	defer d.Close()
	name, err := escapeFile(owner)
	if err == nil {
		err = d.Remove(name)
	}
	if err != nil {
		return absent(err)
	}
	return d.Sync()
}

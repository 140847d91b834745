package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// renameName is the note of a renaming that has begun: Maildir++ keeps children beside their parent, so that each is
// renamed on its own. After a crash the next use of the account finishes it.
const (
	renameName   = "goniec-rename"
	renameHeader = "goniec-rename 1\n"
)

// Rename implements mailbox.Account. The folder and its children are renamed one after the other; a
// note makes sure that all are, also after a crash.
func (a *Account) Rename(ctx context.Context, from, to string) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	src, err := folderDir(from)
	if err != nil {
		return err
	}
	dst, err := folderDir(to)
	switch {
	case err != nil:
		return err
	case src == "":
		return mailbox.ErrCannot
	case dst == "" || src == dst:
		return mailbox.ErrExists
	case strings.HasPrefix(dst, src+"."):
		return fmt.Errorf("a folder can not become its own child: %w", mailbox.ErrCannot)
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	lock, err := a.store.takeDotlock(ctx, a.root, renameName)
	if err != nil {
		return err
	}
	defer lock.unlock()
	moves, err := a.plan(src, dst)
	if err != nil {
		return err
	}
	if len(moves) > 1 {
		note := renameHeader + src + "\n" + dst + "\n"
		if err := faultfs.WriteFile(a.root, renameName, []byte(note), 0o600); err != nil {
			return err
		}
	}
	defer a.watch.look(false)
	if err := a.move(moves); err != nil {
		return err
	}
	if len(moves) == 1 {
		return nil
	}
	if err := a.root.Remove(renameName); err != nil {
		return err
	}
	return a.root.Sync()
}

// plan lists the directories to rename, {from, to}, and makes sure that no name is taken.
func (a *account) plan(src, dst string) ([][2]string, error) {
	dirs, err := a.folderDirs()
	if err != nil {
		return nil, err
	}
	if _, err := a.root.Lstat(dst); !errors.Is(err, fs.ErrNotExist) {
		return nil, cmp.Or(err, mailbox.ErrExists)
	}
	var moves [][2]string
	for _, d := range dirs {
		if d != src && !strings.HasPrefix(d, src+".") {
			continue
		}
		target := dst + d[len(src):]
		if len(target) > maxNameOctets {
			return nil, fmt.Errorf("%.80q is too long: %w", target, mailbox.ErrName)
		}
		if slices.Contains(dirs, target) {
			return nil, mailbox.ErrExists
		}
		moves = append(moves, [2]string{d, target})
	}
	if len(moves) == 0 {
		return nil, mailbox.ErrNotFound
	}
	if moves[0][0] != src {
		if _, err := a.root.Lstat(src); err != nil {
			return nil, notFound(err) // only children: they would be orphans of nobody
		}
	}
	return moves, nil
}

// move renames directories. When one fails, those before it get their names back.
func (a *account) move(moves [][2]string) error {
	for i, m := range moves {
		err := a.root.Rename(m[0], a.root, m[1])
		if err == nil {
			a.store.forget(a, m[0])
			continue
		}
		undone := true
		for _, done := range slices.Backward(moves[:i]) {
			undone = a.root.Rename(done[1], a.root, done[0]) == nil && undone
			a.store.forget(a, done[1])
		}
		if len(moves) > 1 && undone {
			_ = a.root.Remove(renameName) // else the next use of the account finishes the renaming
		}
		return notFound(err)
	}
	return a.root.Sync()
}

// recoverTree finishes a renaming, and removes folders that were being made or removed, of a
// process that has died.
func (a *account) recoverTree(ctx context.Context) error {
	if _, err := a.root.Lstat(renameName); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	a.tree.Lock()
	defer a.tree.Unlock()
	lock, err := a.store.takeDotlock(ctx, a.root, renameName)
	if err != nil {
		return err
	}
	defer lock.unlock()
	data, err := faultfs.ReadFile(a.root, renameName, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) >= 3 && lines[0]+"\n" == renameHeader {
		dirs, err := a.folderDirs()
		if err != nil {
			return err
		}
		for _, d := range dirs {
			if d != lines[1] && !strings.HasPrefix(d, lines[1]+".") {
				continue
			}
			target := lines[2] + d[len(lines[1]):]
			_, err := a.root.Lstat(target)
			if errors.Is(err, fs.ErrNotExist) {
				err = a.root.Rename(d, a.root, target)
			}
			if err != nil {
				return err // the note stays
			}
		}
		if err := a.root.Sync(); err != nil {
			return err
		}
	}
	if err := a.root.Remove(renameName); err != nil {
		return err
	}
	return a.root.Sync()
}

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
	"github.com/goniec-mail/goniec/mbox"
)

// user is the only account of a place.
const user = "mail"

func move(ctx context.Context, o *options, stderr io.Writer) ([]mailbox.FolderReport, error) {
	from, err := place(o.from, o.dialect, true)
	if err != nil {
		return nil, err
	}
	to, err := place(o.to, o.dialect, false)
	if err != nil {
		return nil, err
	}
	c := &mailbox.Converter{DryRun: o.dryRun, Verify: o.verify, KeepUIDs: o.keepUIDs, Rename: safeNames(o.to)}
	if c.From, err = from.Account(ctx, user); err != nil {
		return nil, fmt.Errorf("%s: %w", o.from, err)
	}
	defer c.From.Close()
	if o.dryRun {
		return c.Run(ctx)
	}
	if c.To, err = to.Account(ctx, user); err != nil {
		return nil, fmt.Errorf("%s: %w", o.to, err)
	}
	defer c.To.Close()
	if o.stateFile == "" {
		o.stateFile = defaultState(o)
	}
	if c.StateDir, err = (faultfs.OS{}).OpenDir(filepath.Dir(o.stateFile)); err != nil {
		return nil, err
	}
	defer c.StateDir.Close()
	c.StateName = filepath.Base(o.stateFile)
	show := newProgress(stderr)
	c.Progress = show.update
	reports, err := c.Run(ctx)
	show.end()
	return reports, err
}

// defaultState is beside the target, one for each pair of places.
func defaultState(o *options) string {
	_, path, _ := strings.Cut(o.to, ":")
	sum := sha256.Sum256([]byte(absolute(o.from) + "\n" + absolute(o.to)))
	return filepath.Join(filepath.Dir(filepath.Clean(path)), fmt.Sprintf(".mailmove-%x", sum[:6]))
}

// absolute makes the path of a place absolute, so that it is the same from any directory.
func absolute(arg string) string {
	kind, path, _ := strings.Cut(arg, ":")
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return kind + ":" + path
}

// place opens "mbox:PATH" or "maildir:PATH".
func place(arg, dialect string, source bool) (mailbox.Store, error) {
	kind, path, ok := strings.Cut(arg, ":")
	if !ok || path == "" {
		return nil, fmt.Errorf("%q: mbox:PATH or maildir:PATH is needed", arg)
	}
	info, err := os.Stat(path)
	if source && err != nil {
		return nil, err
	}
	switch kind {
	case "maildir":
		locate := func(context.Context, string) (string, error) { return path, nil }
		return &maildir.Store{Locate: locate, NoCreate: source}, nil
	case "mbox":
		d, err := mbox.ParseDialect(dialect)
		if err != nil {
			return nil, err
		}
		s := &mbox.Store{Dialect: d, ReadOnly: source}
		if strings.Contains(path, "{user}") {
			return nil, errors.New("a path with {user} can not be used")
		}
		if info != nil && info.IsDir() || info == nil && strings.HasSuffix(path, "/") {
			s.Root = path
		} else {
			s.Inbox = path
		}
		return s, nil
	default:
		return nil, fmt.Errorf("%q: unknown kind %.20q; known are mbox and maildir", arg, kind)
	}
}

// safeNames replaces what the target's names can not have by "_".
func safeNames(to string) func(string) string {
	bad := "/" // the level separator never is part of a level
	if strings.HasPrefix(to, "maildir:") {
		bad = ".%*"
	}
	return func(name string) string {
		levels := strings.Split(name, "/")
		for i, l := range levels {
			l = strings.Map(func(r rune) rune {
				if strings.ContainsRune(bad, r) {
					return '_'
				}
				return r
			}, l)
			if strings.HasPrefix(l, ".") || strings.HasSuffix(l, ".lock") || strings.HasSuffix(l, ".sbd") {
				l = "_" + strings.TrimPrefix(strings.ReplaceAll(l, ".", "_"), "_")
			}
			levels[i] = l
		}
		return strings.Join(levels, "/")
	}
}

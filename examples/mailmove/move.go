package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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

// usageError is for arguments that can not be meant so.
type usageError struct{ error }

func wrong(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errNoMail is in the chain of the error for a source without mail.
var errNoMail = errors.New("there is no mail")

func move(ctx context.Context, o *options, show *progress) (reports []mailbox.FolderReport, err error) {
	from, to, err := stores(o)
	if err != nil {
		return nil, err
	}
	c := &mailbox.Converter{DryRun: o.dryRun, Verify: o.verify, Progress: show.update}
	// An mbox that is only read has no UIDs that a client could know.
	c.KeepUIDs = o.keepUIDs && strings.HasPrefix(o.from, "maildir:")
	if c.From, err = from.Account(ctx, user); err != nil {
		return nil, fmt.Errorf("%s: %w", o.from, err)
	}
	defer c.From.Close()
	names, err := folders(ctx, c.From)
	if err != nil { // before anything is made
		return nil, fmt.Errorf("%s: %w", o.from, err)
	}
	kind, _, _ := strings.Cut(o.to, ":")
	targets := targetNames(kind, names)
	c.Rename = func(name string) string {
		if to, ok := targets[name]; ok {
			return to
		}
		return safeName(kind, name) // of a subscription, or a folder that has just been made
	}
	if o.stateFile == "" {
		o.stateFile = defaultState(o)
	}
	if !o.dryRun {
		if c.To, err = to.Account(ctx, user); err != nil {
			return nil, fmt.Errorf("%s: %w", o.to, err)
		}
		defer c.To.Close()
	}
	dir, err := (faultfs.OS{}).OpenDir(filepath.Dir(o.stateFile))
	if err == nil {
		defer dir.Close()
		c.StateDir, c.StateName = dir, filepath.Base(o.stateFile)
	} else if !o.dryRun {
		return nil, fmt.Errorf("state file: %w", err)
	}
	return c.Run(ctx)
}

// folders lists the source's folders, and looks whether INBOX can be read at all.
func folders(ctx context.Context, a mailbox.Account) (names []string, err error) {
	for info, err := range a.Mailboxes(ctx) {
		if err != nil {
			return nil, err
		}
		names = append(names, info.Name)
	}
	m, err := a.Open(ctx, "INBOX")
	if err != nil {
		return nil, err
	}
	defer m.Close()
	_, err = m.Changes(ctx, mailbox.Latest)
	if errors.Is(err, mbox.ErrFormat) {
		err = fmt.Errorf("%w: %w", errNoMail, err)
	}
	return names, err
}

// stores opens both places.
func stores(o *options) (from, to mailbox.Store, err error) {
	if from, err = place(o.from, o.dialect, true); err != nil {
		return nil, nil, err
	}
	if to, err = place(o.to, o.dialect, false); err != nil {
		return nil, nil, err
	}
	_, a, _ := strings.Cut(absolute(o.from), ":")
	_, b, _ := strings.Cut(absolute(o.to), ":")
	if a == b {
		return nil, nil, wrong("FROM and TO are the same place, %s", a)
	}
	return from, to, nil
}

// defaultState is beside the target, one for each pair of places.
func defaultState(o *options) string {
	_, path, _ := strings.Cut(o.to, ":")
	sum := sha256.Sum256([]byte(absolute(o.from) + "\n" + absolute(o.to)))
	return filepath.Join(filepath.Dir(filepath.Clean(path)), fmt.Sprintf(".mailmove-%x", sum[:6]))
}

// absolute makes the path of a place absolute and free of links, so that it is the same from any directory.
func absolute(arg string) string {
	kind, path, _ := strings.Cut(arg, ":")
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return kind + ":" + path
}

// place opens "mbox:PATH" or "maildir:PATH".
func place(arg, dialect string, source bool) (mailbox.Store, error) {
	kind, path, ok := strings.Cut(arg, ":")
	if !ok || path == "" {
		return nil, wrong("%q: say what it is, as %s:%s", arg, guess(arg), arg)
	}
	if strings.Contains(path, "{user}") {
		return nil, wrong("%q: a path with {user} can not be used", arg)
	}
	info, err := os.Stat(path)
	if source && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", arg, errNoMail, err)
	}
	if source && err != nil {
		return nil, err
	}
	switch kind {
	case "maildir":
		return maildirPlace(path, source)
	case "mbox":
		return mboxPlace(path, dialect, source, info)
	default:
		return nil, wrong("%q: unknown kind %.20q; known are mbox and maildir", arg, kind)
	}
}

// guess tells what is at a path.
func guess(path string) string {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return "mbox"
	}
	return "maildir"
}

func maildirPlace(path string, source bool) (mailbox.Store, error) {
	if _, err := os.Stat(filepath.Join(path, "cur")); err != nil && source {
		return nil, fmt.Errorf("%s is no Maildir: %w: %w", path, errNoMail, err)
	}
	locate := func(context.Context, string) (string, error) { return path, nil }
	return &maildir.Store{Locate: locate, NoCreate: source}, nil
}

func mboxPlace(path, dialect string, source bool, info os.FileInfo) (mailbox.Store, error) {
	d, err := mbox.ParseDialect(dialect)
	if err != nil {
		return nil, usageError{err}
	}
	s := &mbox.Store{Dialect: d, ReadOnly: source}
	switch {
	case info != nil && info.IsDir():
		if _, err := os.Stat(filepath.Join(path, "cur")); err == nil {
			return nil, wrong("%s is a Maildir: say maildir:%s", path, path)
		}
		s.Root = path
	case info == nil && strings.HasSuffix(path, "/"):
		s.Root = path
	default:
		s.Inbox = path
	}
	return s, nil
}

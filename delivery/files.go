package delivery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/internal/passwdfile"
)

// Files is a Directory over files: the users of a passwd-file in Dovecot's format, the same file
// that auth/passwd reads, and an aliases file. It is safe for concurrent use. Make it with OpenFiles.
type Files struct {
	domains   Table
	first     string // completes names without domain
	delimiter string
	users     *passwdfile.File
	aliases   atomic.Pointer[Table]
	aliasPath string
}

// FilesConfig says where the files are.
type FilesConfig struct {
	// Domains are ours, as ClassMailbox. The first one completes user names without domain.
	Domains []string
	// RelayDomains are domains for which mail is accepted from anybody and handed to Router.Relay, as
	// ClassRelay.
	RelayDomains []string
	// Users is the path of the passwd-file, with users named user@domain. It is read again when it
	// changes. Required.
	Users string
	// Aliases is the path of a file with lines "address: target, target"; names without domain are
	// completed as those of users are; "@domain" is a catch-all; "#" begins a comment; a line that begins with a blank goes on the one before.
	// "" = none. Reload reads it again.
	Aliases string
	// Delimiter splits address extensions off (see Table). "" = none.
	Delimiter string
	Logger    *slog.Logger // nil = silent
}

// OpenFiles reads the files once; a line that can not be read is an error that begins with
// "file:line:".
func OpenFiles(c FilesConfig) (*Files, error) {
	if len(c.Domains) == 0 {
		return nil, errors.New("delivery: no domain is ours; name at least one")
	}
	f := &Files{delimiter: c.Delimiter, aliasPath: c.Aliases}
	if err := f.addDomains(&c); err != nil {
		return nil, err
	}
	first := c.Domains[0]
	f.first = first
	f.users = &passwdfile.File{Path: c.Users, Logger: c.Logger, Key: func(name string) string { return userKey(name, first) }}
	if err := f.users.Load(); err != nil {
		return nil, err
	}
	if errs := f.users.Errors(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return f, f.Reload()
}

func (f *Files) addDomains(c *FilesConfig) error {
	for _, d := range c.Domains {
		if err := f.domains.AddDomain(d, ClassMailbox); err != nil {
			return err
		}
	}
	for _, d := range c.RelayDomains {
		for _, ours := range c.Domains {
			if goniec.SameDomain(d, ours) {
				return fmt.Errorf("delivery: domain %q can not be both in Domains and in RelayDomains", d)
			}
		}
		if err := f.domains.AddDomain(d, ClassRelay); err != nil {
			return err
		}
	}
	return nil
}

// userKey is the form in which user names are compared: folded, with a domain.
func userKey(name, domain string) string {
	if !strings.Contains(name, "@") {
		name += "@" + domain
	}
	key, err := tableKey(name)
	if err != nil {
		return name
	}
	return key
}

// Reload reads the aliases file again; on an error the old aliases stay.
func (f *Files) Reload() error {
	t := &Table{}
	if f.aliasPath != "" {
		file, err := os.Open(f.aliasPath)
		if err != nil {
			return fmt.Errorf("aliases: %w", err)
		}
		defer file.Close()
		if err := readAliases(t, f.aliasPath, f.first, file); err != nil {
			return err
		}
	}
	f.aliases.Store(t)
	return nil
}

// Domain implements Directory.
func (f *Files) Domain(ctx context.Context, name string) (Domain, error) {
	return f.domains.Domain(ctx, name)
}

// Lookup implements Directory: aliases stand before users of the same name, as in Postfix.
// <postmaster> without domain is that of the first domain.
func (f *Files) Lookup(ctx context.Context, addr goniec.Address) (Entry, error) {
	if addr.Domain() == "" {
		var err error
		if addr, err = goniec.NewAddress(addr.Local(), f.first); err != nil {
			return Entry{}, err
		}
	}
	aliases := f.aliases.Load()
	return Resolve(ctx, addr, f.delimiter, func(_ context.Context, local, domain string) (Entry, error) {
		key := local + "@" + domain
		e, known := aliases.entries[key]
		u, ok, err := f.users.Lookup(key)
		if err != nil {
			return Entry{}, err
		}
		if ok {
			e.User, e.Attributes = userKey(u.Name, domain), attributes(&u)
			if !known {
				e.Why = "user " + key + " in " + f.users.Path
			}
		}
		if !ok && !known {
			return Entry{}, ErrNotFound
		}
		if known && !containsMailbox(e.Targets, key) {
			e.User = "" // an alias that does not name its own mailbox replaces it
		}
		return e, nil
	})
}

func containsMailbox(list []goniec.Address, key string) bool {
	for _, a := range list {
		if mailboxKey(a).String() == key {
			return true
		}
	}
	return false
}

func attributes(u *passwdfile.Entry) map[string]string {
	m := map[string]string{}
	for k, v := range u.Fields() {
		m[strings.TrimPrefix(k, "userdb_")] = v
	}
	for k, v := range map[string]string{"home": u.Home, "uid": u.UID, "gid": u.GID} {
		if v != "" {
			m[k] = v
		}
	}
	return m
}

// readAliases fills t from lines; see FilesConfig.Aliases.
func readAliases(t *Table, path, domain string, r io.Reader) error {
	sc := bufio.NewScanner(r) // limits a line to 64 KiB
	entry, at, line := "", 0, 0
	flush := func() error {
		if strings.TrimSpace(entry) == "" {
			return nil
		}
		if err := addAliasLine(t, domain, entry); err != nil {
			return fmt.Errorf("%s:%d: %w", path, at, err)
		}
		return nil
	}
	for sc.Scan() {
		line++
		text := sc.Text()
		if i := strings.IndexByte(text, '#'); i == 0 || i > 0 && strings.TrimSpace(text[:i]) == "" {
			continue
		}
		if text != "" && (text[0] == ' ' || text[0] == '\t') {
			entry += text
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		entry, at = text, line
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, line+1, err)
	}
	return flush()
}

func addAliasLine(t *Table, domain, text string) error {
	name, targets, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf(`no ":" between the address and its targets in %q`, strings.TrimSpace(text))
	}
	var list []string
	for target := range strings.SplitSeq(targets, ",") {
		if target = strings.TrimSpace(target); target != "" {
			list = append(list, complete(target, domain))
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("alias %q has no target", strings.TrimSpace(name))
	}
	return t.AddAlias(complete(strings.TrimSpace(name), domain), list...)
}

// complete gives a name of an aliases file its domain: "root: alice", as people write it.
func complete(name, domain string) string {
	if name == "" || strings.Contains(name, "@") {
		return name
	}
	return name + "@" + domain
}

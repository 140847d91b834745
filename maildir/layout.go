package maildir

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/goniec-mail/goniec/internal/mutf7"
	"github.com/goniec-mail/goniec/mailbox"
)

// maxNameOctets is NAME_MAX of every file system in use.
const maxNameOctets = 255

// accountPath puts a user into the pattern of Store.Root.
func accountPath(pattern, user string) (string, error) {
	if !strings.Contains(pattern, "{") {
		pattern = filepath.Join(pattern, "{user}")
	}
	local, domain := user, ""
	if i := strings.LastIndexByte(user, '@'); i >= 0 {
		local, domain = user[:i], user[i+1:]
	}
	var path strings.Builder
	for {
		text, rest, found := strings.Cut(pattern, "{")
		path.WriteString(text)
		if !found {
			return path.String(), nil
		}
		key, rest, found := strings.Cut(rest, "}")
		value := map[string]string{"user": user, "local": local, "domain": domain}
		part, known := value[key]
		if !found || !known {
			return "", fmt.Errorf("maildir: Root %q: a place is {user}, {local} or {domain}, not {%s}", pattern, key)
		}
		part, err := escapeElement(part)
		if err != nil {
			return "", fmt.Errorf("account %.80q: {%s}: %w", user, key, err)
		}
		path.WriteString(part)
		pattern = rest
	}
}

// escapeElement makes one harmless path element of text that a user may have chosen: it has no
// separator, does not begin with a dot, and different texts give different elements. Letters
// of any script stay readable.
func escapeElement(text string) (string, error) {
	if text == "" || !utf8.ValidString(text) {
		return "", fmt.Errorf("not usable as the name of a directory: %w", mailbox.ErrNotFound)
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r < 0x20 || r == 0x7f:
			return "", fmt.Errorf("control character in the name: %w", mailbox.ErrNotFound)
		case strings.ContainsRune(`%/\:{}`, r), i == 0 && r == '.':
			fmt.Fprintf(&b, "%%%02X", r)
		default:
			b.WriteRune(r)
		}
	}
	if b.Len() > maxNameOctets {
		return "", fmt.Errorf("longer than %d octets: %w", maxNameOctets, mailbox.ErrNotFound)
	}
	return b.String(), nil
}

// inbox is the folder that is the account's own directory.
const inbox = "INBOX"

// folderDir returns the Maildir++ directory of a folder; "" for INBOX.
func folderDir(name string) (string, error) {
	name = mailbox.CanonicalName(name)
	if name == inbox {
		return "", nil
	}
	if err := mailbox.CheckName(name); err != nil {
		return "", fmt.Errorf("%.80q: %w", name, err)
	}
	for level := range strings.SplitSeq(name, "/") {
		if strings.ContainsFunc(level, badInLevel) {
			return "", fmt.Errorf("%.80q: %w", name, mailbox.ErrName)
		}
	}
	dir := "." + strings.ReplaceAll(mutf7.Encode(name), "/", ".")
	if len(dir) > maxNameOctets {
		return "", fmt.Errorf("%.80q is too long: %w", name, mailbox.ErrName)
	}
	return dir, nil
}

// badInLevel: "." is Maildir++'s separator; wildcards can not be listed; control characters (C1 and
// line separators too) have no place in a name that people see.
func badInLevel(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '.' || r == '%' || r == '*' ||
		r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}

// folderName returns the folder of a Maildir++ directory, false when it is none that folderDir
// could have made.
func folderName(dir string) (string, bool) {
	if len(dir) < 2 || dir[0] != '.' {
		return "", false
	}
	name, err := mutf7.Decode(strings.ReplaceAll(dir[1:], ".", "/"))
	if err != nil {
		return "", false
	}
	back, err := folderDir(name)
	return name, err == nil && back == dir
}

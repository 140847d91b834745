package house

import (
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrows says which other rooms a room may import. The standard library, the root, faultfs and internal/* are open to each;
// what is not listed is forbidden, and so is a room that is not listed. ARCHITECTURE.md tells why.
var arrows = map[string][]string{
	"auth":     {},
	"delivery": {"mailbox", "mime"},
	"dnsmx":    {},
	"imap":     {"mailbox", "mime", "auth"},
	"lmtp":     {"smtp", "auth"},
	"mailbox":  {"mime"},
	"maildir":  {"mailbox", "mime"},
	"mbox":     {"mailbox", "mime"},
	"mime":     {},
	"pop3":     {"mailbox", "auth"},
	"queue":    {"mime"}, // never smtp, never DNS
	"smtp":     {"auth"},
}

// mayImport applies the arrows to two paths below the module; "" is the root.
func mayImport(from, to string) bool {
	room, inRoom := splitRoom(from)
	target, inTarget := splitRoom(to)
	switch room {
	case "":
		return to == "faultfs"
	case "faultfs":
		return inRoom && to == "faultfs"
	case "internal":
		return to == "" || to == "faultfs" || target == "internal"
	case "examples":
		return true
	}
	allowed, known := arrows[room]
	switch {
	case !known:
		return false
	case to == "" || to == "faultfs" || target == "internal":
		return true
	case target != room:
		return !inTarget && slices.Contains(allowed, target)
	case strings.HasPrefix(to, room+"/internal/"):
		return true
	default: // within a room only upwards, and never out of its internal part
		return !inTarget && inRoom && !strings.HasPrefix(from, room+"/internal/")
	}
}

// splitRoom is a path's first element, and whether there are more.
func splitRoom(rel string) (room string, below bool) {
	room, _, below = strings.Cut(rel, "/")
	return room, below
}

func TestMayImport(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		ok       bool
	}{
		{"", "faultfs", true},
		{"", "internal/crlf", false},
		{"", "mime", false},
		{"faultfs", "", false},
		{"faultfs", "internal/crlf", false},
		{"faultfs/x", "faultfs", true},
		{"internal/netserver", "", true},
		{"internal/netserver", "faultfs", true},
		{"internal/netserver", "internal/crlf", true},
		{"internal/netserver", "auth", false},
		{"smtp", "", true},
		{"smtp", "faultfs", true},
		{"smtp", "internal/netserver", true},
		{"smtp", "auth", true},
		{"smtp", "auth/scram", false},
		{"smtp", "mime", false},
		{"smtp", "dnsmx", false},
		{"smtp", "smtp/smtptest", false},
		{"smtp/smtptest", "smtp", true},
		{"smtp/smtptest", "auth", true},
		{"smtp/smtptest", "smtp/milter", false},
		{"lmtp", "smtp", true},
		{"smtp", "lmtp", false},
		{"queue", "smtp", false},
		{"imap", "imap/internal/wire", true},
		{"imap/internal/wire", "imap", false},
		{"imap/internal/wire", "mime", true},
		{"imap", "smtp/internal/x", false},
		{"delivery", "auth", false},
		{"maildir", "mbox", false},
		{"mailbox", "maildir", false},
		{"examples/mailserver", "dnsmx/dnsclient", true},
		{"smtp", "examples/mailserver", false},
		{"calendar", "", false},
		{"smtp", "calendar", false},
	} {
		require.Equal(t, tc.ok, mayImport(tc.from, tc.to), "%s → %s", tc.from, tc.to)
	}
}

// mayLink limits third-party imports of what everybody links.
func mayLink(from, importPath string) bool {
	switch room, _ := splitRoom(from); room {
	case "":
		return importPath == "golang.org/x/net/idna"
	case "faultfs":
		return strings.HasPrefix(importPath, "golang.org/x/sys/")
	}
	return true
}

func TestImportArrows(t *testing.T) {
	files := 0
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		require.NoError(t, err)
		from := strings.TrimPrefix(path.Dir(name), ".")
		for _, spec := range f.Imports {
			importPath, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if importPath == module || strings.HasPrefix(importPath, module+"/") {
				if to := relPath(importPath); !mayImport(from, to) {
					t.Errorf("%s: %q must not import %q", name, from, to)
				}
			} else if first, _ := splitRoom(importPath); strings.Contains(first, ".") && !mayLink(from, importPath) {
				t.Errorf("%s: %q must not link %s", name, from, importPath)
			}
		}
	})
	require.NotZero(t, files)
}

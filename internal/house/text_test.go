package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	maxFileLines = 700
	maxFuncLines = 100
)

// TestLengths is an alarm, not a style: a file or function beyond these has become two.
func TestLengths(t *testing.T) {
	walk(t, func(name string) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		if n := bytes.Count(text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", name, n, maxFileLines)
		}
		for fn, n := range funcLengths(t, text) {
			if n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", name, fn, n, maxFuncLines)
			}
		}
	})
}

func funcLengths(t *testing.T, text []byte) map[string]int {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, parser.SkipObjectResolution)
	require.NoError(t, err)
	lengths := make(map[string]int)
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok {
			lengths[fn.Name.Name] = fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
		}
	}
	return lengths
}

func TestFuncLengths(t *testing.T) {
	require.Equal(t, map[string]int{"a": 1, "b": 3}, funcLengths(t, []byte("package p\nfunc a() {}\n\n// c\nfunc b() {\n\ta()\n}\n")))
}

// forbidden is what a finished text does not hold: notes to oneself.
var forbidden = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// TestForbiddenWords reads all source and documents but test data and this file.
func TestForbiddenWords(t *testing.T) {
	kinds := []string{".go", ".md", ".sh", ".toml", ".yml", ".yaml", ".mod"}
	walk(t, func(name string) {
		if name == "internal/house/text_test.go" || !slices.Contains(kinds, path.Ext(name)) {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if word := forbidden.FindString(line); word != "" {
				t.Errorf("%s:%d: %q", name, n, strings.TrimSpace(word))
			}
		}
	})
}

func TestForbidden(t *testing.T) {
	for _, bad := range []string{"// TODO later", "FIXME", "(XXX)"} {
		require.True(t, forbidden.MatchString(bad), bad)
	}
	for _, good := range []string{"CreateTemp(`mXXXXXX`)", "todo"} {
		require.False(t, forbidden.MatchString(good), good)
	}
}

package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocAndExample: each public package explains itself in doc.go and shows itself in an Example.
func TestDocAndExample(t *testing.T) {
	for _, p := range publicPackages(t) {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, "doc.go"), nil, parser.ParseComments|parser.PackageClauseOnly)
		switch {
		case err != nil:
			t.Errorf("%s: no doc.go: %v", p.ImportPath, err)
		case !strings.HasPrefix(f.Doc.Text(), "Package "+p.Name+" "):
			t.Errorf("%s: doc.go has no package comment that begins with %q", p.ImportPath, "Package "+p.Name)
		}
		if !hasExample(t, p.Dir) {
			t.Errorf("%s: no Example function", p.ImportPath)
		}
	}
}

func hasExample(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Example") {
				return true
			}
		}
	}
	return false
}

// block is a fenced part of a Markdown text.
type block struct {
	lang, text string
}

var fence = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```[ \t]*$")

func blocks(markdown string) []block {
	var all []block
	for _, m := range fence.FindAllStringSubmatch(markdown, -1) {
		all = append(all, block{strings.TrimSpace(m[1]), m[2]})
	}
	return all
}

func readme(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return blocks(strings.ReplaceAll(string(text), "\r\n", "\n"))
}

// guides returns the blocks of the documents below docs.
func guides(t *testing.T) (all []block) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, blocks(strings.ReplaceAll(string(text), "\r\n", "\n"))...)
	}
	return all
}

// TestReadmeCompiles builds each Go block of README.md and of docs as a reader would: in a module of its own.
func TestReadmeCompiles(t *testing.T) {
	files := make(map[string]string)
	for _, b := range append(readme(t), guides(t)...) {
		if b.lang != "go" {
			continue
		}
		if !strings.HasPrefix(strings.TrimSpace(b.text), "package ") {
			t.Errorf("a go block is no whole file, so that it cannot be compiled (a sketch is ```text):\n%s", b.text)
			continue
		}
		files["block"+string(rune('a'+len(files)))+"/block.go"] = b.text
	}
	if len(files) > 0 {
		buildOutside(t, files)
	}
}

var goRun = regexp.MustCompile(`\bgo (?:run|test|build|install) (\./[\w./-]*)`)

// TestReadmeCommands lists the commands that README.md tells people to type, and sees that the paths in them exist.
func TestReadmeCommands(t *testing.T) {
	for _, b := range readme(t) {
		switch b.lang {
		case "sh", "bash", "shell", "console":
		default:
			continue
		}
		for line := range strings.Lines(b.text) {
			t.Log(strings.TrimSpace(line))
			for _, m := range goRun.FindAllStringSubmatch(line, -1) {
				if dir := strings.TrimSuffix(m[1], "..."); !exists(filepath.Join(root, dir)) {
					t.Errorf("README.md names %s, which is not there", m[1])
				}
			}
		}
	}
}

func TestBlocks(t *testing.T) {
	require.Equal(t, []block{{"go", "package a\n"}, {"sh", "ls\n```x\n"}, {"", ""}},
		blocks("a\n```go\npackage a\n```\nb\n```sh \nls\n```x\n```  \n```\n```\n"))
}

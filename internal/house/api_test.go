package house

import (
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExportedNames holds each public package to its golden list of declarations.
func TestExportedNames(t *testing.T) {
	packages := publicPackages(t)
	for _, p := range packages {
		checkGolden(t, "api", p.golden(), exported(t, p.Dir, p.GoFiles))
	}
	checkNoStale(t, "api", packages)
}

// exported lists the declarations that importers see, without comments, sorted.
func exported(t *testing.T, dir string, files []string) []string {
	t.Helper()
	var lines []string
	for _, name := range files {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.FileExports(f)
		for _, decl := range f.Decls {
			lines = append(lines, declared(t, fset, decl)...)
		}
	}
	slices.Sort(lines)
	return lines
}

func declared(t *testing.T, fset *token.FileSet, decl ast.Decl) []string {
	t.Helper()
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if !exportedReceiver(d) {
			return nil
		}
		d.Body = nil
		return []string{render(t, fset, d)}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		var lines []string
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				lines = append(lines, values(d.Tok, v)...)
				continue
			}
			lines = append(lines, "type "+render(t, fset, spec))
		}
		return lines
	}
	return nil
}

// values lists constants and variables by name; their values are documentation.
func values(tok token.Token, v *ast.ValueSpec) []string {
	var lines []string
	for _, name := range v.Names {
		if name.IsExported() {
			lines = append(lines, tok.String()+" "+name.Name)
		}
	}
	return lines
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return d.Name.IsExported()
	}
	base := d.Recv.List[0].Type
	for {
		switch x := base.(type) {
		case *ast.StarExpr:
			base = x.X
		case *ast.IndexExpr:
			base = x.X
		case *ast.IndexListExpr:
			base = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// render prints a node without its layout: one space where there was any.
func render(t *testing.T, fset *token.FileSet, node ast.Node) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, printer.Fprint(&b, fset, node))
	var lines []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !strings.HasPrefix(line, "//") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n\t")
}

func TestExported(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "a.go"), `package a
// Doc.
type T struct { A, b int; C string // c
}
type t struct{ X int }
func (t *T) M(a int) error { return nil }
func (t *T) m() {}
func (t t) N() {}
func F[E any](e E) {}
type I interface { M(); n() }
const A, b = 1, 2
var V = 3
var w = 4
`)
	require.Equal(t, []string{
		"const A", "func (t *T) M(a int) error", "func F[E any](e E)", "type I interface {\n\tM()\n\t}", "type T struct {\n\tA int\n\tC string\n\t}", "var V",
	}, exported(t, dir, []string{"a.go"}))
}

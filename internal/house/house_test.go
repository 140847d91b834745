package house

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/goniec-mail/goniec"
	root   = "../.." // of the module; tests run in their own folder
)

var update = flag.Bool("update", false, "rewrite the golden lists under testdata")

// pkg is what go list says about a package, for one platform, so that golden lists are the same everywhere.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	GoFiles    []string
	Deps       []string
	Standard   bool
	DepOnly    bool
}

// rel is the path below the module: "" for the root, "smtp/smtptest".
func (p *pkg) rel() string { return relPath(p.ImportPath) }

func relPath(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// golden is a file's name for p: "goniec", "smtp_smtptest".
func (p *pkg) golden() string {
	if p.rel() == "" {
		return path.Base(module)
	}
	return strings.ReplaceAll(p.rel(), "/", "_")
}

// public reports whether people outside the module are meant to import p.
func (p *pkg) public() bool {
	parts := strings.Split(p.rel(), "/")
	return p.Name != "main" && !slices.Contains(parts, "internal") && parts[0] != "examples"
}

// listed asks go list once for our packages and all they link. Nested modules are not part of it.
var listed = sync.OnceValues(func() (map[string]*pkg, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Name,Doc,GoFiles,Deps,Standard,DepOnly", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	all := make(map[string]*pkg)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all[p.ImportPath] = p
	}
})

// publicPackages are those with code, in order.
func publicPackages(t *testing.T) []*pkg {
	t.Helper()
	all, err := listed()
	require.NoError(t, err)
	var public []*pkg
	for _, p := range all {
		if !p.DepOnly && p.public() && len(p.GoFiles) > 0 {
			public = append(public, p)
		}
	}
	slices.SortFunc(public, func(a, b *pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	require.NotEmpty(t, public)
	return public
}

// walk calls f for each file of the module (nested modules, hidden folders and testdata left out) by its slash path.
func walk(t *testing.T, f func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(root, name)
			f(filepath.ToSlash(rel))
			return err
		}
		if name != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || exists(filepath.Join(name, "go.mod"))) {
			return filepath.SkipDir
		}
		return nil
	})
	require.NoError(t, err)
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// checkGolden compares lines with testdata/kind/name.txt, or writes it with -update.
func checkGolden(t *testing.T, kind, name string, lines []string) {
	t.Helper()
	file := filepath.Join("testdata", kind, name+".txt")
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := lineDiff(string(want), got); diff != "" {
		t.Errorf("%s has changed; if on purpose, run: go test ./internal/house -update\n%s", file, diff)
	}
}

// checkNoStale finds golden files whose package is gone.
func checkNoStale(t *testing.T, kind string, packages []*pkg) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", kind, "*.txt"))
	require.NoError(t, err)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if slices.ContainsFunc(packages, func(p *pkg) bool { return p.golden() == name }) {
			continue
		}
		if *update {
			require.NoError(t, os.Remove(file))
			continue
		}
		t.Errorf("%s: there is no such package any more; run: go test ./internal/house -update", file)
	}
}

// lineDiff names the lines that only one side has.
func lineDiff(want, got string) string {
	var b strings.Builder
	only := func(sign, a, z string) {
		other := strings.Split(z, "\n")
		for line := range strings.SplitSeq(a, "\n") {
			if !slices.Contains(other, line) {
				fmt.Fprintln(&b, sign, line)
			}
		}
	}
	only("-", want, got)
	only("+", got, want)
	if b.Len() == 0 && want != got {
		return "the order or number of lines differs"
	}
	return b.String()
}

func TestLineDiff(t *testing.T) {
	require.Empty(t, lineDiff("a\nb\n", "a\nb\n"))
	require.Equal(t, "- a\n+ c\n", lineDiff("a\nb\n", "b\nc\n"))
	require.NotEmpty(t, lineDiff("a\nb\n", "b\na\n"))
	require.NotEmpty(t, lineDiff("a\n", ""))
}

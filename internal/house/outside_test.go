package house

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutsideModuleImportsEach builds a program per public package that imports it and nothing else, in a module that is not
// ours: so nothing is reachable only from inside.
func TestOutsideModuleImportsEach(t *testing.T) {
	files := make(map[string]string)
	for _, p := range publicPackages(t) {
		files[p.golden()+"/main.go"] = fmt.Sprintf("package main\n\nimport _ %q\n\nfunc main() {}\n", p.ImportPath)
	}
	buildOutside(t, files)
}

// buildOutside builds files, by path, in a new module that takes ours from this checkout and everything else from the module
// cache: the network is not asked.
func buildOutside(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	writeFile(t, filepath.Join(dir, "go.mod"), outsideGoMod(t))
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	writeFile(t, filepath.Join(dir, "go.sum"), string(sums))
	cmd := exec.Command("go", "build", "-o", os.DevNull, "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// outsideGoMod requires what we require, so that the build needs no other versions than those in the cache.
func outsideGoMod(t *testing.T) string {
	t.Helper()
	ours, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(ours), "module "+module+"\n")
	require.True(t, found, "go.mod begins with the module's name")
	abs, err := filepath.Abs(root)
	require.NoError(t, err)
	return fmt.Sprintf("module outside.example/app\n%s\nrequire %s v0.0.0\n\nreplace %s => %s\n", rest, module, module, abs)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

package dialogue

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// update is the only flag of this package; test binaries that import it have it.
var update = flag.Bool("update", false, "rewrite expected lines with what came")

// Update reports whether -update was given, for tests with golden files of their own.
func Update() bool { return *update }

// Run plays each file that matches the pattern as a subtest named after the file. setup starts a fresh target with the file's settings;
// it stops what it started with t.Cleanup. That no file matches is an error.
func Run(t *testing.T, pattern string, setup func(t *testing.T, settings map[string]string) Target) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogue files match %s: %v", pattern, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		t.Run(name, func(t *testing.T) { runFile(t, file, setup) })
	}
}

func runFile(t *testing.T, file string, setup func(t *testing.T, settings map[string]string) Target) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(file, string(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := play(s, setup(t, s.settings), Update())
	if p.updated {
		if err := os.WriteFile(file, []byte(strings.Join(s.lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was rewritten", file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Play plays one dialogue given as text, for tests that make theirs up. It returns what went wrong, with the transcript.
func Play(name, text string, target Target) error {
	s, err := parse(name, text)
	if err != nil {
		return err
	}
	_, err = play(s, target, false)
	return err
}

package peertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sbin are folders of servers that are often missing in PATH.
const sbin = "/usr/local/sbin" + string(os.PathListSeparator) + "/usr/sbin" + string(os.PathListSeparator) + "/sbin"

// Need skips the test when one of the programs is not installed; with GONIEC_PEERS=required it fails it. It returns the path of the first.
func Need(t testing.TB, programs ...string) string {
	t.Helper()
	first := ""
	for _, program := range programs {
		path, ok := find(program)
		if !ok {
			missing(t, program)
			return "" // not reached with a real testing.TB
		}
		if first == "" {
			first = path
		}
	}
	return first
}

// find looks for a program in PATH, then where servers are.
func find(program string) (string, bool) {
	if path, err := exec.LookPath(program); err == nil {
		return path, true
	}
	if filepath.Base(program) != program {
		return "", false
	}
	for _, dir := range filepath.SplitList(sbin) {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, true
		}
	}
	return "", false
}

func missing(t testing.TB, program string) {
	t.Helper()
	if os.Getenv("GONIEC_PEERS") == "required" {
		t.Fatalf("peer test: %s is not installed, and GONIEC_PEERS=required", program)
		return
	}
	t.Skipf("peer test: %s is not installed", program)
}

// Root skips the test when it does not run as root, which a peer that switches users needs; with GONIEC_PEERS=required it fails it.
func Root(t testing.TB, peer string) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("GONIEC_PEERS") == "required" {
		t.Fatalf("peer test: %s needs root, and GONIEC_PEERS=required", peer)
		return
	}
	t.Skipf("peer test: %s needs root", peer)
}

// NodeModules returns the path of node and the folder of npm packages that GONIEC_NODE_MODULES names. Where one of them lacks, it skips the test;
// with GONIEC_PEERS=required it fails it. A wrong name is an error.
func NodeModules(t testing.TB) (node, dir string) {
	t.Helper()
	dir = os.Getenv("GONIEC_NODE_MODULES")
	if dir == "" {
		missing(t, "GONIEC_NODE_MODULES (npm packages)")
		return "", ""
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Fatalf("peer test: GONIEC_NODE_MODULES=%s is not a folder", dir)
		return "", ""
	}
	return Need(t, "node"), dir
}

// Corpora returns the folder of the corpora, and skips the test when GONIEC_CORPORA does not name one. A wrong name is an error.
func Corpora(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GONIEC_CORPORA")
	if dir == "" {
		t.Skip("corpus test: GONIEC_CORPORA is not set")
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Fatalf("corpus test: GONIEC_CORPORA=%s is not a folder", dir)
	}
	return dir
}

// Long skips the test unless GONIEC_LONG=1.
func Long(t testing.TB) {
	t.Helper()
	if !LongForm() {
		t.Skip("long test: GONIEC_LONG is not 1")
	}
}

// LongForm reports whether GONIEC_LONG=1, for tests that do more then.
func LongForm() bool { return os.Getenv("GONIEC_LONG") == "1" }

// FreeAddr returns a loopback address with a free port, for peers that cannot choose one themselves; nothing listens there yet. On Linux
// the port is kept until the test ends for those who name it, elsewhere another may take it first. A peer that listens
// without SO_REUSEADDR can not have it. Our own servers listen on port 0 instead.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, release, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr.String()
}

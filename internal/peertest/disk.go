package peertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Disk is a real ext4 file system, on a loop device over a file of the test, that can lose its power: F03. What the device took
// before the cut stays, as on a disk that honours flush; what the file system held in memory is gone.
type Disk struct {
	// Path is where it is mounted.
	Path string

	t     testing.TB
	image string
	on    bool
}

// umountTries bounds how long Restore waits for the last user of the file system, every 20 ms.
const umountTries = 1500

// NewDisk makes one of some octets. It skips the test, with the reason, where that can not be had: it needs Linux, root, mkfs.ext4 and a
// free loop device.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("power cut test: needs Linux")
	}
	if os.Getuid() != 0 {
		t.Skip("power cut test: needs root for a loop device")
	}
	for _, program := range []string{"losetup", "mkfs.ext4", "fsck.ext4", "mount", "umount"} {
		if _, ok := find(program); !ok {
			t.Skipf("power cut test: %s is not installed", program)
		}
	}
	dir := t.TempDir()
	d := &Disk{Path: filepath.Join(dir, "mnt"), t: t, image: filepath.Join(dir, "image")}
	if err := os.Mkdir(d.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, size); err != nil { // sparse
		t.Fatal(err)
	}
	d.must("mkfs.ext4", "-q", "-F", d.image)
	if out, err := d.run("mount", "-o", "loop", d.image, d.Path); err != nil {
		t.Skipf("power cut test: no loop device can be mounted here: %v %s", err, out)
	}
	d.on = true
	t.Cleanup(func() {
		if d.on {
			// What a failed test has left open must not keep it.
			_, _ = d.run("umount", "-l", d.Path)
		}
	})
	return d
}

func (d *Disk) run(program string, args ...string) (string, error) {
	path, _ := find(program)
	out, err := exec.Command(path, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (d *Disk) must(program string, args ...string) {
	d.t.Helper()
	if out, err := d.run(program, args...); err != nil {
		d.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// Cut cuts the power: from now on every call that would touch the device fails, with EIO as a rule. journal says that the
// file system's journal is still written out (what it holds of names and sizes, while their data may lack);
// else that is lost too, as by the plug.
func (d *Disk) Cut(journal bool) {
	d.t.Helper()
	if err := shutdownFS(d.Path, journal); err != nil {
		d.t.Fatalf("power cut: %v", err)
	}
}

// Restore brings the disk back after a cut, when all files on it are closed: the journal is replayed, and fsck must find
// nothing.
func (d *Disk) Restore() {
	d.t.Helper()
	d.umount()
	d.mount()
	d.umount()
	d.must("fsck.ext4", "-f", "-n", d.image)
	d.mount()
}

// ReadOnly remounts it without the right to write, and back.
func (d *Disk) ReadOnly(yes bool) {
	d.t.Helper()
	mode := "remount,rw"
	if yes {
		mode = "remount,ro"
	}
	d.must("mount", "-o", mode, d.Path)
}

func (d *Disk) mount() {
	d.t.Helper()
	d.must("mount", "-o", "loop", d.image, d.Path)
	d.on = true
}

func (d *Disk) umount() {
	d.t.Helper()
	for try := 0; ; try++ {
		out, err := d.run("umount", d.Path)
		if err == nil {
			d.on = false
			return
		}
		if try == umountTries {
			d.t.Fatalf("umount: %v %s", err, out)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

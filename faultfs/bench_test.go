//go:build linux

package faultfs_test

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/goniec-mail/goniec/faultfs"
)

var message = make([]byte, 4000)

// benchTemp is a directory on the disk of the package, not on a tmpfs.
func benchTemp(b *testing.B) string {
	path, err := os.MkdirTemp(".", "bench")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// maildirs opens tmp and new by the seam and by bare descriptors.
func maildirs(b *testing.B) (tmp, dest faultfs.Dir, tmpfd, destfd int) {
	path := benchTemp(b)
	open := func(name string) (faultfs.Dir, int) {
		require.NoError(b, os.Mkdir(path+"/"+name, 0o700))
		d, err := faultfs.OS{}.OpenDir(path + "/" + name)
		require.NoError(b, err)
		b.Cleanup(func() { d.Close() })
		fd, err := unix.Open(path+"/"+name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(b, err)
		b.Cleanup(func() { unix.Close(fd) })
		return d, fd
	}
	tmp, tmpfd = open("tmp")
	dest, destfd = open("new")
	return tmp, dest, tmpfd, destfd
}

func must(b *testing.B, errs ...error) {
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
}

// deliver is a maildir delivery by the seam; sync is the destination's.
func deliver(b *testing.B, tmp, dest faultfs.Dir, name string, fsync bool, sync func() error) {
	f, err := tmp.Create(name, 0o600)
	must(b, err)
	_, err = f.Write(message)
	must(b, err)
	if fsync {
		must(b, f.Sync())
	}
	must(b, f.Close(), tmp.Link(name, dest, name), tmp.Remove(name))
	if fsync {
		must(b, sync())
	}
}

// deliverBare is the same in system calls.
func deliverBare(b *testing.B, tmpfd, destfd int, name string, fsync bool) {
	fd, err := unix.Openat(tmpfd, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	must(b, err)
	_, err = unix.Write(fd, message)
	must(b, err)
	if fsync {
		must(b, unix.Fsync(fd))
	}
	must(b, unix.Close(fd), unix.Linkat(tmpfd, name, destfd, name, 0), unix.Unlinkat(tmpfd, name, 0))
	if fsync {
		must(b, unix.Fsync(destfd))
	}
}

// BenchmarkDeliver compares the seam with bare system calls, turn by turn in one
// run, so that a noisy disk hits both alike. "seam/bare" is the ratio of times.
func BenchmarkDeliver(b *testing.B) {
	for _, fsync := range []bool{true, false} {
		b.Run(fmt.Sprintf("fsync=%v", fsync), func(b *testing.B) {
			tmp, dest, tmpfd, destfd := maildirs(b)
			b.ReportAllocs()
			var seam, bare time.Duration
			for i := 0; b.Loop(); i++ {
				name := "m" + strconv.Itoa(i)
				for turn := range 2 {
					begin := time.Now()
					if (turn+i)%2 == 0 {
						deliver(b, tmp, dest, name+"s", fsync, dest.Sync)
						seam += time.Since(begin)
					} else {
						deliverBare(b, tmpfd, destfd, name+"b", fsync)
						bare += time.Since(begin)
					}
				}
			}
			b.ReportMetric(float64(seam)/float64(bare), "seam/bare")
			b.ReportMetric(float64(seam.Nanoseconds())/float64(b.N), "seam-ns/op")
		})
	}
}

// BenchmarkDeliverParallel has 16 writers deliver, each with its own directory
// sync or sharing them.
func BenchmarkDeliverParallel(b *testing.B) {
	for _, how := range []string{"bare", "alone", "group"} {
		b.Run(how, func(b *testing.B) {
			tmp, dest, tmpfd, destfd := maildirs(b)
			sync := dest.Sync
			if how == "group" {
				sync = faultfs.NewGroup(dest.Sync).Sync
			}
			var n atomic.Int64
			b.SetParallelism(8) // times 2 processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					name := "m" + strconv.FormatInt(n.Add(1), 10)
					if how == "bare" {
						deliverBare(b, tmpfd, destfd, name, true)
					} else {
						deliver(b, tmp, dest, name, true, sync)
					}
				}
			})
		})
	}
}

// BenchmarkNames lists a folder of 100,000 messages.
func BenchmarkNames(b *testing.B) {
	path := benchTemp(b)
	for i := range 100_000 {
		name := fmt.Sprintf("%s/%d.M%06dP1234Q%d.host,S=4000,W=4100:2,S", path, 1_700_000_000+i, i, i)
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_WRONLY, 0o600)
		must(b, err)
		must(b, unix.Close(fd))
	}
	d, err := faultfs.OS{}.OpenDir(path)
	must(b, err)
	defer d.Close()
	b.Run("seam", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list, err := d.Names()
			must(b, err)
			require.Len(b, list, 100_000)
		}
	})
	b.Run("Readdirnames", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f, err := os.Open(path)
			must(b, err)
			list, err := f.Readdirnames(-1)
			must(b, err, f.Close())
			require.Len(b, list, 100_000)
		}
	})
}

// BenchmarkOpenExisting opens, reads and closes a small file.
func BenchmarkOpenExisting(b *testing.B) {
	path := benchTemp(b)
	must(b, os.WriteFile(path+"/f", message, 0o600))
	d, err := faultfs.OS{}.OpenDir(path)
	must(b, err)
	defer d.Close()
	root, err := os.OpenRoot(path)
	must(b, err)
	defer root.Close()
	buf := make([]byte, 8000)
	for name, open := range map[string]func() (io.ReadCloser, error){
		"seam": func() (io.ReadCloser, error) {
			return d.Open("f")
		},
		"Root": func() (io.ReadCloser, error) {
			return root.Open("f")
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f, err := open()
				must(b, err)
				_, err = f.Read(buf)
				must(b, err, f.Close())
			}
		})
	}
}

// BenchmarkCrashDelivery enumerates all states of one maildir delivery.
func BenchmarkCrashDelivery(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		report, err := faultfs.EachCrash(faultfs.CrashPlan{
			Op: func(c *faultfs.Crash) error {
				d, err := c.OpenDir("/")
				must(b, err)
				return faultfs.WriteFile(d, "f", message, 0o600)
			},
			Check: func(*faultfs.CrashState) error { return nil },
		})
		must(b, err)
		b.ReportMetric(float64(report.States), "states")
	}
}

package faultfs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// tree prints the two directories of the walk: names, inode numbers, content.
func tree(t *testing.T, c *faultfs.Crash) string {
	var show strings.Builder
	for _, path := range []string{"/", "/sub"} {
		d := openDir(t, c, path)
		for _, name := range names(t, d) {
			if info := lstat(t, d, name); info.IsRegular() {
				fmt.Fprintf(&show, "%s%s %d %d %q\n", path, name, info.Inode, info.Links, get(t, d, name))
			}
		}
	}
	return show.String()
}

// A random walk, after which everything is synced by hand, in random order: then there
// is one state, and it is what programs saw last. On the way what is seen is always
// among the states, and Ordered allows nothing that POSIX does not.
func TestCrashRandomWalk(t *testing.T) {
	walks := uint64(8)
	if os.Getenv("GONIEC_LONG") != "" {
		walks = 300
	}
	for seed := range walks {
		rng := newRand(seed)
		disks := []*faultfs.Crash{faultfs.NewCrash(seed), faultfs.NewCrash(seed)}
		disks[1].Model = faultfs.Ordered
		var dirs [2][2]faultfs.Dir
		for i, c := range disks {
			dirs[i][0] = openDir(t, c, "/")
			dirs[i][1] = subDir(t, dirs[i][0], "sub")
			c.SyncAll()
		}
		for range 12 {
			op, from, to := rng.IntN(7), rng.IntN(2), rng.IntN(2)
			a, b := string(rune('a'+rng.IntN(3))), string(rune('a'+rng.IntN(3)))
			for i := range disks {
				walkStep(dirs[i][from], dirs[i][to], op, a, b)
			}
			posix := statesOf(disks[0], func(c *faultfs.Crash) string { return tree(t, c) })
			ordered := statesOf(disks[1], func(c *faultfs.Crash) string { return tree(t, c) })
			require.Contains(t, posix, tree(t, disks[0]))
			require.Contains(t, ordered, tree(t, disks[1]))
			require.Subset(t, keysOf(posix), keysOf(ordered), "seed %d", seed)
		}
		for i, c := range disks {
			for _, d := range rng.Perm(2) {
				require.NoError(t, dirs[i][d].Sync())
				syncFiles(t, dirs[i][d])
			}
			require.Equal(t, map[string]int{tree(t, c): 1}, statesOf(c, func(c *faultfs.Crash) string { return tree(t, c) }))
		}
	}
}

// walkStep makes one call; errors are part of the walk.
func walkStep(from, to faultfs.Dir, op int, a, b string) {
	switch op {
	case 0, 1:
		if f, err := from.OpenFile(a, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err == nil {
			_, _ = f.Write([]byte(b))
			f.Close()
		}
	case 2:
		_ = from.Link(a, to, b)
	case 3:
		_ = from.Rename(a, to, b)
	case 4:
		_ = from.Remove(a)
	case 5:
		_ = from.Sync()
	case 6:
		if f, err := from.Open(a); err == nil {
			_ = f.Sync()
			f.Close()
		}
	}
}

func syncFiles(t *testing.T, d faultfs.Dir) {
	for _, name := range names(t, d) {
		if lstat(t, d, name).IsRegular() {
			f, err := d.Open(name)
			require.NoError(t, err)
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
		}
	}
}

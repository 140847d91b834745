package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// Where only a sample is tried, the classic bugs must still be in it, whatever the
// seed.
func TestCrashSampleFindsTornLargeFile(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 10<<10) // 160 KiB, 320 sectors
	for seed := range uint64(2) {
		for _, fsync := range []bool{true, false} {
			forms := map[int]bool{}
			report, err := faultfs.EachCrash(faultfs.CrashPlan{
				Seed: seed, Limit: 100,
				Op: func(c *faultfs.Crash) error {
					d, _ := c.OpenDir("/")
					f, err := d.Create("tmp", 0o600)
					for rest := body; len(rest) > 0 && err == nil; {
						n := min(len(rest), 16<<10)
						_, err = f.Write(rest[:n])
						rest = rest[n:]
					}
					if fsync {
						err = errors.Join(err, f.Sync())
					}
					return errors.Join(err, d.Rename("tmp", d, "f"), d.Sync())
				},
				Check: func(s *faultfs.CrashState) error {
					got, ok := content(s.FS, "/", "f")
					if ok && got != string(body) {
						forms[len(got)] = true
						if fsync {
							return errors.New("torn")
						}
					}
					return nil
				},
			})
			require.NoError(t, err)
			require.Positive(t, report.Sampled)
			if !fsync {
				require.Greater(t, len(forms), 5, "different sizes")
				require.Contains(t, forms, len(body), "whole size, holes inside")
			}
		}
	}
}

// An append-only log of many small writes before one sync: a later record may be there
// without an earlier one, and a reader that trusts the size is caught.
func TestCrashSampleFindsHoleInLog(t *testing.T) {
	record := func(i int) []byte { return fmt.Appendf(nil, "%0511d\n", i+1) }
	for seed := range uint64(2) {
		holes := 0
		_, err := faultfs.EachCrash(faultfs.CrashPlan{
			Seed: seed, Limit: 200,
			Setup: func(c *faultfs.Crash) error {
				d, _ := c.OpenDir("/")
				_, err := d.Create("log", 0o600)
				return err
			},
			Op: func(c *faultfs.Crash) error {
				d, _ := c.OpenDir("/")
				f, err := d.OpenFile("log", os.O_WRONLY|os.O_APPEND, 0)
				for i := 0; i < 60 && err == nil; i++ {
					_, err = f.Write(record(i))
				}
				return errors.Join(err, f.Sync())
			},
			Check: func(s *faultfs.CrashState) error {
				got, _ := content(s.FS, "/", "log")
				for i := 0; i+512 < len(got); i += 512 {
					if got[i] == 0 && got[i+512] != 0 {
						holes++
						break
					}
				}
				if s.Done && len(got) != 60*512 {
					return errors.New("synced and lost")
				}
				return nil
			},
		})
		require.NoError(t, err)
		require.Greater(t, holes, 50)
	}
}

// More pending changes than can be tried in all subsets: one missing alone, one
// there alone, all before one, are in the sample.
func TestCrashSampleManyChanges(t *testing.T) {
	c := faultfs.NewCrash(5)
	d := openDir(t, c, "/")
	const n = 40
	for i := range n {
		put(t, d, fmt.Sprintf("%02d", i), "")
	}
	seen := map[string]bool{}
	for s := range c.States(400) {
		list := names(t, openDir(t, s.FS, "/"))
		require.Len(t, s.Lost, n-len(list))
		seen[sorted(list)] = true
	}
	require.Len(t, seen, 400)
	all := names(t, d)
	for i := range n {
		require.True(t, seen[all[i]], "%d alone", i)
		require.True(t, seen[sorted(all[:i])], "the first %d", i)
		without := append(append([]string{}, all[:i]...), all[i+1:]...)
		require.True(t, seen[sorted(without)], "all but %d", i)
	}
}

// Very long logs stay cheap.
func TestCrashBounded(t *testing.T) {
	c := faultfs.NewCrash(1)
	d := openDir(t, c, "/")
	f, err := d.Create("big", 0o600)
	require.NoError(t, err)
	for range 16 {
		_, err = f.Write(make([]byte, 256<<10))
		require.NoError(t, err)
	}
	for i := range 1000 {
		put(t, d, fmt.Sprint(i), "")
	}
	count := 0
	for range c.States(20) {
		count++
	}
	require.Equal(t, 20, count)
	_, err = f.WriteAt([]byte("x"), 1<<30)
	require.ErrorContains(t, err, "too large")
	require.Error(t, f.Truncate(1<<30+1))
}

// What happens on one disk after the cut does not show on another, nor on the one
// that went on.
func TestCrashStatesAreSeparate(t *testing.T) {
	appendTo := func(c *faultfs.Crash, text string) {
		d := openDir(t, c, "/")
		f, err := d.OpenFile("f", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		require.NoError(t, err)
		for _, r := range text {
			_, err = f.Write([]byte(string(r)))
			require.NoError(t, errors.Join(err, f.Sync()))
		}
		require.NoError(t, d.Sync())
	}
	c := faultfs.NewCrash(1)
	appendTo(c, "12345")
	var disks []*faultfs.Crash
	for range 2 {
		for s := range c.States(0) {
			disks = append(disks, s.FS)
		}
	}
	require.Len(t, disks, 2)
	disks = append(disks, c)
	for i, disk := range disks {
		appendTo(disk, string(rune('a'+i)))
	}
	for i, disk := range disks {
		want := "12345" + string(rune('a'+i))
		require.Equal(t, want, showAll(disk))
		require.Equal(t, []string{want}, keysOf(statesOf(disk, showAll)))
	}
}

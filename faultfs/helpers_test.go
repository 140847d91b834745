package faultfs_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func errorIs(err, kind error) bool { return errors.Is(err, kind) }

func keysOf(m map[string]int) []string { return slices.Collect(maps.Keys(m)) }

func sorted(list []string) string {
	slices.Sort(list)
	return strings.Join(list, " ")
}

func lstat(t *testing.T, d faultfs.Dir, name string) faultfs.Info {
	info, err := d.Lstat(name)
	require.NoError(t, err)
	return info
}

package mailbox

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestUIDSetText(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"1":                          "1",
		"1:3":                        "1:3",
		"3:1":                        "1:3",
		"1,2,3":                      "1:3",
		"3,2,1,9":                    "1:3,9",
		"5:9,1:6":                    "1:9",
		"1:2,4,3":                    "1:4",
		"4294967295":                 "4294967295",
		"1:4294967295":               "1:4294967295",
		"4294967294:4294967295,7":    "7,4294967294:4294967295",
		"1:4294967295,5,9:10":        "1:4294967295",
		"4294967295,4294967295:1,17": "1:4294967295",
		"1,1,1,1":                    "1",
	} {
		got, err := ParseUIDSet(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String(), text)
		requireCanonical(t, got)
	}
	for _, text := range []string{
		"0", "*", "1:*", "1:0", ",", "1,", ",1", "1,,2", "1:", ":1", "1:2:3", "-1", "+1", "01", " 1", "1 ",
		"4294967296", "99999999999999999999", "a", "1:2a",
	} {
		got, err := ParseUIDSet(text)
		require.ErrorIs(t, err, ErrUIDSet, text)
		require.Nil(t, got)
	}
}

func TestUIDSetEnds(t *testing.T) {
	require.Equal(t, 0, UIDSet(nil).Len())
	require.True(t, UIDSet(nil).Empty())
	require.Zero(t, UIDSet(nil).Min())
	require.Zero(t, UIDSet(nil).Max())
	require.False(t, UIDSet(nil).Contains(1))
	all := AllUIDs()
	if unsafe.Sizeof(int(0)) == 8 {
		require.Equal(t, math.MaxUint32, all.Len())
	}
	require.True(t, all.Contains(1))
	require.True(t, all.Contains(MaxUID))
	require.False(t, all.Contains(0))
	require.Empty(t, all.Subtract(all))
	top := UIDs(MaxUID, MaxUID-1)
	require.Equal(t, []UID{MaxUID - 1, MaxUID}, slices.Collect(top.All())) // ends, though MaxUID + 1 is 0
	require.Equal(t, top, all.Intersect(top))
	require.Equal(t, all, top.Union(all))
	require.Equal(t, UIDSet{{1, MaxUID - 2}}, all.Subtract(top))
}

// requireCanonical checks the invariant: ascending, disjoint, not touching.
func requireCanonical(t require.TestingT, s UIDSet) {
	for i, r := range s {
		require.True(t, r.First >= 1 && r.First <= r.Last, s.String())
		if i > 0 {
			require.Greater(t, uint64(r.First), uint64(s[i-1].Last)+1, s.String())
		}
	}
}

type uidModel map[UID]bool

func drawUIDs(t *rapid.T, label string) (UIDSet, uidModel) {
	// Two clusters: close together, so that intervals touch and overlap, and at the upper end.
	uid := rapid.OneOf(rapid.Uint32Range(1, 40), rapid.Uint32Range(math.MaxUint32-10, math.MaxUint32))
	model := uidModel{}
	var b UIDSetBuilder
	for _, u := range rapid.SliceOfN(uid, 0, 30).Draw(t, label) {
		b.Add(UID(u))
		model[UID(u)] = true
	}
	return b.Set(), model
}

func (m uidModel) sorted() []UID {
	var out []UID
	for u := range m {
		out = append(out, u)
	}
	slices.Sort(out)
	return out
}

func combine(a, b uidModel, keep func(inA, inB bool) bool) uidModel {
	out := uidModel{}
	for _, m := range []uidModel{a, b} {
		for u := range m {
			if keep(a[u], b[u]) {
				out[u] = true
			}
		}
	}
	return out
}

// TestUIDSetModel compares the interval arithmetic with sets made of maps.
func TestUIDSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ma := drawUIDs(t, "a")
		b, mb := drawUIDs(t, "b")
		before := a.String() + ";" + b.String()
		same := func(got UIDSet, want uidModel) {
			requireCanonical(t, got)
			require.Equal(t, want.sorted(), slices.Collect(got.All()))
			require.Equal(t, len(want), got.Len())
		}
		same(a, ma)
		same(a.Union(b), combine(ma, mb, func(x, y bool) bool { return x || y }))
		same(a.Intersect(b), combine(ma, mb, func(x, y bool) bool { return x && y }))
		same(a.Subtract(b), combine(ma, mb, func(x, y bool) bool { return x && !y }))
		same(a.Add(mb.sorted()...), combine(ma, mb, func(x, y bool) bool { return x || y }))
		for u := UID(0); u < 45; u++ {
			require.Equal(t, ma[u], a.Contains(u))
		}
		parsed, err := ParseUIDSet(a.String())
		require.NoError(t, err)
		require.True(t, parsed.Equal(a))
		require.Equal(t, before, a.String()+";"+b.String(), "operands must not change")
	})
}

func FuzzParseUIDSet(f *testing.F) {
	for _, s := range []string{"1", "1:3,5", "3:1", "*", "1:*", "4294967295", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := ParseUIDSet(text)
		if err != nil {
			return
		}
		requireCanonical(t, set)
		again, err := ParseUIDSet(set.String())
		require.NoError(t, err)
		require.True(t, set.Equal(again))
	})
}

// I04: sets stay intervals, and work is linear in their number.
func TestI04_HugeSets(t *testing.T) {
	var text strings.Builder
	for range 100_000 {
		text.WriteString("1:4294967295,4294967295:1,7,")
	}
	text.WriteString("1")
	set, err := ParseUIDSet(text.String())
	require.NoError(t, err)
	require.Len(t, set, 1)
	var b UIDSetBuilder
	for u := UID(2); u < 200_000; u += 2 {
		b.Add(u)
	}
	even := b.Set()
	require.Len(t, even, 99_999)
	odd := set.Subtract(even)
	require.Len(t, odd, 100_000)
	require.Equal(t, AllUIDs(), odd.Union(even))
	require.Empty(t, odd.Intersect(even))
}

func BenchmarkUIDSetUnion(b *testing.B) {
	var x, y UIDSetBuilder
	for u := UID(1); u < 30_000; u += 3 {
		x.Add(u)
		y.Add(u + 1)
	}
	s, t := x.Set(), y.Set()
	b.ReportAllocs()
	for b.Loop() {
		s.Union(t)
	}
}

// TestUIDSetBuilderSets: sets in any order give their union, and stay as they were; so does a set to which something is added.
func TestUIDSetBuilderSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b UIDSetBuilder
		var want UIDSet
		for range rapid.IntRange(0, 5).Draw(t, "sets") {
			s, _ := drawUIDs(t, "set")
			before := slices.Clone(s)
			b.AddSet(s)
			want = want.Union(s)
			require.True(t, before.Equal(s))
			extra := UID(rapid.Uint32().Draw(t, "extra"))
			more := s.Add(extra)
			require.True(t, before.Equal(s))
			require.True(t, more.Equal(s.Union(UIDs(extra))))
		}
		got := b.Set()
		requireCanonical(t, got)
		require.True(t, want.Equal(got), "%v %v", want, got)
		require.Nil(t, b.Set(), "the builder is empty")
	})
}

// BenchmarkUIDSetLoop puts every second one of 20,000 UIDs into a set, in blocks that come in no order: with Union each block
// goes through all that is there, with a builder it does not.
func BenchmarkUIDSetLoop(b *testing.B) {
	var blocks []UIDSet
	for i := range 1000 {
		var block UIDSetBuilder
		for n := range 20 {
			block.Add(UID(40*(i*7%1000) + 2*n + 1))
		}
		blocks = append(blocks, block.Set())
	}
	b.Run("union", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s UIDSet
			for _, block := range blocks {
				s = s.Union(block)
			}
		}
	})
	b.Run("builder", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s UIDSetBuilder
			for _, block := range blocks {
				s.AddSet(block)
			}
			if s.Set().Len() != 20_000 {
				b.Fatal("wrong")
			}
		}
	})
}

package queue

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
)

// someOps is one operation of each type.
func someOps() []*op {
	g := groupState{n: 3, dest: "x.example", rcpts: []uint32{0, 2, 70_000}, attempts: 4, due: 1_800_000_000, flags: flagHeld | flagNoticed}
	return []*op{
		{typ: opPut, id: 77, since: 1_700_000_000, kind: KindReport, prio: -3, key: keyHash{1, 2}, groups: []groupState{g, {dest: "y"}}, data: []byte("envelope and body")},
		{typ: opPut, id: 78, big: true, groups: []groupState{g}},
		{typ: opOutcome, id: 77, base: loc{1, 32}, groups: []groupState{{rcpts: []uint32{1}}}, data: []byte("451 later")},
		{typ: opAttempt, ids: []uint64{77, 78}, groups: []groupState{{n: 0}, {n: 3}}},
		{typ: opChange, id: 78, change: uint8(Retry), due: 9},
		{typ: opKey, id: 77, key: keyHash{9}, since: 3},
		{typ: opCut, base: loc{4, 99}},
		{typ: opStart},
	}
}

// sameOps compares operations but for where their data lay.
func sameOps(t *testing.T, want, got []op) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		a, b := want[i], got[i]
		a.dataAt, b.dataAt = 0, 0
		require.Equal(t, len(a.groups), len(b.groups))
		for k := range a.groups {
			x, y := a.groups[k], b.groups[k]
			require.True(t, bytes.Equal(uint32s(x.rcpts), uint32s(y.rcpts)))
			x.rcpts, y.rcpts = nil, nil
			require.Equal(t, x, y)
		}
		require.True(t, bytes.Equal(a.data, b.data))
		a.groups, b.groups, a.data, b.data = nil, nil, nil, nil
		require.Equal(t, append([]uint64{}, a.ids...), append([]uint64{}, b.ids...))
		a.ids, b.ids = nil, nil
		require.Equal(t, a, b)
	}
}

func uint32s(v []uint32) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// FuzzPayload: whatever a payload says, it makes no panic and no more things than it has octets; what parses is written and
// parsed again to the same operations; and cut anywhere it does not parse to something else with as many octets.
func FuzzPayload(f *testing.F) {
	for _, o := range someOps() {
		b, _ := payload(nil, []*op{o})
		f.Add(b[recordHeader:])
	}
	b, _ := payload(nil, someOps())
	f.Add(b[recordHeader:])
	f.Add([]byte{2, 0, 0, 0, 3, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := splitPayload(data)
		if err != nil {
			return
		}
		things := len(ops)
		ptrs := make([]*op, len(ops))
		for i := range ops {
			ptrs[i] = &ops[i]
			things += len(ops[i].ids)
			for _, g := range ops[i].groups {
				things += 1 + len(g.rcpts)
			}
			end := ops[i].dataAt + len(ops[i].data)
			require.LessOrEqual(t, end, len(data))
			require.Equal(t, data[ops[i].dataAt:end], ops[i].data)
		}
		require.LessOrEqual(t, things, len(data))
		again, heads := payload(nil, ptrs)
		back, err := splitPayload(again[recordHeader:])
		require.NoError(t, err)
		sameOps(t, ops, back)
		// The heads alone, as a footer has them.
		headOps, err := parseHeads(heads)
		require.NoError(t, err)
		require.Len(t, headOps, len(ops))
	})
}

// FuzzStored: the data of a put record, as far as they are readable, give the envelope and replies; nothing panics.
func FuzzStored(f *testing.F) {
	f.Add(withReasons(appendReasons(appendText(nil, "env"), nil), [][]string{{"451 later", ""}, nil}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := cursor{b: data}
		env := c.text()
		var reasons [][]string
		for range c.count() {
			reasons = append(reasons, c.texts())
		}
		if c.bad {
			return
		}
		again := withReasons(data, reasons)
		d := cursor{b: again}
		require.True(t, bytes.Equal(env, d.text()))
		require.Equal(t, len(reasons), d.count())
		for _, r := range reasons {
			require.Equal(t, append([]string{}, r...), append([]string{}, d.texts()...))
		}
		require.True(t, bytes.Equal(c.b, d.b))
		require.False(t, d.bad)
	})
}

// segmentFile makes a segment of some payloads, sealed or not.
func segmentFile(tb testing.TB, payloads [][]byte, seal bool) (seg *segment, img []byte, offs []uint32) {
	d, err := faultfs.NewCrash(1).OpenDir("/")
	require.NoError(tb, err)
	file, err := d.Create("segment", 0o600)
	require.NoError(tb, err)
	seg = &segment{n: 7, name: segmentName(7), file: file, size: damageSegment, epoch: 0x1234567890abcdef, end: segmentHeader}
	_, err = file.WriteAt(append(seg.header(), make([]byte, damageSegment-segmentHeader)...), 0)
	require.NoError(tb, err)
	for _, p := range payloads {
		c := cursor{b: p}
		heads := c.take(uint64(c.u32()))
		rec := append(make([]byte, recordHeader), p...)
		if c.bad || len(p) < 4 || !seg.room(len(rec), len(heads), 0) {
			continue
		}
		seg.stamp(rec, seg.end, 1000, payloadSum(rec))
		_, err := file.WriteAt(rec, int64(seg.end))
		require.NoError(tb, err)
		seg.note(seg.end, uint32(len(rec)), heads)
		offs = append(offs, seg.end)
		seg.end += uint32(len(rec))
	}
	if seal {
		require.NoError(tb, seg.writeFooter(2000))
	}
	img = make([]byte, damageSegment)
	_, err = file.ReadAt(img, 0)
	require.NoError(tb, err)
	return seg, img, offs
}

// FuzzSegment: a segment's footer names the records that a scan finds, with the same heads; with any octets changed, what is
// still found is what was written, and reading takes no more memory than the file is long.
func FuzzSegment(f *testing.F) {
	one, _ := payload(nil, someOps()[:1])
	all, _ := payload(nil, someOps())
	f.Add(one[recordHeader:], all[recordHeader:], uint16(100), []byte{1}, true)
	f.Add(one[recordHeader:], one[recordHeader:], uint16(damageSegment-trailerSize+20), []byte{0xff, 0xff, 0xff, 0xff}, true)
	f.Add(all[recordHeader:], []byte{}, uint16(segmentHeader+12), []byte{0xff, 0xff, 0xff, 0x7f}, false)
	f.Fuzz(func(t *testing.T, first, second []byte, at uint16, change []byte, seal bool) {
		seg, img, offs := segmentFile(t, [][]byte{first, second, first}, seal)
		type record struct {
			off, length uint32
			heads       string
		}
		read := func(img []byte) (records []record) {
			_, err := seg.scan(img, func(off, length, _ uint32, payload []byte) error {
				c := cursor{b: payload}
				heads := c.take(uint64(c.u32()))
				records = append(records, record{off, length, string(heads)})
				return nil
			})
			require.NoError(t, err)
			return records
		}
		written := read(img)
		require.Len(t, written, len(offs))
		var named []record
		now, ok, err := seg.readFooter(func(off, length uint32, heads []byte) error {
			named = append(named, record{off, length, string(heads)})
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, seal, ok)
		if ok {
			require.Equal(t, written, named)
			require.EqualValues(t, 2000, now)
		}
		for i, off := range offs {
			p, _, err := seg.readRecord(off, nil)
			require.NoError(t, err)
			require.Len(t, p, int(written[i].length)-recordHeader)
		}

		copy(img[min(int(at), len(img)):], change)
		_, err = seg.file.WriteAt(img, 0)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, r := range read(img) {
			require.Contains(t, written, r, "a record from nowhere")
		}
		named = nil
		if _, ok, err = seg.readFooter(func(off, length uint32, heads []byte) error {
			named = append(named, record{off, length, string(heads)})
			return nil
		}); ok && err == nil {
			require.Equal(t, written, named)
		}
		for off := uint32(0); off < damageSegment; off += 97 {
			_, _, _ = seg.readRecord(off, nil)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100*damageSegment))
		var other segment
		other.n = 7
		_, _, _ = other.parseHeader(img)
	})
}

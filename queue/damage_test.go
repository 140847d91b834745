package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/internal/peertest"
)

const damageSegment = 4 << 10

// image is what a queue's directory holds.
type image struct {
	files  map[string][]byte
	bodies map[ID]string // of the queued messages
	where  map[ID]string // the file with the message
}

// buildImage makes a queue of several segments, with outcomes, a report and a large body.
func buildImage(t *testing.T) *image {
	t.Helper()
	ctx := context.Background()
	disk := faultfs.NewCrash(1)
	s, err := OpenFiles("/queue", FileOptions{FS: disk, SegmentSize: damageSegment, InlineBody: 900})
	require.NoError(t, err)
	im := &image{files: map[string][]byte{}, bodies: map[ID]string{}, where: map[ID]string{}}
	for i := range 12 {
		body := fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x", i*90))
		id, err := s.Put(ctx, testMessage(t, body, "a@x.example", "b@y.example"))
		require.NoError(t, err)
		im.bodies[id] = body
		if i%3 == 0 {
			ls, err := s.Claim(ctx, ClaimRequest{ID: id, Max: 1})
			require.NoError(t, err)
			require.NoError(t, s.Settle(ctx, ls[0], Settlement{Open: ls[0].Rcpts, Reasons: []string{"451 later"}, Attempted: true}))
		}
	}
	for id := range im.bodies {
		num, _ := parseID(id)
		im.where[id] = segmentName(s.x.job(s.x.first(num)).baseSeg)
	}
	require.NoError(t, s.Close())
	dir, err := disk.OpenDir("/queue")
	require.NoError(t, err)
	for _, sub := range []string{"", bodyDir} {
		d := dir
		if sub != "" {
			d, err = dir.OpenDir(sub)
			require.NoError(t, err)
		}
		names, err := d.Names()
		require.NoError(t, err)
		for _, name := range names {
			if isSegment(name) || sub != "" {
				im.files[strings.TrimPrefix(sub+"/"+name, "/")], err = faultfs.ReadFile(d, name, -1)
				require.NoError(t, err)
			}
		}
	}
	require.Greater(t, len(im.files), 3)
	return im
}

// open writes the files, one of them changed, to a new disk and opens the queue. It returns the bodies
// that can be read, and the log.
func (im *image) open(name string, changed []byte) (got map[ID]string, corrupt int, log string, err error) {
	disk := faultfs.NewCrash(1)
	if err := faultfs.MkdirAll(disk, "/queue/"+bodyDir, 0o700); err != nil {
		return nil, 0, "", err
	}
	for file, data := range im.files {
		if file == name {
			data = changed
		}
		folder, base := "/queue", file
		if sub, rest, ok := strings.Cut(file, "/"); ok {
			folder, base = "/queue/"+sub, rest
		}
		d, err := disk.OpenDir(folder)
		if err != nil {
			return nil, 0, "", err
		}
		f, err := d.Create(base, 0o600)
		if err != nil {
			return nil, 0, "", err
		}
		_, err = f.Write(data)
		if err = errors.Join(err, f.Close(), d.Close()); err != nil {
			return nil, 0, "", err
		}
	}
	var buf bytes.Buffer
	s, err := OpenFiles("/queue", FileOptions{
		FS: disk, SegmentSize: damageSegment, InlineBody: 900,
		Logger: slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, 0, buf.String(), err
	}
	got, corrupt, err = readAll(s)
	err = errors.Join(err, s.Close())
	return got, corrupt, buf.String(), err
}

// readAll claims and reads every message.
func readAll(s *FileStore) (got map[ID]string, corrupt int, err error) {
	ctx := context.Background()
	got = map[ID]string{}
	for e, err := range s.Entries(ctx, Filter{Brief: true}) {
		if err != nil {
			return nil, 0, err
		}
		ls, err := s.Claim(ctx, ClaimRequest{ID: e.ID, Max: 1})
		if err != nil {
			return nil, 0, err
		}
		if len(ls) == 0 {
			corrupt++
			continue
		}
		b, err := s.Open(ctx, e.ID)
		if err != nil {
			return nil, 0, err
		}
		data, err := io.ReadAll(goniec.NewReader(b))
		if err = errors.Join(err, b.Close()); err != nil {
			return nil, 0, err
		}
		got[e.ID] = string(data)
	}
	return got, corrupt, nil
}

// judge: what can be read is right, what lies in other files is all there, what is missing is named.
func (im *image) judge(name string, got map[ID]string, corrupt int, log string) error {
	missing := 0
	for id, body := range im.bodies {
		have, ok := got[id]
		switch {
		case ok && have != body:
			return fmt.Errorf("%s has another body", id)
		case !ok && im.where[id] != name && name != bodyDir+"/"+string(id)+bodySuffix:
			return fmt.Errorf("%s is lost, and was in %s", id, im.where[id])
		case !ok:
			missing++
		}
	}
	if len(got) > len(im.bodies) {
		return errors.New("a message from nowhere")
	}
	if missing > 0 && log == "" {
		return fmt.Errorf("%d messages lost without a word", missing)
	}
	return nil
}

func (im *image) try(t *testing.T, name string, changed []byte, what string) {
	t.Helper()
	got, corrupt, log, err := im.open(name, changed)
	if err == nil {
		err = im.judge(name, got, corrupt, log)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, what, err, log)
	}
}

// step keeps the short form short.
func step() int {
	if peertest.LongForm() {
		return 1
	}
	return 37
}

// Q01: every file, cut at every octet.
func TestQ01_Truncated(t *testing.T) {
	im := buildImage(t)
	for name, data := range im.files {
		for n := 0; n < len(data); n += step() {
			im.try(t, name, data[:n], fmt.Sprintf("cut at %d", n))
		}
	}
}

// Q01: every octet of every file, one bit flipped.
func TestQ01_BitFlips(t *testing.T) {
	im := buildImage(t)
	for name, data := range im.files {
		for n := 0; n < len(data); n += step() {
			changed := bytes.Clone(data)
			changed[n] ^= 1 << (n % 8)
			im.try(t, name, changed, fmt.Sprintf("bit %d of octet %d flipped", n%8, n))
		}
	}
}

// Q01: sectors that come back as zeros or as garbage.
func TestQ01_Sectors(t *testing.T) {
	im := buildImage(t)
	for name, data := range im.files {
		for at := 0; at+512 <= len(data); at += 512 {
			for _, fill := range []byte{0, 0xa5} {
				changed := bytes.Clone(data)
				copy(changed[at:], bytes.Repeat([]byte{fill}, 512))
				got, corrupt, log, err := im.open(name, changed)
				require.NoError(t, err, log)
				if err := im.judge(name, got, corrupt, log); err != nil && (fill != 0 || !strings.Contains(err.Error(), "without a word")) {
					t.Fatalf("%s sector at %d: %v\n%s", name, at, err, log)
				}
			}
		}
	}
}

// Q01: files that are none of ours, or of another version.
func TestQ01_Foreign(t *testing.T) {
	im := buildImage(t)
	im.files["README"] = []byte("hello")
	im.files[segmentName(4_000_000_000)] = []byte("not a segment")
	im.files["s00000000xx.seg"] = []byte("nor this")
	newer := bytes.Clone(im.files[segmentName(1)])
	newer[4] = 2
	binary.LittleEndian.PutUint32(newer[28:], crc32.Checksum(newer[:28], castagnoli()))
	im.files[segmentName(900)] = newer
	got, corrupt, log, err := im.open("", nil)
	require.NoError(t, err)
	require.Zero(t, corrupt)
	require.Len(t, got, len(im.bodies))
	require.Equal(t, 2, strings.Count(log, "moved to quarantine"), log)
	require.Equal(t, 2, strings.Count(log, "foreign file"), log)
}

// A message body that looks like a record is no record, however the log is damaged: the epoch is secret.
func TestQ01_ForgedRecord(t *testing.T) {
	disk := faultfs.NewCrash(1)
	open := func() *FileStore {
		s, err := OpenFiles("/queue", FileOptions{FS: disk, SegmentSize: 16 << 10})
		require.NoError(t, err)
		return s
	}
	s := open()
	ctx := context.Background()
	_, err := s.Put(ctx, testMessage(t, "first", "a@x.example"))
	require.NoError(t, err)
	forged, _ := payload(nil, []*op{{typ: opPut, id: 77, groups: []groupState{{dest: "x", rcpts: []uint32{0}}}}})
	seg := &segment{epoch: s.log.segs[0].epoch + 1} // what an attacker does not know
	seg.stamp(forged, 100, 1, payloadSum(forged))
	_, err = s.Put(ctx, testMessage(t, string(forged), "a@x.example"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = open()
	require.Equal(t, 2, s.x.messages)
	require.NoError(t, s.Close())
}

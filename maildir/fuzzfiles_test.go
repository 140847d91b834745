package maildir

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// FuzzKeywords: what is read of dovecot-keywords, written and read again, is the same; there are never more than 26, none
// twice, and each could be a keyword.
func FuzzKeywords(f *testing.F) {
	f.Add([]byte("0 $Forwarded\n1 Work\n25 last\n"))
	f.Add([]byte("3 a\r\n1 A\n-1 x\n26 y\n0 unknown-3\n2 bad word\n"))
	f.Add([]byte("0 unknown-1\n10 0"))
	f.Add([]byte("5 unknown-0\n3 unknown-0-\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := parseKeywords(data)
		require.LessOrEqual(t, len(names), keywordLimit)
		var b []byte
		seen := map[string]bool{}
		for i, name := range names {
			require.True(t, isKeyword(name), "%q", name)
			require.False(t, seen[strings.ToLower(name)], "%q twice", name)
			seen[strings.ToLower(name)] = true
			b = fmt.Appendf(b, "%d %s\n", i, name)
		}
		require.Equal(t, names, parseKeywords(b))
	})
}

// FuzzCourier: files of Courier give keywords that are keywords, of the newest file of each message; the list's lines mean the
// same one by one.
func FuzzCourier(f *testing.F) {
	f.Add("Later\n$Work\n\n1.a:1 0\n2.b:7 x 0\n", "1.a\x00.5984410.1.a\x00.5984409.1.a\x00.tmp.5.1.a\x00:list\x002.b:2,S")
	f.Add("\n\n:\n", ".\x00..\x00.9.\x00")
	f.Fuzz(func(t *testing.T, list, files string) {
		byBase := map[string][]string{}
		parseCourierList(list, byBase)
		for _, keywords := range byBase {
			for _, k := range keywords {
				require.NoError(t, mailbox.CheckKeyword(k))
			}
		}
		head, rest, _ := strings.Cut(list, "\n\n")
		oneByOne := map[string][]string{}
		for line := range strings.Lines(rest) {
			parseCourierList(head+"\n\n"+line, oneByOne)
		}
		if !strings.Contains(head, "\n\n") && !strings.HasSuffix(head, "\n") && !strings.HasPrefix(rest, "\n") {
			require.Equal(t, byBase, oneByOne)
		}
		names := slices.DeleteFunc(strings.Split(files, "\x00"), func(s string) bool { return s == "" })
		newest := courierUpdates(names)
		for base, name := range newest {
			require.Contains(t, names, name)
			require.Contains(t, name, base)
			if slices.Contains(names, base) && base[0] != '.' && base[0] != ':' {
				require.NotEqual(t, byte('.'), name[0], "the file without a number is the newest")
			}
		}
		slices.Reverse(names)
		require.Len(t, courierUpdates(names), len(newest))
	})
}

// FuzzSideFiles: subscriptions are written as they were read; whatever stands in maildirsize and goniec-floor makes no panic,
// and a floor that is written is read.
func FuzzSideFiles(f *testing.F) {
	f.Add([]byte("INBOX\nLists.Go\nEntw&APw-rfe\n"), uint32(7), uint64(1e15))
	f.Add([]byte("V\t2\n\nLists\tGo\n\n&\n"), uint32(0), uint64(0))
	f.Add([]byte("1000S,5C\n100 1\n-100 -1\nx y\n"), uint32(1<<32-1), uint64(1<<63))
	f.Add([]byte("goniec-floor 1\nV1 M2 U3\n"), uint32(1), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, n uint32, m uint64) {
		disk := faultfs.NewCrash(1)
		root, err := disk.OpenDir("/")
		require.NoError(t, err)
		a := &account{store: &Store{FS: disk}, root: root}
		require.NoError(t, faultfs.WriteFile(root, subscriptionsName, data, 0o600))
		s, err := a.readSubscriptions()
		require.NoError(t, err)
		require.NoError(t, faultfs.WriteFile(root, subscriptionsName, s.format(), 0o600))
		again, err := a.readSubscriptions()
		require.NoError(t, err)
		require.Equal(t, s, again)
		for _, line := range s.lines {
			if name, ok := s.name(line); ok {
				back, ok := s.name(s.line(name))
				require.True(t, ok)
				require.Equal(t, name, back)
			}
		}
		var q quota
		q.parse(string(data))
		require.GreaterOrEqual(t, q.OctetLimit, int64(0))
		require.GreaterOrEqual(t, q.MessageLimit, int64(0))

		folder := &folder{acct: a, base: root}
		require.NoError(t, faultfs.WriteFile(root, floorName, data, 0o600))
		_, err = folder.readFloor()
		require.NoError(t, err)
		fl := floor{validity: n, uid: ^n, modSeq: m}
		require.NoError(t, faultfs.WriteFile(root, floorName, fl.text(), 0o600))
		back, err := folder.readFloor()
		require.NoError(t, err)
		require.Equal(t, fl, back)
	})
}

// FuzzFileName: a name falls into two parts that make it up again; its numbers are in range; the order of arrival is an order.
func FuzzFileName(f *testing.F) {
	f.Add("1600000001.M123456P1.host,S=10,W=12:2,FSab", "1600000001.M5P1.host", "1.a")
	f.Add("99999999999999999999.M99999999999,S=99999999999999999999:2,", ":2,", ",W=")
	f.Fuzz(func(t *testing.T, x, y, z string) {
		for _, name := range []string{x, y, z} {
			base, info := splitInfo(name)
			require.Equal(t, name, base+info)
			require.True(t, info == "" || info[0] == infoSep)
			for _, key := range []string{keyFileSize, keyNetSize} {
				n := sizeIn(base, key)
				require.True(t, n >= -1 && n <= maxSize)
			}
			require.GreaterOrEqual(t, int64(savedIn(base)), int64(0))
			require.GreaterOrEqual(t, microsIn(base), int64(0))
			flags, odd := parseInfo(info)
			if !odd && info != "" {
				require.Equal(t, info, string(appendInfo(nil, flags)))
			}
		}
		require.Equal(t, byArrival(x, y), -byArrival(y, x))
		require.Equal(t, x == y, byArrival(x, y) == 0)
		if byArrival(x, y) < 0 && byArrival(y, z) < 0 {
			require.Negative(t, byArrival(x, z))
		}
	})
}

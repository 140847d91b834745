package mbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFromLine(t *testing.T) {
	at := time.Date(1996, 1, 3, 1, 5, 34, 0, time.UTC)
	for _, tc := range []struct {
		line, sender string
		date         time.Time
	}{
		{"From a@b Wed Jan  3 01:05:34 1996", "a@b", at},
		{"From a@b Wed Jan 3 01:05:34 1996\r\n", "a@b", at},
		{"From a@b Wed Jan 03 01:05 1996", "a@b", at.Truncate(time.Minute)},
		{"From - Wed Jan  3 01:05:34 1996", "-", at},
		{"From a b c Wed Jan  3 01:05:34 1996", "a b c", at},
		{"From Wed Jan  3 01:05:34 1996", "", at},
		{"From Sat@b Wed Jan  3 01:05:34 1996", "Sat@b", at},
		{"From a@b Wed Jan  3 01:05:34 1996 +0100", "a@b", at.Add(-time.Hour)},
		{"From a@b Wed Jan  3 01:05:34 +0100 1996", "a@b", at.Add(-time.Hour)},
		{"From a@b Wed Jan  3 01:05:34 PST 1996", "a@b", at},
		{"From a@b Wed, 3 Jan 1996 01:05:34 -0130", "a@b", at.Add(90 * time.Minute)},
		{"From a@b Wed Jan  3 01:05:34 1996 remote from host", "a@b", at},
		{"From x Sun Jun Wed Jan  3 01:05:34 1996", "x Sun Jun", at},
	} {
		f, ok := ParseFromLine([]byte(tc.line))
		require.True(t, ok, tc.line)
		require.Equal(t, tc.sender, f.Sender, tc.line)
		require.True(t, tc.date.Equal(f.Date), "%s: %v", tc.line, f.Date)
	}
	for _, line := range []string{
		"", "From ", "From here on it is easy", "From a@b", "From a@b 1996", "From a@b Wed Jan  3 1996", "From a@b Wed Jan 32 01:05:34 1996",
		"From a@b Wed Jan  3 25:05:34 1996", "From: a@b Wed Jan  3 01:05:34 1996", " From a@b Wed Jan  3 01:05:34 1996", "From a@b Wed Foo  3 01:05:34 1996",
		"from a@b Wed Jan  3 01:05:34 1996", "From me. Wed 5 of Jan 1996", "From Wed", "From a@b Wed Jan  3 01:05:34",
	} {
		_, ok := ParseFromLine([]byte(line))
		require.False(t, ok, line)
	}
}

// FuzzFromLine: what is written is read again, whatever the sender.
func FuzzFromLine(f *testing.F) {
	f.Add("a@b", int64(820631134))
	f.Add("Sat Jan 3 1996\nFrom ", int64(-1))
	f.Fuzz(func(t *testing.T, sender string, at int64) {
		from := FromLine{Sender: sender, Date: time.Unix(at%(1<<33), 0), marks: "rs"}
		got, ok := ParseFromLine([]byte(from.String()))
		require.True(t, ok)
		require.Equal(t, plainSender(sender), got.Sender)
		require.Equal(t, "rs", got.marks)
		if y := from.Date.UTC().Year(); y >= 1000 && y <= 9999 && !from.Date.IsZero() {
			require.True(t, from.Date.Equal(got.Date))
		}
	})
}

func TestDialectNames(t *testing.T) {
	for d := MboxRD; d <= Auto; d++ {
		got, err := ParseDialect(d.String())
		require.NoError(t, err)
		require.Equal(t, d, got)
	}
	_, err := ParseDialect("mbx")
	require.ErrorContains(t, err, "mboxcl2")
}

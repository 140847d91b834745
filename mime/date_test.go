package mime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDate(t *testing.T) {
	for in, want := range map[string]string{
		"Fri, 21 Nov 1997 09:55:06 -0600":                               "1997-11-21T09:55:06-06:00",
		"21 Nov 1997 09:55:06 -0600":                                    "1997-11-21T09:55:06-06:00",
		"21 Nov 1997 09:55 -0600":                                       "1997-11-21T09:55:00-06:00",
		"21 Nov 97 09:55:06 GMT":                                        "1997-11-21T09:55:06Z",
		"21 Nov 12 09:55:06 EST":                                        "2012-11-21T09:55:06-05:00",
		"21 Nov 112 09:55:06 pdt":                                       "2012-11-21T09:55:06-07:00",
		"Thu,\r\n\t13\r\n Feb 1969 23:32\r\n -0330 (Newfoundland Time)": "1969-02-13T23:32:00-03:30",
		"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600":               "1997-11-21T09:55:06-06:00",
		"Tue, 14 Nov 2023 22:13:20 +0000 (UTC)":                         "2023-11-14T22:13:20Z",
		"Tue, 14 Nov 2023 22:13:20":                                     "2023-11-14T22:13:20Z",
		"Tue, 14 Nov 2023":                                              "2023-11-14T00:00:00Z",
		"Tue Nov 14 22:13:20 2023":                                      "2023-11-14T22:13:20Z",
		"Tue Nov 14 22:13:20 2023 +0200":                                "2023-11-14T22:13:20+02:00",
		"Tue Nov 14 22:13:20 PST 2023":                                  "2023-11-14T22:13:20-08:00",
		"Tuesday, 14 November 2023 22:13:20 +0100":                      "2023-11-14T22:13:20+01:00",
		"14-Nov-2023 22:13:20 +0100":                                    "2023-11-14T22:13:20+01:00",
		"Tue, 14 Nov 2023 10:13:20 PM +0100":                            "2023-11-14T22:13:20+01:00",
		"2023-11-14T22:13:20Z":                                          "2023-11-14T22:13:20Z",
		"2023-11-14 22:13:20.123 +01:00":                                "2023-11-14T22:13:20+01:00",
		"Nov 14, 2023 22:13":                                            "2023-11-14T22:13:00Z",
		"Tue, 14 Nov 2023 22:13:20 GMT+0200":                            "2023-11-14T22:13:20+02:00",
		"Tue, 14 Nov 2023 22:13:60 +0000":                               "2023-11-14T22:14:00Z",
		"Tue, 14 Nov 2023 22.13.20 +0000":                               "2023-11-14T22:13:20Z",
		"Tue, 14 Nov 2023 22:13:20 XYZ":                                 "2023-11-14T22:13:20Z",
		"Tue, 14 Nov 2023 22:13:20 A":                                   "2023-11-14T22:13:20Z", // RFC 5322 §4.3: military zones were defined wrongly
		"Tue, 14 Nov 2023 22:13:20 +9999":                               "2023-11-14T22:13:20Z",
		"Tue, 14 Nov 2023 22:13:20 \"x\"":                               "2023-11-14T22:13:20Z",
	} {
		got, err := ParseDate(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got.Format(time.RFC3339), in)
	}
	for _, bad := range []string{"", "x", "Nov 2023", "32 Nov 2023", "14 Nov 20231", "1 2 3 4", "14 Foo 2023", "14 Nov 2023 25:00", "14 Nov 2023 10:61", "2023-1114", "2023-13-01", "99999999999999999999 Nov 2023"} {
		_, err := ParseDate(bad)
		var se *SyntaxError
		require.ErrorAs(t, err, &se, bad)
	}
}

func FuzzDate(f *testing.F) {
	f.Add("Fri, 21 Nov 1997 09:55:06 -0600", int64(0))
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		if d, err := ParseDate(s); err == nil && d.Year() > 99 && d.Year() < 10000 {
			again, err := ParseDate(FormatDate(d))
			require.NoError(t, err)
			require.True(t, d.Equal(again), "%q: %v, %v", s, d, again)
		}
	})
}

func TestParseMessageIDs(t *testing.T) {
	for in, want := range map[string][]string{
		"":                                    nil,
		"<a@b>":                               {"a@b"},
		"<a@b> <c@d>":                         {"a@b", "c@d"},
		"<a@b><c@d>":                          {"a@b", "c@d"},
		"<a@b>,\r\n\t<c@d>":                   {"a@b", "c@d"},
		"(x <no@no>) <a@b>":                   {"a@b"},
		`Your message of "Tue <no@no>" <a@b>`: {"a@b"},
		`<"01KF"@x>`:                          {"01KF@x"},
		"<a\r\n b@c>":                         {"ab@c"},
		"<a@b":                                {"a@b"},
		"<a@b <c@d>":                          {"c@d"},
		"bare@id":                             {"bare@id"},
		"two words":                           nil,
		"<>":                                  nil,
		"<[a]@b!c>":                           {"[a]@b!c"},
	} {
		require.Equal(t, want, ParseMessageIDs(in), "%q", in)
	}
	s, err := FormatMessageIDs("a@b", "c@d")
	require.NoError(t, err)
	require.Equal(t, "<a@b> <c@d>", s)
	for _, bad := range []string{"", "a b", "a>b", "a\r\nb", "a\x00"} {
		_, err := FormatMessageIDs(bad)
		require.Error(t, err)
	}
}

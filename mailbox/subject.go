package mailbox

import (
	"strings"

	"github.com/goniec-mail/goniec/mime"
)

// BaseSubject returns the base subject of a message (RFC 5256 §2.1), which is what threads and
// sorting by subject compare, and whether the message is a reply or forward. subject is the body of
// the Subject field as it stands there. Compare base subjects without regard to case.
func BaseSubject(subject string) (base string, reply bool) {
	// (1) decoded, with single spaces
	s := strings.Join(strings.FieldsFunc(mime.DecodeText(subject), isSubjectSpace), " ")
	for {
		// (2) trailers
		for {
			t := strings.TrimRight(s, " ")
			if cut, ok := cutFwdTrailer(t); ok {
				s, reply = cut, true
				continue
			}
			s = t
			break
		}
		// (3) to (5) leaders and blobs
		var r bool
		s, r = cutLeaders(s)
		reply = reply || r
		// (6) [fwd: … ]
		inner, ok := cutFwdWrapper(s)
		if !ok {
			return s, reply
		}
		s, reply = inner, true
	}
}

func isSubjectSpace(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' }

// hasFoldPrefix is strings.HasPrefix for an ASCII prefix in any case.
func hasFoldPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// cutFwdTrailer removes "(fwd)" at the end.
func cutFwdTrailer(s string) (string, bool) {
	const trailer = "(fwd)"
	if at := len(s) - len(trailer); at >= 0 && strings.EqualFold(s[at:], trailer) {
		return s[:at], true
	}
	return s, false
}

// cutLeaders removes "Re:", "Fwd[list]:" and "[list]" at the start (RFC 5256 §2.1 steps 3 to 5). Of a
// subject that is only blobs the last one stays.
func cutLeaders(s string) (base string, reply bool) {
	for {
		s = strings.TrimLeft(s, " ")
		last, rest := s, s // last: from the last blob on; rest: what follows it
		for {
			after, ok := cutBlob(rest)
			if !ok {
				break
			}
			last, rest = rest, after
		}
		after, ok := cutRefwd(rest)
		switch {
		case ok:
			s, reply = after, true
		case rest == "":
			return last, reply
		default:
			return rest, reply
		}
	}
}

// cutRefwd removes one subj-refwd: "re", "fw" or "fwd", an optional blob, ":".
func cutRefwd(s string) (rest string, ok bool) {
	for _, word := range []string{"re", "fwd", "fw"} {
		if !hasFoldPrefix(s, word) {
			continue
		}
		r := strings.TrimLeft(s[len(word):], " ")
		if after, blob := cutBlob(r); blob {
			r = after
		}
		if r, ok = strings.CutPrefix(r, ":"); ok {
			return r, true
		}
	}
	return s, false
}

// cutBlob removes one subj-blob: "[" without brackets inside "]" and spaces.
func cutBlob(s string) (rest string, ok bool) {
	if s == "" || s[0] != '[' {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// cutFwdWrapper removes "[fwd:" and "]" around a subject.
func cutFwdWrapper(s string) (inner string, ok bool) {
	const open = "[fwd:"
	if !hasFoldPrefix(s, open) || !strings.HasSuffix(s, "]") {
		return s, false
	}
	return s[len(open) : len(s)-1], true
}

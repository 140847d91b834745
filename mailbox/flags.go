package mailbox

import "slices"

// AssignKeywords turns the names of l into bits under a folder's keywords, giving a bit to each new
// one. It returns the flags and the folder's keywords after that: the same slice when none is new,
// else a new one. The error is ErrKeywordLimit when there are more than limit, and wraps
// ErrKeyword when one is not an atom.
func AssignKeywords(keywords []string, limit int, l FlagList) (Flags, []string, error) {
	flags, known := l.System&SystemFlags, keywords
	for _, k := range l.Keywords {
		i := KeywordIndex(known, k)
		if i < 0 {
			if err := CheckKeyword(k); err != nil {
				return 0, nil, err
			}
			if i = len(known); i >= min(limit, MaxKeywords) {
				return 0, nil, ErrKeywordLimit
			}
			known = append(slices.Clip(known), k)
		}
		flags |= KeywordBit(i)
	}
	return flags, known, nil
}

// KnownFlags turns the names of l into bits under a folder's keywords, passing over those that have
// none.
func KnownFlags(keywords []string, l FlagList) Flags {
	flags := l.System & SystemFlags
	for _, k := range l.Keywords {
		flags |= KeywordBit(KeywordIndex(keywords, k))
	}
	return flags
}

// Apply returns what the operation makes of a message's flags.
func (op FlagOp) Apply(old, change Flags) Flags {
	switch op {
	case FlagsAdd:
		return old | change
	case FlagsRemove:
		return old &^ change
	case FlagsReplace:
		return change
	}
	return old
}

package mailbox

import (
	"context"
	"slices"
	"strings"
)

// compared is what must be the same in source and target.
type compared struct {
	digest
	date     Date
	flags    Flags
	keywords string
}

// comparedOf makes it of a message; keywords are those that the target knows.
func comparedOf(ctx context.Context, msg Message, keywords, known []string) (c compared, err error) {
	c.digest, err = digestOf(ctx, msg.Content)
	c.date, c.flags = msg.Date, msg.Flags&SystemFlags
	names := msg.Flags.List(keywords).Keywords
	names = slices.DeleteFunc(names, func(k string) bool { return KeywordIndex(known, k) < 0 })
	for i, k := range names {
		names[i] = strings.ToLower(k)
	}
	slices.Sort(names)
	c.keywords = strings.Join(names, " ")
	return c, err
}

// verify looks for each message of the source in the target. Keywords that the target had no room for are
// no difference: they are among the losses.
func (f *folderConversion) verify(ctx context.Context) error {
	ch, err := f.dst.Changes(ctx, Latest)
	if err != nil {
		return err
	}
	known := ch.State.Keywords
	there := make(map[compared]int)
	for msg, err := range f.dst.Read(ctx, AllUIDs()) {
		if err != nil && msg.UID == 0 {
			return err
		}
		if err != nil {
			continue
		}
		c, err := comparedOf(ctx, msg, known, known)
		if err != nil {
			return err
		}
		there[c]++
	}
	for msg, err := range f.src.Read(ctx, AllUIDs()) {
		if err != nil && msg.UID == 0 {
			return err
		}
		if msg.UID >= f.source.UIDNext { // came meanwhile
			continue
		}
		found := false
		if err == nil {
			c, err := comparedOf(ctx, msg, f.source.Keywords, known)
			if err != nil {
				return err
			}
			there[c]--
			found = there[c] >= 0
		}
		f.verified(found)
	}
	f.tell()
	return nil
}

func (f *folderConversion) verified(found bool) {
	if found {
		f.rep.Verified++
	} else {
		f.rep.Missing++
	}
	if f.progress.Verified++; f.progress.Verified%convertBatch == 0 {
		f.tell()
	}
}

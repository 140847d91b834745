package passwdfile

import (
	"fmt"
	"hash/maphash"
	"iter"
	"strings"
)

// maxErrors limits how many bad lines are reported; the rest is counted.
const maxErrors = 100

// table is one version of a file: its text, and an open-addressing hash table of line offsets. A
// slot holds offset+1 in its low 48 bits, so that 0 is free, and 16 bits of the hash above them,
// so that most wrong lines are told without a look at the text.
type table struct {
	text  string
	slots []uint64
	seed  maphash.Seed
	key   func(string) string
	users int
	kinds [Kinds]int
	errs  []error
	more  int // errors beyond maxErrors
}

// Kinds is how many kinds of entries File.Check can tell apart.
const Kinds = 8

const (
	offsetBits = 48
	offsetMask = 1<<offsetBits - 1
)

// build indexes the text of a file. key maps names to the form in which they are compared.
func build(path, text string, maxLine int, key func(string) string, check func(Entry) (int, error)) *table {
	lines := strings.Count(text, "\n") + 1
	size := 8
	for size < lines+lines/2 {
		size *= 2
	}
	t := &table{text: text, slots: make([]uint64, size), seed: maphash.MakeSeed(), key: key}
	number := 0
	for offset, line := range eachLine(text) {
		number++
		if err := t.add(offset, line, maxLine, check); err != nil {
			t.report(fmt.Errorf("%s:%d: %w", path, number, err))
		}
	}
	return t
}

// eachLine iterates over the lines of text and their offsets, without their ends.
func eachLine(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for offset := 0; offset < len(text); {
			line, _, _ := strings.Cut(text[offset:], "\n")
			if !yield(offset, strings.TrimSuffix(line, "\r")) {
				return
			}
			offset += len(line) + 1
		}
	}
}

func (t *table) add(offset int, line string, maxLine int, check func(Entry) (int, error)) error {
	if comment(line) {
		return nil
	}
	if len(line) > maxLine {
		return fmt.Errorf("line is longer than %d octets", maxLine)
	}
	if strings.IndexByte(line, 0) >= 0 || strings.IndexByte(line, '\r') >= 0 {
		return errNUL
	}
	e, _, err := parse(line)
	kind := 0
	if err == nil && check != nil {
		kind, err = check(e)
	}
	if err != nil {
		return err
	}
	name := t.key(e.Name)
	slot, found := t.find(name)
	if found {
		return fmt.Errorf("user %q exists more than once; the first line counts", e.Name)
	}
	t.slots[slot] = tag(maphash.String(t.seed, name)) | uint64(offset+1)
	t.users++
	t.kinds[kind]++
	return nil
}

// tag returns the bits of a hash that a slot keeps. The low bits choose the slot.
func tag(hash uint64) uint64 { return hash &^ offsetMask }

// find returns the slot of a name in its compared form, or the free slot where it would go.
func (t *table) find(name string) (slot int, found bool) {
	hash := maphash.String(t.seed, name)
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		v := t.slots[i]
		if v == 0 {
			return int(i), false // the table is never more than two thirds full
		}
		if v&^offsetMask != tag(hash) {
			continue
		}
		if t.key(nameOf(t.text[v&offsetMask-1:])) == name {
			return int(i), true
		}
	}
}

// nameOf returns the name of the good line that text begins with.
func nameOf(text string) string {
	for i := range len(text) {
		if c := text[i]; c == ':' || c == '\n' || c == '\r' {
			return text[:i]
		}
	}
	return text
}

// at returns the entry in a used slot. Its strings are copies: they do not keep the text alive.
func (t *table) at(slot int) Entry {
	line, _, _ := strings.Cut(t.text[t.slots[slot]&offsetMask-1:], "\n")
	return split(strings.Clone(strings.TrimSuffix(line, "\r")))
}

// lookup returns the entry of a name.
func (t *table) lookup(name string) (Entry, bool) {
	slot, found := t.find(t.key(name))
	if !found {
		return Entry{}, false
	}
	return t.at(slot), true
}

// sample returns the entry in or behind a slot.
func (t *table) sample(n uint64) (Entry, bool) {
	if t.users == 0 {
		return Entry{}, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := n & mask; ; i = (i + 1) & mask {
		if t.slots[i] != 0 {
			return t.at(int(i)), true
		}
	}
}

// all iterates over the entries in the order of the file.
func (t *table) all() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for offset, line := range eachLine(t.text) {
			e, ok, err := parse(strings.Clone(line))
			if !ok || err != nil {
				continue
			}
			// A bad line, or a second one of the same name, is not in the index.
			if slot, found := t.find(t.key(e.Name)); !found || t.slots[slot]&offsetMask != uint64(offset+1) {
				continue
			}
			if !yield(e) {
				return
			}
		}
	}
}

func (t *table) report(err error) {
	if len(t.errs) >= maxErrors {
		t.more++
		return
	}
	t.errs = append(t.errs, err)
}

package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// Annotations (RFC 5464) lie in a file of the folder's directory, so that they go with it when it is renamed or
// deleted; those of the account in one beside INBOX's. The file is
//
//	goniec-metadata 1
//	/private/comment 5
//	hello
//	end 1a2b3c4d
//
// a header, for each entry its name, the octets of its value, and the value on lines of its own, and the CRC-32C
// (Castagnoli) of what is before. Names are sorted.
const (
	metadataName        = "goniec-metadata"
	accountMetadataName = "goniec-account-metadata"
	metadataHeader      = "goniec-metadata 1\n"
)

// Limits of the annotations of one folder, or of the account: mailbox.ErrOverQuota beyond.
const (
	maxAnnotations      = 100
	maxAnnotationOctets = 256 << 10 // of names and values together
	maxAnnotationName   = 1000
	metadataLimit       = maxAnnotationOctets + maxAnnotations*16 + 64 // octets of the file
)

// Annotations implements mailbox.Metadata.
func (m *Mailbox) Annotations(ctx context.Context) (map[string][]byte, error) {
	f, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	all, _, err := f.acct.store.annotations(f.base, metadataName)
	return all, m.vanished(f, err)
}

// SetAnnotation implements mailbox.Metadata. It is durable.
func (m *Mailbox) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	f, err := m.begin(ctx)
	if err != nil {
		return err
	}
	changed, err := f.acct.store.annotate(ctx, f.base, metadataName, entry, value)
	if changed {
		f.changed()
	}
	return m.vanished(f, err)
}

// Annotations implements mailbox.Metadata: those of the account.
func (a *Account) Annotations(ctx context.Context) (map[string][]byte, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	all, _, err := a.store.annotations(a.root, accountMetadataName)
	return all, err
}

// SetAnnotation implements mailbox.Metadata: it sets an annotation of the account, durably.
func (a *Account) SetAnnotation(ctx context.Context, entry string, value []byte) error {
	if err := a.begin(ctx); err != nil {
		return err
	}
	changed, err := a.store.annotate(ctx, a.root, accountMetadataName, entry, value)
	if changed {
		a.watch.listChanged()
	}
	return err
}

// annotations reads a file. A damaged one is logged, and gives what is whole of it.
func (s *Store) annotations(dir faultfs.Dir, name string) (all map[string][]byte, whole bool, err error) {
	data, err := faultfs.ReadFile(dir, name, metadataLimit)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, true, err
	}
	if all, whole = parseAnnotations(data); !whole {
		s.log("annotations are damaged", "file", dir.Name()+"/"+name)
	}
	return all, whole, nil
}

// annotate changes one annotation; changed reports that the file was written.
func (s *Store) annotate(ctx context.Context, dir faultfs.Dir, name, entry string, value []byte) (changed bool, err error) {
	if err := checkEntry(entry); err != nil {
		return false, err
	}
	lock, err := s.takeDotlock(ctx, dir, name)
	if err != nil {
		return false, refused(err)
	}
	defer lock.unlock()
	all, whole, err := s.annotations(dir, name)
	if err != nil {
		return false, err
	}
	old, there := all[entry]
	if there == (value != nil) && bytes.Equal(old, value) {
		return false, nil
	}
	if all == nil {
		all = make(map[string][]byte)
	}
	if delete(all, entry); value != nil {
		all[entry] = value
		if err := checkAnnotations(all); err != nil {
			return false, err
		}
	}
	if !whole { // what could not be read is kept for a person to look at
		if err := dir.Rename(name, dir, name+".damaged"); err != nil {
			return false, err
		}
	}
	return true, faultfs.WriteFile(dir, name, formatAnnotations(all), 0o600)
}

// checkEntry refuses names that the file can not hold. What else a name must be is for protocols to say.
func checkEntry(entry string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f }
	if !strings.HasPrefix(entry, "/") || len(entry) > maxAnnotationName || strings.ContainsFunc(entry, bad) {
		return fmt.Errorf("annotation %.80q: %w", entry, mailbox.ErrCannot)
	}
	return nil
}

func checkAnnotations(all map[string][]byte) error {
	octets := 0
	for entry, value := range all {
		octets += len(entry) + len(value)
	}
	if len(all) > maxAnnotations || octets > maxAnnotationOctets {
		return fmt.Errorf("annotations: %d entries of at most %d, %d octets of at most %d: %w",
			len(all), maxAnnotations, octets, maxAnnotationOctets, mailbox.ErrOverQuota)
	}
	return nil
}

func formatAnnotations(all map[string][]byte) []byte {
	b := []byte(metadataHeader)
	for _, entry := range slices.Sorted(maps.Keys(all)) {
		b = fmt.Appendf(b, "%s %d\n%s\n", entry, len(all[entry]), all[entry])
	}
	return fmt.Appendf(b, "end %08x\n", annotationSum(b))
}

func annotationSum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// parseAnnotations reads a file; whole is false when it is damaged.
func parseAnnotations(data []byte) (all map[string][]byte, whole bool) {
	all = make(map[string][]byte)
	rest, ok := bytes.CutPrefix(data, []byte(metadataHeader))
	for ok {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		entry, number, spaced := strings.Cut(string(line), " ")
		if !found || !spaced {
			break
		}
		if entry == "end" {
			sum, err := strconv.ParseUint(number, 16, 32)
			return all, err == nil && len(after) == 0 && uint32(sum) == annotationSum(data[:len(data)-len(rest)])
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n >= len(after) || after[n] != '\n' || len(all) == maxAnnotations || checkEntry(entry) != nil {
			break
		}
		all[entry], rest = bytes.Clone(after[:n]), after[n+1:]
		if all[entry] == nil {
			all[entry] = []byte{}
		}
	}
	return all, false
}

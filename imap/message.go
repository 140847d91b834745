package imap

import (
	"context"
	"io"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/mime"
)

// message is a message that is being read for a command: what was found out of it is not found out
// again. It is valid as long as its content.
type message struct {
	ctx     context.Context // of the command
	mb      mailbox.Mailbox
	uid     mailbox.UID
	content goniec.Content

	root *mime.Part // of the message itself; offsets and envelope
	st   *mime.Structure

	many   bool // one of many: what is kept of structures is looked up and stored for all at once
	parsed bool // st is not from what was kept
}

// structureKind is the kind of Derived under which structures are kept for sections.
const structureKind = "imap.structure/1"

// header parses the message's header and nothing more.
func (m *message) header() (*mime.Part, error) {
	switch {
	case m.root != nil:
		return m.root, nil
	case m.st != nil:
		return &m.st.Parts[0], nil
	}
	r := mime.NewReader(goniec.NewReader(m.content), mime.Options{})
	defer r.Close()
	part, err := r.Next()
	if err != nil && err != io.EOF {
		return nil, err
	}
	if part == nil {
		part = &mime.Part{}
	}
	root := *part
	m.root = &root
	return m.root, nil
}

// bodyStart is the offset of the body.
func (m *message) bodyStart() (int64, error) {
	p, err := m.header()
	if err != nil {
		return 0, err
	}
	return p.BodyStart, nil
}

// structure parses the message, unless somebody did before.
func (m *message) structure() (*mime.Structure, error) {
	if m.st != nil {
		return m.st, nil
	}
	if m.many {
		err := m.parse()
		return m.st, err
	}
	for _, b := range mailbox.DerivedOf(m.ctx, m.mb, structureKind, mailbox.UIDs(m.uid)) {
		if m.recall(b) {
			return m.st, nil
		}
	}
	if err := m.parse(); err != nil {
		return nil, err
	}
	if b, err := m.st.MarshalBinary(); err == nil {
		// A cache: an error of it concerns nobody.
		_ = mailbox.SetDerived(m.ctx, m.mb, structureKind, func(yield func(mailbox.UID, []byte) bool) { yield(m.uid, b) })
	}
	return m.st, nil
}

// recall takes a structure that was kept.
func (m *message) recall(b []byte) bool {
	var st mime.Structure
	if st.UnmarshalBinary(b) != nil || st.Size != m.content.Size() {
		return false
	}
	m.st = &st
	return true
}

func (m *message) parse() (err error) {
	m.st, err = mime.Parse(m.content, mime.Options{})
	m.parsed = err == nil
	return err
}

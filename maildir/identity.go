package maildir

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/goniec-mail/goniec/mailbox"
)

// UniqueIDs implements mailbox.Identified: what Dovecot gives, so that POP3 clients load nothing again when a site
// moves in either direction. That is the P field of a message's line in the uidlist, where a migration has put one,
// else UID and UIDVALIDITY in hexadecimal (%08Xu%08Xv in Dovecot, its default).
func (m *Mailbox) UniqueIDs(ctx context.Context, uids mailbox.UIDSet) (_ iter.Seq2[mailbox.UID, string], err error) {
	f, err := m.locked(ctx, false)
	if err != nil {
		return nil, err
	}
	defer f.leave(&err)
	fields := f.listFields()
	validity := f.state.list.validity
	var ids []string
	var of []mailbox.UID
	for i := range f.state.t.selected(uids) {
		uid := f.state.t.recs[i].uid
		of = append(of, mailbox.UID(uid))
		ids = append(ids, identity(uid, validity, string(fields[uid])))
	}
	return func(yield func(mailbox.UID, string) bool) {
		for i, uid := range of {
			if !yield(uid, ids[i]) {
				return
			}
		}
	}, nil
}

func identity(uid, validity uint32, fields string) string {
	for f := range strings.FieldsSeq(fields) {
		if id := f[1:]; f[0] == 'P' && id != "" && len(id) <= 70 {
			return id
		}
	}
	return fmt.Sprintf("%08x%08x", uid, validity)
}

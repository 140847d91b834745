package maildir_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/goniec-mail/goniec/maildir"
)

// damage changes a file of INBOX behind the store's back; nil removes it.
func (t *script) damage(name string, change func(string) string) {
	if t.err != nil {
		return
	}
	d, err := t.store.FS.OpenDir("/mail/" + user)
	if err != nil {
		t.keep(err)
		return
	}
	defer d.Close()
	old, err := faultfs.ReadFile(d, name, -1)
	if err == nil {
		err = d.Remove(name)
	}
	if err == nil && change != nil {
		err = faultfs.WriteFile(d, name, []byte(change(string(old))), 0o600)
	}
	t.keep(err)
}

// version1 is a uidlist in the older form.
func version1(list string) string {
	lines := strings.Split(list, "\n")
	var validity, next int
	_, _ = fmt.Sscanf(lines[0], "3 V%d N%d", &validity, &next)
	lines[0] = fmt.Sprintf("1 %d 9", validity)
	return strings.ReplaceAll(strings.Join(lines, "\n"), " :", " ")
}

// adoptable writes the files of Courier: keywords of the first two messages.
func (t *script) adoptable(uids string) {
	if t.err != nil {
		return
	}
	d, err := t.store.FS.OpenDir("/mail/" + user)
	if err != nil {
		t.keep(err)
		return
	}
	defer d.Close()
	keywords, err := faultfs.MkdirSync(d, "courierimapkeywords", 0o700)
	if err != nil {
		t.keep(err)
		return
	}
	lines := strings.Split(uids, "\n")
	_, first, _ := strings.Cut(lines[1], " ")
	_, second, _ := strings.Cut(lines[2], " ")
	t.keep(errors.Join(
		faultfs.WriteFile(d, "courierimapuiddb", []byte(uids), 0o600),
		faultfs.WriteFile(keywords, ":list", []byte("Later\nWork\n\n"+first+":1\n"), 0o600),
		faultfs.WriteFile(keywords, second, []byte("Later\n"), 0o600),
		keywords.Close()))
}

// repairOps are those that the first look after some damage does: the uidlist is written anew, the index is made again, a
// half renamed tree is finished.
var repairOps = []crashOp{
	{name: "uidlist torn", setup: func(t *script) {
		three(t)
		t.damage("dovecot-uidlist", func(list string) string { return list + "99 :to" })
	}, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "uidlist of version 1", setup: func(t *script) { three(t); t.damage("dovecot-uidlist", version1) }, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "uidlist cut", setup: func(t *script) {
		three(t)
		t.damage("dovecot-uidlist", func(list string) string { return list[:strings.Index(list, "\n")+1] })
	}, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "uidlist lost", unopened: true, setup: func(t *script) { three(t); t.damage("dovecot-uidlist", nil) }, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "uidlist and index lost", unopened: true, setup: func(t *script) {
		three(t)
		t.damage("dovecot-uidlist", nil)
		t.damage("goniec-index", nil)
	}, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "index lost", unopened: true, setup: func(t *script) { three(t); t.damage("goniec-index", nil) }, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "index damaged", unopened: true, setup: func(t *script) {
		three(t)
		t.damage("goniec-index", func(s string) string { return s[:len(s)-20] + strings.Repeat("x", 20) })
	}, run: func(t *script) { t.visit("INBOX"); t.see() }},
	{name: "half renamed", unopened: true, setup: func(t *script) {
		t.create("A", "A/B")
		t.appendTo("A/B", hello)
		t.keep(t.acc.Rename(t.ctx, "A", "X"))
		t.create("A") // as if this one had not been renamed
		t.keep(t.acc.Delete(t.ctx, "X"))
		d, err := t.store.FS.OpenDir("/mail/" + user)
		if err == nil {
			err = errors.Join(faultfs.WriteFile(d, "goniec-rename", []byte("goniec-rename 1\n.A\n.X\n"), 0o600), d.Close())
		}
		t.keep(err)
	}, run: func(t *script) { t.see() }},
	{name: "deliver to two folders", setup: func(t *script) { three(t); t.create("A") }, run: func(t *script) {
		errs := t.store.DeliverAll(t.ctx, []mailbox.Target{{User: user}, {User: user, Name: "A"}}, strings.NewReader(hello), mailbox.AppendOptions{})
		t.keep(errors.Join(errs...))
	}, between: oneHas},
	{name: "deliver with flags", setup: three, run: func(t *script) {
		o := mailbox.AppendOptions{Flags: mailbox.FlagList{System: mailbox.Seen, Keywords: []string{"fresh"}}}
		t.keep(t.store.Deliver(t.ctx, user, "", strings.NewReader(hello), o))
	}},
	{name: "Courier's files", unopened: true, setup: func(t *script) {
		three(t)
		var uids string
		t.damage("dovecot-uidlist", func(list string) string { uids = version1(list); return list })
		t.damage("dovecot-uidlist", nil)
		t.damage("goniec-index", nil)
		t.damage("goniec-floor", nil)
		t.adoptable(uids)
	}, run: func(t *script) { t.see() }},
	{name: "spare lock file", setup: three, run: func(t *script) {
		maildir.SpareLocks(t.store)
		t.in("INBOX", func(m mailbox.Mailbox) error { // one handle: the folder stays in memory
			for _, text := range []string{"a\r\n", "b\r\n", "c\r\n"} {
				if _, err := m.Append(t.ctx, strings.NewReader(text), mailbox.AppendOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
		t.see()
	}, between: someAppended},
	{name: "copy to itself", setup: three, run: func(t *script) { t.transfer(mailbox.Copy, "INBOX", 1, 2) }},
	{name: "unsubscribe", setup: func(t *script) { t.keep(mailbox.Subscribe(t.ctx, t.acc, "A", true)) }, run: func(t *script) { t.keep(mailbox.Subscribe(t.ctx, t.acc, "A", false)) }},
}

// someAppended accepts the first of several appends.
func someAppended(before, after, now view) error {
	has, all := now["INBOX"].mails, after["INBOX"].mails
	if len(has) < len(before["INBOX"].mails) {
		return fmt.Errorf("%v are less than before", has)
	}
	// One that nobody was told of may have got a higher UID: the list may have lost lines that were shown.
	uids := slices.Sorted(maps.Keys(has))
	for i, uid := range slices.Sorted(maps.Keys(all))[:len(has)] {
		if has[uids[i]] != all[uid] {
			return fmt.Errorf("%v are not the first of %v", has, all)
		}
	}
	return nil
}

// oneHas allows that only one of two folders has got a message.
func oneHas(before, after, now view) error {
	for _, w := range []view{
		{"INBOX": before["INBOX"], "A": after["A"]},
		{"INBOX": after["INBOX"], "A": before["A"]},
	} {
		if same(now, w) == nil {
			return nil
		}
	}
	return fs.ErrInvalid
}

// F02, F10: a crash amid a repair leaves what can be repaired.
func TestF02_Repairs(t *testing.T) {
	for _, op := range repairOps {
		for model, name := range map[faultfs.Model]string{faultfs.POSIX: "posix", faultfs.Ordered: "ordered"} {
			t.Run(op.name+"/"+name, func(t *testing.T) { t.Parallel(); crashTest(t, op, model) })
		}
	}
}

// F04: so does a call that fails.
func TestF04_Repairs(t *testing.T) {
	for _, op := range repairOps {
		for _, persist := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/persist=%v", op.name, persist), func(t *testing.T) { t.Parallel(); faultTest(t, op, persist) })
		}
	}
}

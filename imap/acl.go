package imap

import (
	"context"
	"errors"
	"strings"

	"github.com/goniec-mail/goniec/imap/internal/wire"
	"github.com/goniec-mail/goniec/mailbox"
)

// ACL (RFC 4314): who may do what with a mailbox. The store decides, by the rights of the account's user; here is the
// protocol, which is offered where the account is a mailbox.AccessControl. LIST-MYRIGHTS (RFC 8440) is part of it.

// controlled reports whether the account has access control.
func (c *conn) controlled() bool {
	_, ok := mailbox.As[mailbox.AccessControl](c.account)
	return ok
}

// accessControl is the account's, or a refusal.
func (c *conn) accessControl() (mailbox.AccessControl, error) {
	if ac, ok := mailbox.As[mailbox.AccessControl](c.account); ok {
		return ac, nil
	}
	return nil, no("CANNOT", "mailboxes have no access control lists here")
}

// identifier reads one; a dash in front makes it negative (RFC 4314 §2). §3: what has no proper form is BAD.
func (c *conn) identifier() (e mailbox.ACLEntry) {
	text := c.dec.AString()
	text, e.Negative = strings.CutPrefix(text, "-")
	e.ID = mailbox.Identifier(text)
	if c.dec.Err() == nil && e.ID.Check() != nil {
		c.dec.Fail("bad identifier")
	}
	return e
}

// aclCommand reads the arguments of a command on a mailbox, and then does it.
func (c *conn) aclCommand(more func(), do func(ac mailbox.AccessControl, name string) error) error {
	c.dec.SP()
	name := c.dec.Mailbox()
	more()
	if err := c.end(); err != nil {
		return err
	}
	ac, err := c.accessControl()
	if err == nil {
		err = do(ac, name)
	}
	if err != nil {
		return failed(err)
	}
	return nil
}

// setACL changes the rights of an identifier (RFC 4314 §3.1).
func (c *conn) setACL(ctx context.Context) error {
	var change mailbox.ACLChange
	return c.aclCommand(func() {
		c.dec.SP()
		change.Entry = c.identifier()
		c.dec.SP()
		c.modRights(&change)
	}, func(ac mailbox.AccessControl, name string) error { return ac.ChangeACL(ctx, name, change) })
}

// modRights reads the rights of SETACL. One that is not known is BAD, and never passed over.
func (c *conn) modRights(change *mailbox.ACLChange) {
	text := c.dec.AString()
	change.Op = mailbox.ACLReplace
	if text != "" && text[0] == '+' {
		change.Op, text = mailbox.ACLAdd, text[1:]
	} else if text != "" && text[0] == '-' {
		change.Op, text = mailbox.ACLRemove, text[1:]
	}
	rights, err := mailbox.ParseRights(text)
	if err != nil {
		c.dec.Fail(oneLine(err.Error()))
	}
	change.Entry.Rights = rights
}

// deleteACL removes the entry of an identifier (RFC 4314 §3.2).
func (c *conn) deleteACL(ctx context.Context) error {
	change := mailbox.ACLChange{Op: mailbox.ACLDelete}
	return c.aclCommand(func() {
		c.dec.SP()
		change.Entry = c.identifier()
	}, func(ac mailbox.AccessControl, name string) error { return ac.ChangeACL(ctx, name, change) })
}

// getACL tells the list (RFC 4314 §3.3).
func (c *conn) getACL(ctx context.Context) error {
	return c.aclCommand(func() {}, func(ac mailbox.AccessControl, name string) error {
		l, err := ac.ACL(ctx, name)
		if err != nil {
			return err
		}
		c.enc.Raw("* ACL ")
		c.enc.Mailbox(name)
		for _, e := range l {
			c.enc.SP()
			c.tellIdentifier(e)
			c.enc.SP()
			c.aString(e.Rights.Compatible())
		}
		c.enc.CRLF()
		return nil
	})
}

func (c *conn) tellIdentifier(e mailbox.ACLEntry) {
	id := string(e.ID)
	if e.Negative {
		id = "-" + id
	}
	c.aString(id)
}

// aString writes an atom where it can be one, as clients are used to see rights.
func (c *conn) aString(s string) {
	atom := s != ""
	for i := range len(s) {
		atom = atom && wire.IsAtomChar(s[i])
	}
	if atom {
		c.enc.Raw(s)
	} else {
		c.enc.String(s)
	}
}

// listRights tells what can be given to an identifier (RFC 4314 §3.4). Each right stands alone: none are tied.
func (c *conn) listRights(ctx context.Context) error {
	var e mailbox.ACLEntry
	return c.aclCommand(func() {
		c.dec.SP()
		e = c.identifier()
	}, func(ac mailbox.AccessControl, name string) error {
		always, optional, err := ac.Grantable(ctx, name, e.ID)
		if err != nil {
			return err
		}
		c.enc.Raw("* LISTRIGHTS ")
		c.enc.Mailbox(name)
		c.enc.SP()
		c.tellIdentifier(e)
		c.enc.SP()
		c.aString(always.Compatible())
		for _, letter := range optional.Compatible() {
			c.enc.SP()
			c.aString(string(letter))
		}
		c.enc.CRLF()
		return nil
	})
}

// myRights tells what the user may do (RFC 4314 §3.5).
func (c *conn) myRights(ctx context.Context) error {
	return c.aclCommand(func() {}, func(ac mailbox.AccessControl, name string) error {
		r, err := ac.MyRights(ctx, name)
		if err == nil {
			c.tellMyRights(name, r)
		}
		return err
	})
}

func (c *conn) tellMyRights(name string, r mailbox.Rights) {
	c.enc.Raw("* MYRIGHTS ")
	c.enc.Mailbox(name)
	c.enc.SP()
	c.aString(r.Compatible())
	c.enc.CRLF()
}

// listMyRights is MYRIGHTS behind a LIST response (RFC 8440 §3). A mailbox on which the user has none is listed without.
func (c *conn) listMyRights(ctx context.Context, name string) {
	if r, err := mailbox.MyRights(ctx, c.account, name); err == nil {
		c.tellMyRights(name, r)
	}
}

// lookAtRights notes the user's rights on the selected mailbox, and reports whether other flags can be changed than
// before. What is not known is asked again. Those on a mailbox of the user's own are asked when it is selected.
func (c *conn) lookAtRights(ctx context.Context) bool {
	if c.box.rights != 0 && mailbox.NamespacesOf(c.account).Personal(c.box.name) {
		return false
	}
	r, err := mailbox.MyRights(ctx, c.account, c.box.name)
	if err != nil {
		return false
	}
	told := c.box.rights
	c.box.rights = r
	return !c.box.readOnly && r.Flags() != told.Flags()
}

// withdrawn reports that the user may not read the selected mailbox any more (RFC 4314 §5.1.1).
func withdrawn(err error) bool { return errors.Is(err, mailbox.ErrForbidden) }

// need refuses who lacks rights on the selected mailbox.
func (c *conn) need(ctx context.Context, want mailbox.Rights) error {
	c.lookAtRights(ctx)
	if !c.box.rights.Has(want) {
		return failed(mailbox.ErrForbidden)
	}
	return nil
}

// namespace answers NAMESPACE (RFC 9051 §6.3.10): the personal one has no prefix.
func (c *conn) namespace(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	ns := mailbox.NamespacesOf(c.account)
	c.enc.Raw(`* NAMESPACE (("" "/"))`)
	for _, prefix := range []string{ns.Others, ns.Shared} {
		if prefix == "" {
			c.enc.Raw(" NIL")
			continue
		}
		c.enc.Raw(" ((")
		c.enc.Mailbox(prefix)
		c.enc.Raw(` "/"))`)
	}
	c.enc.CRLF()
	return nil
}

// permanentFlags are the flags that the user can change, among those of the mailbox; any reports whether he may make
// keywords.
func (b *selection) permanentFlags(all mailbox.Flags) (f mailbox.Flags, anyKeyword bool) {
	if b.readOnly {
		return 0, false
	}
	may := b.rights.Flags()
	if b.rights.Has(mailbox.RightWrite) {
		may |= ^mailbox.SystemFlags
	}
	return all & may, b.rights.Has(mailbox.RightWrite)
}

// aclCapabilities are those of this file.
func (c *conn) aclCapabilities(names []string) []string {
	if c.controlled() {
		names = append(names, "ACL", "RIGHTS=texk", "LIST-MYRIGHTS")
	}
	return names
}

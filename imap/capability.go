package imap

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/goniec-mail/goniec/auth"
	"github.com/goniec-mail/goniec/mailbox"
)

// features is a set of what a client has turned on with ENABLE, or by using it.
type features uint8

const (
	condStore  features = 1 << iota // RFC 7162 §3.1: told of mod-sequences
	qresync                         // RFC 7162 §3.2: VANISHED in place of EXPUNGE
	rev2                            // RFC 9051
	utf8Names                       // UTF-8 in names and quoted strings
	utf8Accept                      // RFC 6855
	uidOnly                         // RFC 9586: no message sequence numbers
)

// has reports whether the client has turned f on.
func (c *conn) has(f features) bool { return c.enabled&f != 0 }

// capability answers CAPABILITY (RFC 9051 §6.1.1).
func (c *conn) capability(context.Context) error {
	if err := c.end(); err != nil {
		return err
	}
	c.enc.Raw("* ")
	c.enc.Raw(c.capabilities())
	c.enc.CRLF()
	return nil
}

// capabilities is the response, and the response code, that lists what works in this state of this connection, and nothing
// else.
func (c *conn) capabilities() string {
	names := append(make([]string, 0, 64), "CAPABILITY", "IMAP4rev2", "IMAP4rev1", "SASL-IR", "ENABLE", "ID", "LANGUAGE")
	if c.state == notAuthenticated {
		return strings.Join(append(names, c.loginCapabilities()...), " ")
	}
	names = append(names, "LITERAL+", "IDLE", "NAMESPACE", "UNSELECT", "UIDPLUS", "MOVE", "CHILDREN", "LIST-EXTENDED",
		"LIST-STATUS", "SPECIAL-USE", "STATUS=SIZE", "MULTIAPPEND", "CATENATE", "BINARY", "CONDSTORE", "QRESYNC", "UTF8=ACCEPT",
		"ESEARCH", "SEARCHRES", "WITHIN", "SAVEDATE", "PARTIAL",
		"SORT", "SORT=DISPLAY", "ESORT", "CONTEXT=SEARCH", "CONTEXT=SORT", "MULTISEARCH", "THREAD=ORDEREDSUBJECT", "THREAD=REFERENCES",
		"PREVIEW", "REPLACE", "UNAUTHENTICATE", "INPROGRESS", "UIDONLY")
	if _, ok := mailbox.As[mailbox.SpecialUser](c.account); ok {
		names = append(names, "CREATE-SPECIAL-USE")
	}
	if _, ok := mailbox.As[mailbox.AccountWatcher](c.account); ok {
		names = append(names, "NOTIFY")
	}
	if _, ok := mailbox.As[mailbox.QuotaKeeper](c.account); ok {
		names = append(names, "QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE")
	}
	if c.deflate == nil {
		names = append(names, "COMPRESS=DEFLATE")
	}
	if c.offers&objectIDs != 0 {
		names = append(names, "OBJECTID")
	}
	if c.offersJMAP() {
		names = append(names, "JMAPACCESS")
	}
	if c.offers&annotations != 0 {
		names = append(names, "METADATA", "LIST-METADATA")
	}
	names = c.aclCapabilities(names)
	if c.SaveLimit > 0 {
		names = append(names, "SAVELIMIT="+strconv.Itoa(c.SaveLimit))
	}
	if limit := c.MaxMessageBytes; limit >= 0 {
		names = append(names, "APPENDLIMIT="+strconv.FormatInt(limit, 10))
	}
	return strings.Join(names, " ")
}

// offers is what a store can do that only its mailboxes tell.
type offers uint8

const (
	objectIDs   offers = 1 << iota // folders have identities
	annotations                    // folders keep annotations
)

// probe asks INBOX, which every account has.
func probe(ctx context.Context, a mailbox.Account) (o offers) {
	mb, err := a.Open(ctx, "INBOX")
	if err != nil {
		return 0
	}
	defer mb.Close()
	if _, ok := mailbox.As[mailbox.Metadata](mb); ok {
		o |= annotations
	}
	if ch, err := mb.Changes(ctx, mailbox.Latest); err == nil && ch.State.ID != "" {
		o |= objectIDs
	}
	return o
}

// loginCapabilities are those that have a meaning before login only. RFC 7888 §5: a literal that
// comes unasked must be short there, hence LITERAL-.
func (c *conn) loginCapabilities() []string {
	a := c.authConn()
	names := []string{"LITERAL-"}
	if c.TLSConfig != nil && c.net.TLS() == nil && c.deflate == nil {
		names = append(names, "STARTTLS")
	}
	if !a.AcceptsPasswords() {
		names = append(names, "LOGINDISABLED")
	}
	for _, m := range auth.Offer(c.mechs, a, c.authenticator()) {
		names = append(names, "AUTH="+m)
	}
	return names
}

// enable turns extensions on (RFC 5161). What is not known is passed over.
func (c *conn) enable(context.Context) error {
	var want []string
	for len(want) == 0 || !c.dec.AtEnd() {
		c.dec.SP()
		want = append(want, c.dec.Keyword())
	}
	if err := c.end(); err != nil {
		return err
	}
	var done []string
	for _, name := range want {
		if f := enablable(name); f != 0 && !slices.Contains(done, name) {
			done = append(done, name)
			c.turnOn(f)
		}
	}
	c.enc.Raw("* ENABLED")
	for _, name := range done {
		if name == "IMAP4REV2" {
			name = "IMAP4rev2"
		}
		c.enc.Raw(" " + name)
	}
	c.enc.CRLF()
	return nil
}

// enablable returns what a name in ENABLE turns on; 0 for what cannot be enabled.
func enablable(name string) features {
	switch name {
	case "CONDSTORE":
		return condStore
	case "QRESYNC": // RFC 7162 §3.2.3: implies CONDSTORE
		return qresync | condStore
	case "IMAP4REV2": // RFC 9051 §6.3.1: its strings and names are UTF-8
		return rev2 | utf8Names
	case "UTF8=ACCEPT":
		return utf8Accept | utf8Names
	case "UIDONLY":
		return uidOnly
	}
	return 0
}

// turnOn turns extensions on for the rest of the session.
func (c *conn) turnOn(f features) {
	if f&condStore != 0 && !c.has(condStore) && c.box != nil {
		// RFC 7162 §3.1: the client counts mod-sequences from the moment on that it asks for them.
		c.okNumber("HIGHESTMODSEQ", uint64(c.box.view.ModSeq()), "highest mod-sequence")
	}
	c.enabled |= f
	if f&uidOnly != 0 && c.box != nil {
		c.dropNumbered()
	}
	c.enc.UTF8, c.dec.UTF8 = c.has(utf8Names), c.has(utf8Names)
}

// id answers ID (RFC 2971). What the client says of itself is checked and forgotten.
func (c *conn) id(context.Context) error {
	d := &c.dec
	d.SP()
	if d.Peek() == '(' {
		fields := 0
		d.List(func() {
			_ = d.String()
			d.SP()
			d.AString() // some send "version" 1.2.3, without quotes; NIL is an atom too
			if fields++; fields > maxIDFields {
				d.Fail("too many fields")
			}
		})
	} else {
		d.NString()
	}
	if err := c.end(); err != nil {
		return err
	}
	c.enc.Raw(`* ID ("name" "Goniec")` + "\r\n")
	return nil
}

// maxIDFields is RFC 2971 §3.3's limit.
const maxIDFields = 30

package imap

import "context"

// state is where a session is (RFC 9051 §3); a set of them says where a command is legal.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated          // and no mailbox selected
	selectedState

	loggedIn = authenticated | selectedState
	anywhere = notAuthenticated | loggedIn
)

// illegal says why a command is not possible in a state.
func (cmd *command) illegal(s state) error {
	switch {
	case cmd.legal == notAuthenticated:
		return bad("%s is possible before login only", cmd.verb)
	case s == notAuthenticated:
		return bad("%s needs a login first", cmd.verb)
	}
	return bad("%s needs a selected mailbox", cmd.verb)
}

// flags of a command.
type flags uint8

const (
	junk     flags = 1 << iota // leads nowhere: MaxJunk in a row
	holds                      // no EXPUNGE may be told while it runs (RFC 9051 §7.5.1)
	quiet                      // nothing is told at its end
	removes                    // it removes messages: they are told at its end in any case
	numbered                   // it is about sequence numbers, which are none under UIDONLY
)

// numbering says what the numbers of a command mean.
type numbering uint8

const (
	byNumber numbering = iota // message sequence numbers
	byUID
)

// command is a line of the table.
type command struct {
	verb  string // "UID FETCH" has two words
	legal state
	flags flags
	run   func(c *conn, ctx context.Context) error
}

// commands is the grammar of a session. A handler reads its arguments up to the end of the command,
// then acts, and returns nil (OK), a *reply, or an error that ends the session.
func commands() []command {
	return []command{
		{"CAPABILITY", anywhere, junk, (*conn).capability},
		{"NOOP", anywhere, junk, (*conn).noop},
		{"LOGOUT", anywhere, quiet, (*conn).logout},
		{"ID", anywhere, junk, (*conn).id},
		{"LANGUAGE", anywhere, junk, (*conn).language},

		{"STARTTLS", notAuthenticated, 0, (*conn).startTLS},
		{"AUTHENTICATE", notAuthenticated, 0, (*conn).authenticate},
		{"LOGIN", notAuthenticated, 0, (*conn).login},

		{"COMPRESS", loggedIn, 0, (*conn).compress},
		{"ENABLE", loggedIn, 0, (*conn).enable},
		{"SELECT", loggedIn, quiet, (*conn).selectBox},
		{"EXAMINE", loggedIn, quiet, (*conn).examine},
		{"CREATE", loggedIn, 0, (*conn).create},
		{"DELETE", loggedIn, 0, (*conn).deleteBox},
		{"RENAME", loggedIn, 0, (*conn).rename},
		{"SUBSCRIBE", loggedIn, 0, (*conn).subscribe},
		{"UNSUBSCRIBE", loggedIn, 0, (*conn).unsubscribe},
		{"LIST", loggedIn, 0, (*conn).list},
		{"LSUB", loggedIn, 0, (*conn).lsub},
		{"UNAUTHENTICATE", loggedIn, quiet, (*conn).unauthenticate},
		{"NAMESPACE", loggedIn, 0, (*conn).namespace},
		{"STATUS", loggedIn, 0, (*conn).status},
		{"APPEND", loggedIn, 0, (*conn).appendMessages},
		{"GETQUOTA", loggedIn, 0, (*conn).getQuota},
		{"GETQUOTAROOT", loggedIn, 0, (*conn).getQuotaRoot},
		{"SETQUOTA", loggedIn, 0, (*conn).setQuota},
		{"GETMETADATA", loggedIn, 0, (*conn).getMetadata},
		{"SETMETADATA", loggedIn, 0, (*conn).setMetadata},
		{"SETACL", loggedIn, 0, (*conn).setACL},
		{"DELETEACL", loggedIn, 0, (*conn).deleteACL},
		{"GETACL", loggedIn, 0, (*conn).getACL},
		{"LISTRIGHTS", loggedIn, 0, (*conn).listRights},
		{"MYRIGHTS", loggedIn, 0, (*conn).myRights},
		{"GETJMAPACCESS", loggedIn, junk, (*conn).getJMAPAccess},
		{"IDLE", loggedIn, 0, (*conn).idle},
		{"NOTIFY", loggedIn, 0, (*conn).notify},
		{"ESEARCH", loggedIn, 0, (*conn).eSearch},

		{"CANCELUPDATE", selectedState, 0, (*conn).cancelUpdate},
		{"CHECK", selectedState, junk, (*conn).noop},
		{"CLOSE", selectedState, quiet, (*conn).closeBox},
		{"UNSELECT", selectedState, quiet, (*conn).unselect},
		{"EXPUNGE", selectedState, removes, (*conn).expunge},
		{"UID EXPUNGE", selectedState, removes, (*conn).uidExpunge},
		{"FETCH", selectedState, holds | numbered, (*conn).fetch},
		{"UID FETCH", selectedState, 0, (*conn).uidFetch},
		{"SEARCH", selectedState, holds | numbered, (*conn).search},
		{"UID SEARCH", selectedState, 0, (*conn).uidSearch},
		{"SORT", selectedState, holds | numbered, (*conn).sort},
		{"UID SORT", selectedState, 0, (*conn).uidSort},
		{"THREAD", selectedState, holds | numbered, (*conn).thread},
		{"UID THREAD", selectedState, 0, (*conn).uidThread},
		{"STORE", selectedState, holds | numbered, (*conn).store},
		{"UID STORE", selectedState, 0, (*conn).uidStore},
		{"REPLACE", selectedState, removes | numbered, (*conn).replace},
		{"UID REPLACE", selectedState, removes, (*conn).uidReplace},
		{"COPY", selectedState, numbered, (*conn).copy},
		{"UID COPY", selectedState, 0, (*conn).uidCopy},
		{"MOVE", selectedState, removes | numbered, (*conn).move},
		{"UID MOVE", selectedState, removes, (*conn).uidMove},
	}
}

// lookup finds the command of a verb in upper case.
func lookup(table []command, verb string) *command {
	for i := range table {
		if table[i].verb == verb {
			return &table[i]
		}
	}
	return nil
}

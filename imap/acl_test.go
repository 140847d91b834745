package imap_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hidingCommands are all commands that name a mailbox; @ is where.
func hidingCommands() []string {
	return []string{
		`SELECT "@"`, `EXAMINE "@"`, `STATUS "@" (MESSAGES)`, `STATUS "@" (UIDNEXT UIDVALIDITY MAILBOXID APPENDLIMIT)`,
		`LIST "" "@"`, `LIST "" ("@") RETURN (STATUS (MESSAGES) MYRIGHTS METADATA (/shared/comment))`, `LIST "" "@/*"`, `LSUB "" "@"`,
		`CREATE "@"`, `CREATE "@" (USE (\Trash))`, `CREATE "@/Below"`, `CREATE "@/Below" (USE (\Trash))`, `CREATE "@/a/b"`,
		`DELETE "@"`, `RENAME "@" Mine2`, `RENAME "@" "@X"`, `RENAME "@" "Other Users/alice/Open/X"`, `RENAME Mine "@"`,
		`RENAME "Other Users/alice/Open/Sub" "@"`, `RENAME "Other Users/alice/Open/Sub" "@/Sub"`,
		`SUBSCRIBE "@"`, `UNSUBSCRIBE "@"`, `GETACL "@"`, `MYRIGHTS "@"`, `LISTRIGHTS "@" bob`, `LISTRIGHTS "@" nobody`, `SETACL "@" bob lr`,
		`SETACL "@" nobody lr`, `SETACL "@" alice lr`, `SETACL "@" -bob l`, `DELETEACL "@" bob`, `DELETEACL "@" nobody`,
		`GETMETADATA "@" /shared/comment`, `GETMETADATA (DEPTH infinity) "@" (/private /shared)`, `SETMETADATA "@" (/shared/comment "x")`,
		`SETMETADATA "@" (/private/comment "x")`, `SETMETADATA "@" (/shared/comment NIL)`,
		`GETQUOTAROOT "@"`, "APPEND \"@\" {3+}\r\nx\r\n", `NOTIFY SET STATUS (mailboxes "@" (MessageNew MessageExpunge))`,
		`NOTIFY SET STATUS (subtree "@" (MessageNew MessageExpunge FlagChange))`, `NOTIFY SET (mailboxes "@" (MailboxName MailboxMetadataChange))`,
		`NOTIFY NONE`, `UID COPY 1 "@"`, `UID COPY 999 "@"`, `UID MOVE 1 "@"`, `UID MOVE 999 "@"`, `COPY 1 "@"`,
		"UID REPLACE 1 \"@\" {3+}\r\nx\r\n",
	}
}

// I13, RFC 4314 §6: by no command can a user who may neither list nor read a mailbox find out that it is there.
func TestI13_HiddenMailboxes(t *testing.T) {
	for _, rights := range []string{"", "p", "s", "w", "t", "e", "pswte"} {
		t.Run(rights, func(t *testing.T) {
			f := newFixture(t)
			f.users.passwords["bob"] = "bobsecret"
			f.users.passwords["carol"] = "pw"
			f.share("")
			f.MaxErrors = -1
			f.deliver(t, "bob", "Mine", plainMail)
			for _, folder := range []string{"Open", "Open/Sub", "Hidden", "Hidden/Below"} {
				f.deliver(t, "alice", folder, plainMail)
			}
			f.deliver(t, "carol", "Hidden", plainMail)
			addr := f.start(t)
			alice := login(t, addr)
			alice.ok("SETACL Open bob lrswipkxte")
			alice.ok("SETACL Open/Sub bob lrswipkxte")
			alice.ok(`SETMETADATA Hidden (/shared/comment "secret")`)
			if rights != "" {
				alice.ok("SETACL Hidden bob " + rights)
				alice.ok("SETACL Hidden/Below bob " + rights)
			}
			bob := dial(t, addr)
			bob.ok("LOGIN bob bobsecret")
			hidden := []string{"alice/Hidden", "alice/Hidden/Below", "carol/Hidden", "carol/Nope"}
			missing := []string{"alice/Nope", "alice/Nope/Below", "carol/Nope", "nobody/Nope"} // nobody shares what is carol's
			for i := range hidden {
				for _, cmd := range hidingCommands() {
					ask := func(name string) string {
						if strings.HasPrefix(cmd, "UID ") || strings.HasPrefix(cmd, "COPY ") {
							bob.ok("SELECT Mine")
						}
						untagged, tagged := bob.do(strings.ReplaceAll(cmd, "@", "Other Users/"+name))
						bob.do("UNSELECT")
						return strings.ReplaceAll(strings.Join(untagged, "")+tagged, name, "NAME")
					}
					require.Equal(t, ask(missing[i]), ask(hidden[i]), "%s of %s", cmd, hidden[i])
				}
			}
		})
	}
}

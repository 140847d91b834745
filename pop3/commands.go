package pop3

import (
	"context"
	"strings"
)

// state is where a session is (RFC 1939 §3); a set of them says where a command is legal.
type state uint8

const (
	authorization state = 1 << iota
	transaction

	anywhere = authorization | transaction
)

// flags of a command.
type flags uint8

const (
	junk   flags = 1 << iota // leads nowhere: MaxJunk in a row
	noArgs                   // takes no argument
	secret                   // its argument is never logged
)

// command is a line of the table.
type command struct {
	verb  string
	legal state
	flags flags
	run   func(c *conn, ctx context.Context, arg string) error
}

// commands is the grammar of a session. It is handed over as an argument where a handler needs it.
func commands() []command {
	return []command{
		{"CAPA", anywhere, junk | noArgs, (*conn).capa},
		{"USER", authorization, 0, (*conn).user},
		{"PASS", authorization, secret, (*conn).pass},
		{"AUTH", authorization, secret, (*conn).auth},
		{"STLS", authorization, noArgs, (*conn).stls},
		{"UTF8", authorization, noArgs, (*conn).utf8},
		{"LANG", anywhere, junk, (*conn).lang},
		{"STAT", transaction, noArgs, (*conn).stat},
		{"LIST", transaction, 0, (*conn).list},
		{"UIDL", transaction, 0, (*conn).uidl},
		{"RETR", transaction, 0, (*conn).retr},
		{"TOP", transaction, 0, (*conn).top},
		{"DELE", transaction, 0, (*conn).dele},
		{"RSET", transaction, junk | noArgs, (*conn).rset},
		{"NOOP", anywhere, junk | noArgs, (*conn).noop},
		{"QUIT", anywhere, noArgs, (*conn).quit},
	}
}

// lookup finds the command of a line, and its argument. RFC 2449 §4: keywords of any case.
func lookup(table []command, line string) (cmd *command, arg string) {
	verb, arg, _ := strings.Cut(line, " ")
	for i := range table {
		if strings.EqualFold(table[i].verb, verb) {
			return &table[i], arg
		}
	}
	return nil, ""
}

package smtp

import (
	"bytes"

	"github.com/goniec-mail/goniec"
)

// state is where a session stands, and a set of such.
type state uint8

const (
	fresh    state = 1 << iota // no EHLO or HELO yet
	greeted                    // between transactions
	inMail                     // MAIL was accepted
	inRcpt                     // and a recipient
	inChunks                   // and a BDAT chunk that was not the last

	anytime = fresh | greeted | inMail | inRcpt
	always  = anytime | inChunks
)

// flags say what the loop has to see to.
type flags uint8

const (
	noArg   flags = 1 << iota // takes no argument
	last                      // must be the last of a pipelined group (RFC 2920 §3.1)
	junk                      // leads nowhere: limited
	chunky                    // octets follow even if the command is refused
	grouped                   // may follow a command of its transaction that was refused, when pipelined
)

// command is a line of the table.
type command struct {
	verb   string
	states state // where it is in order
	flags  flags
	// run does the work. An error is the reply.
	run func(c *conn, arg string) (reply, error)
}

// The grammar of a session. Greetings stand here under SMTP's verbs, whatever the dialect's are.
var commands = [...]command{
	{"EHLO", anytime, last, (*conn).ehlo},
	{"HELO", anytime, last, (*conn).heloBasic},
	{"MAIL", greeted, 0, (*conn).mail},
	{"RCPT", inMail | inRcpt, grouped, (*conn).rcptTo},
	{"DATA", inMail | inRcpt, noArg | last | grouped, (*conn).data},
	{"BDAT", inRcpt | inChunks, chunky | grouped, (*conn).bdat},
	{"RSET", always, noArg | junk, (*conn).rset},
	{"NOOP", always, junk, (*conn).noop},
	{"VRFY", anytime, junk, (*conn).vrfy},
	{"EXPN", anytime, junk, (*conn).expn},
	{"HELP", always, junk, (*conn).help},
	{"STARTTLS", greeted, noArg | last, (*conn).startTLS},
	{"AUTH", greeted, last, (*conn).auth},
	{"XCLIENT", fresh | greeted, last, (*conn).xclient},
	{"XFORWARD", greeted, 0, (*conn).xforward},
	{"QUIT", always, noArg | last, (*conn).quitCmd},
}

// verbs are what HELP tells: those of RFC 5321 and of the extensions offered to everybody.
const verbs = "MAIL RCPT DATA BDAT RSET NOOP VRFY HELP STARTTLS AUTH QUIT"

// find returns the table's line for a verb, nil when there is none.
func find(verb string) *command {
	for i := range commands {
		if commands[i].verb == verb {
			return &commands[i]
		}
	}
	return nil
}

// maxVerb is the longest verb in the table.
const maxVerb = len("STARTTLS")

// cutVerb splits a line into verb, in upper case, and argument. ok is false for what can be no verb.
func cutVerb(line []byte, buf *[maxVerb]byte) (verb, arg []byte, ok bool) {
	word, arg, _ := bytes.Cut(line, spaceBytes)
	if len(word) == 0 || len(word) > maxVerb {
		return nil, nil, false
	}
	for i, c := range word {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(word)], bytes.TrimRight(arg, " "), true
}

var spaceBytes = []byte(" ")

// execute runs one command line: look-up, state, limits, reply.
func (c *conn) execute(line []byte) {
	var buf [maxVerb]byte
	verb, arg, ok := cutVerb(line, &buf)
	c.traceIn(verb, line)
	if c.state == fresh && isForeign(line) {
		c.refuse(goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "this is no "+c.set.dialect.Extended+" client"))
		return
	}
	var cmd *command
	if ok {
		cmd = c.lookUp(string(verb))
	}
	if cmd == nil {
		c.refuse(c.fault(500, goniec.EnhancedCode{5, 5, 2}, "command not recognised"))
		return
	}
	if err := c.permit(cmd, line, arg); err != nil {
		c.refuse(err)
		return
	}
	text, err := cmd.run(c, string(arg))
	if err != nil {
		c.refuse(err)
		return
	}
	c.say(text)
}

// lookUp finds a command under its name in the dialect.
func (c *conn) lookUp(verb string) *command {
	if len(verb) == 4 && verb[2:] == "LO" {
		verb = c.set.dialect.translate(verb)
	}
	return find(verb)
}

// permit applies what the table says. What follows a command that must be the last of its group could have been put in by somebody
// else, or be a message sent without waiting for 354: the session is out of step.
func (c *conn) permit(cmd *command, line, arg []byte) error {
	switch {
	case cmd.flags&last != 0 && c.r.Buffered() > 0 && c.again == "":
		return c.outOfStep(c.set.dialect.spoken(cmd.verb))
	case len(line) > maxLine-2 && cmd.verb != "AUTH":
		return c.fault(500, goniec.EnhancedCode{5, 5, 2}, "command line is too long")
	case cmd.flags&noArg != 0 && len(arg) > 0:
		return c.fault(501, goniec.EnhancedCode{5, 5, 4}, cmd.verb+" takes no argument")
	case c.state&cmd.states == 0 && cmd.flags&chunky == 0:
		return c.outOfOrder(cmd)
	case cmd.flags&junk != 0:
		return c.countJunk()
	}
	return nil
}

// outOfStep ends the connection: whatever was sent behind the command is not run.
func (c *conn) outOfStep(verb string) error {
	c.log.Warn("input behind a command that must come last", "command", verb, "octets", c.r.Buffered())
	c.closing = true
	return goniec.NewStatus(554, goniec.EnhancedCode{5, 5, 0}, "unexpected input behind "+verb)
}

func (c *conn) countJunk() error {
	c.junk++
	if !over(c.junk, c.relaxed(c.set.MaxJunk, stressJunk)) {
		return nil
	}
	return goniec.NewStatus(421, goniec.EnhancedCode{4, 7, 0}, "too many commands without a message")
}

// outOfOrder refuses a command that is not possible in this state. A client that pipelines can not know that MAIL or a chunk was
// refused when it sends what belongs to them: that is no error of its own, and limited like refused recipients.
func (c *conn) outOfOrder(cmd *command) error {
	if c.failed && cmd.flags&grouped != 0 {
		return c.countRefused(goniec.NewStatus(503, goniec.EnhancedCode{5, 5, 1}, c.expected(cmd)))
	}
	return c.fault(503, goniec.EnhancedCode{5, 5, 1}, c.expected(cmd))
}

// expected says what was expected instead.
func (c *conn) expected(cmd *command) string {
	switch {
	case c.state == fresh:
		return "send " + c.set.dialect.Extended + " first"
	case c.state == inChunks:
		return "a message is being sent by BDAT"
	case cmd.verb == "BDAT":
		return "send MAIL and RCPT first"
	case cmd.flags&grouped != 0:
		return "send MAIL first"
	case cmd.verb == "MAIL":
		return "a transaction is open already"
	}
	return cmd.verb + " is not possible within a transaction"
}

// isForeign recognises other protocols at the first line: browsers led to our port (ALPACA), header fields of a request.
func isForeign(line []byte) bool {
	word, _, _ := bytes.Cut(line, spaceBytes)
	for _, verb := range [...]string{"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "PROXY", "SSH-2.0"} {
		if string(word) == verb {
			return true
		}
	}
	return bytes.HasSuffix(word, []byte(":"))
}

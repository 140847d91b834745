package imap

import "strconv"

// SAVELIMIT (RFC 9738): how many messages one COPY or APPEND may have. Both are all or nothing, so that a command with more is
// refused, with the response code MESSAGELIMIT, and nothing is stored.

// saveLimited is a refusal where a command has more messages than Server.SaveLimit; nil where it has not.
func (c *conn) saveLimited(messages int) error {
	if c.SaveLimit <= 0 || messages <= c.SaveLimit {
		return nil
	}
	return no("MESSAGELIMIT "+strconv.Itoa(c.SaveLimit), "too many messages in one command")
}

// appendLimit is how many messages one APPEND may have.
func (c *conn) appendLimit() int {
	if c.SaveLimit > 0 {
		return c.SaveLimit
	}
	return maxMultiAppend
}

package webhook

import "time"

// Version is the version of the document.
const Version = 1

// Message is the JSON document: what receivers in Go unmarshal it into. Members without omitempty
// are always there; lists may be empty and are never null.
type Message struct {
	Version  int       `json:"version"`
	ID       string    `json:"id"` // of the envelope; a new one at each attempt of the sender
	Received time.Time `json:"received"`
	Size     int64     `json:"size"` // octets of the message

	Envelope Envelope `json:"envelope"`
	Origin   Origin   `json:"origin"`

	Subject   string     `json:"subject"`    // decoded, on one line
	MessageID string     `json:"message_id"` // without brackets, "" = none
	Date      *time.Time `json:"date"`       // null = none, or not a date
	From      []Mailbox  `json:"from"`
	To        []Mailbox  `json:"to"`
	Cc        []Mailbox  `json:"cc"`
	ReplyTo   []Mailbox  `json:"reply_to"` // that of From where there is no such field

	Headers []Header `json:"headers"` // all fields, in their order

	Text        string       `json:"text"` // UTF-8 with the line ends of the message, "" = none
	HTML        string       `json:"html"`
	Attachments []Attachment `json:"attachments"`

	Warnings  []string `json:"warnings"`      // what was odd about the message
	Truncated bool     `json:"truncated"`     // it has more parts or headers than were looked at
	Raw       []byte   `json:"raw,omitempty"` // the message itself in base64, with Hook.Raw
}

// Envelope is the SMTP transaction.
type Envelope struct {
	From       string   `json:"from"` // "" = the null reverse-path of bounces
	Recipients []string `json:"recipients"`
	Body       string   `json:"body"`     // 7BIT, 8BITMIME or BINARYMIME
	SMTPUTF8   bool     `json:"smtputf8"` // RFC 6531
	EnvID      string   `json:"envid,omitempty"`
}

// Origin is where the message came from.
type Origin struct {
	Remote   string `json:"remote"` // "192.0.2.1:4711", "" = unknown
	Helo     string `json:"helo"`   // what the client called itself
	RDNS     string `json:"rdns"`   // its confirmed name, "" = none, or not asked for
	Protocol string `json:"protocol"`
	TLS      string `json:"tls"`  // "TLS1.3", "" = clear text
	User     string `json:"user"` // who logged in, "" = nobody
}

// Mailbox is one address of a header field.
type Mailbox struct {
	Name    string `json:"name"` // decoded; carries no structure and proves nothing
	Address string `json:"address"`
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"`  // as it is written; "" = a line that is no field
	Value string `json:"value"` // unfolded, not decoded
	Text  string `json:"text"`  // decoded, for display
}

// Attachment is a part of the message.
type Attachment struct {
	Part        string `json:"part"`         // its number as in IMAP, "2.1"
	Filename    string `json:"filename"`     // safe to create, "" = none
	RawFilename string `json:"raw_filename"` // as the sender wrote it
	Type        string `json:"type"`         // "application/pdf"
	Charset     string `json:"charset,omitempty"`
	Disposition string `json:"disposition"`          // "attachment", "inline", ""
	ContentID   string `json:"content_id,omitempty"` // without brackets: what HTML names as "cid:…"
	Content     []byte `json:"content"`              // base64; without its transfer encoding
	Size        int64  `json:"size"`                 // octets of content
}

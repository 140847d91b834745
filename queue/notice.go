package queue

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/mime"
)

// Notices are classes of events of which the postmaster is told, as in Postfix's notify_classes.
type Notices uint8

// Classes of notices. The Queue makes the first two and NoticeResource and NoticeSoftware; of policy and protocol
// errors, which others see, Notice tells.
const (
	NoticeBounce   Notices = 1 << iota // a message was returned to its sender
	NoticeDelay                        // a sender was told of a delay
	NoticePolicy                       // a client was refused by policy
	NoticeProtocol                     // a client or server broke the protocol
	NoticeResource                     // mail was refused or not recorded for lack of space or a failing disk
	NoticeSoftware                     // a panic, or another bug
)

var noticeNames = [...]string{"bounce", "delay", "policy", "protocol", "resource", "software"}

// String returns the names of the classes: "bounce", "resource, software".
func (n Notices) String() string {
	var names []string
	for i, name := range noticeNames {
		if n&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// MarshalText implements encoding.TextMarshaler; it is String.
func (n Notices) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: it reads names with commas between, as in flags and configuration files. No name at
// all is no class.
func (n *Notices) UnmarshalText(text []byte) error {
	var all Notices
	for name := range strings.SplitSeq(string(text), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		i := slices.Index(noticeNames[:], name)
		if i < 0 {
			return fmt.Errorf("no class of notices %q; there are %s", name, strings.Join(noticeNames[:], ", "))
		}
		all |= 1 << i
	}
	*n = all
	return nil
}

const (
	// noticeEvery is how often a class is told of; what happens meanwhile is counted and told together.
	noticeEvery = 10 * time.Minute
	// noticeLines is how many events one notice shows.
	noticeLines = 50
)

// noticeState gathers events until the next notice.
type noticeState struct {
	mu      sync.Mutex
	classes [6]noticeClass
}

type noticeClass struct {
	last  time.Time // when the last one was sent
	lines []string
	more  int // events beyond lines
}

// Notice tells Postmaster of an event, if its class is on in Notices: at once, or together with others when
// that class was told of in the last ten minutes. text is one line. It does not wait. Notices are sent while Run runs; they are
// never about notices, wait for the next ten minutes when they can not be queued, and are lost with the process when they were not yet
// sent.
func (q *Queue) Notice(class Notices, text string) {
	if q.Postmaster.IsZero() || q.Notices&class == 0 {
		return
	}
	q.init()
	n := &q.notes
	n.mu.Lock()
	for i := range n.classes {
		c := &n.classes[i]
		switch {
		case class&(1<<i) == 0:
		case len(c.lines) < noticeLines:
			c.lines = append(c.lines, q.wall().UTC().Format("2 Jan 15:04:05 ")+oneLine(text))
		default:
			c.more++
		}
	}
	n.mu.Unlock()
	q.sched.poke()
}

// sendNotices sends what is due, and tells when more will be.
func (q *Queue) sendNotices(now time.Time) (next time.Time) {
	n := &q.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.classes {
		c := &n.classes[i]
		if len(c.lines) == 0 {
			continue
		}
		if due := c.last.Add(noticeEvery); !c.last.IsZero() && due.After(now) {
			next = earliest(next, due)
			continue
		}
		class, lines, more := Notices(1<<i), c.lines, c.more
		*c = noticeClass{last: now}
		q.sched.sweeper.Go(func() { q.sendNotice(class, lines, more) })
	}
	return next
}

// sendNotice queues one notice.
func (q *Queue) sendNotice(class Notices, lines []string, more int) {
	text := fmt.Sprintf("This is the mail system at host %s.\n\nEvents of class %s:\n\n%s\n", q.o.host, class, strings.Join(lines, "\n"))
	if more > 0 {
		text += fmt.Sprintf("... and %d more, which the log shows.\n", more)
	}
	msg, err := q.writeNotice(class, text)
	if err == nil {
		env := &goniec.Envelope{ID: goniec.NewID(), To: goniec.Recipients(q.Postmaster), Received: q.wall(), Size: int64(len(msg))}
		if !isASCII(msg) {
			env.Body = goniec.Body8BitMIME
		}
		m := Message{Envelope: env, Groups: q.groups(env, nil), Body: bytes.NewReader(msg), Kind: KindNotice, Since: q.now()}
		if _, err = q.Store.Put(q.sched.ctx, m); err == nil {
			q.sched.mark(m.Groups[0].Dest, false)
			q.sched.poke()
		}
	}
	if err != nil {
		q.o.logger.Error("queue: notice to postmaster put off", "class", class.String(), "err", err)
		q.notes.putBack(class, lines, more)
	}
}

// putBack keeps what could not be queued, for want of space perhaps, for the next notice of the class.
func (n *noticeState) putBack(class Notices, lines []string, more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &n.classes[bits.TrailingZeros8(uint8(class))]
	all := append(lines, c.lines...)
	c.lines = all[:min(len(all), noticeLines)]
	c.more += more + len(all) - len(c.lines)
}

func (q *Queue) writeNotice(class Notices, text string) ([]byte, error) {
	auto, err := mime.NewField("Auto-Submitted", "auto-generated") // RFC 3834 §5.1
	if err != nil {
		return nil, err
	}
	to := mime.Address{Local: q.Postmaster.Local(), Domain: q.Postmaster.Domain()}
	if to.Domain == "" {
		to.Domain = q.o.host
	}
	m := &mime.Message{
		From: mime.Addresses{{Name: "Mail Delivery System", Local: "MAILER-DAEMON", Domain: q.o.host}}, To: mime.Addresses{to},
		Subject: "Postmaster notice: " + class.String(), Date: q.wall(), Fields: []mime.Field{auto}, Text: text, Now: q.wall,
	}
	var out bytes.Buffer
	_, err = m.WriteTo(&out)
	return out.Bytes(), err
}

// noteOutcome tells of bounces and delays of mail from outside; of reports and notices never.
func (a *attempt) noteOutcome(o *outcome) {
	if a.l.Kind != KindMail || o.kind != Failed && o.kind != Expired {
		return
	}
	a.q.Notice(NoticeBounce, fmt.Sprintf("%s from %s to %s: %s", a.l.ID, a.l.Envelope.From.Path(), o.to.Address.Path(), publicReason(o.reason)))
}

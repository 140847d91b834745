package maildir

import (
	"time"

	"github.com/goniec-mail/goniec/faultfs"
	"github.com/goniec-mail/goniec/mailbox"
)

// state is what is known of a folder's messages. folder.lock guards it.
type state struct {
	loaded   bool
	loads    int // how often everything was read
	t        table
	list     listFile
	keywords keywordFile

	listed     map[string]uint32 // lines of the list whose file was not seen yet, by its base name
	listedNews bool              // the index does not have them so
	listedAt   time.Time         // when it got them, where they were read from it

	seenNew, seenCur dirSeen
	curListed        time.Time // when cur/ was last listed
	waiting          bool      // there are messages for which the disk had no room: look again

	modSeq   uint64 // the highest given
	horizon  uint64
	expunged []expunge // ascending modSeq
	uidNext  uint32    // above every UID given, by us or in the list

	floor  floor
	counts *counts // nil: to be counted
}

// expunge is a UID that went at a mod-sequence.
type expunge struct {
	modSeq uint64
	uid    uint32
}

// historyLimit bounds the expunges that are remembered; beyond it the horizon rises.
const historyLimit = 1 << 16

type counts struct {
	unseen, deleted int
	size            int64 // -1 = not known
}

// nextModSeq returns a new mod-sequence: the microsecond, or one more than the last where that
// is higher. So what several processes give to one folder stays in step.
func (f *folder) nextModSeq() uint64 {
	s := &f.state
	s.modSeq = max(s.modSeq+1, uint64(max(f.acct.store.now().UnixMicro(), 1)))
	return s.modSeq
}

// forget takes ascending UIDs, gone at mod-sequence m, out of the table.
func (s *state) forget(m uint64, uids []uint32) {
	s.counts = nil
	s.noteExpunged(m, uids)
	s.t.remove(func(_ int, r *rec) bool {
		for len(uids) > 0 && uids[0] < r.uid {
			uids = uids[1:]
		}
		return len(uids) > 0 && uids[0] == r.uid
	})
}

// noteExpunged remembers UIDs that went at mod-sequence m.
func (s *state) noteExpunged(m uint64, uids []uint32) {
	for _, u := range uids {
		s.expunged = append(s.expunged, expunge{m, u})
	}
	if over := len(s.expunged) - historyLimit; over > 0 {
		// A quarter more goes, so that this does not happen at each expunge. Those of one
		// mod-sequence go together.
		over = min(over+historyLimit/4, len(s.expunged))
		s.horizon = s.expunged[over-1].modSeq
		for over < len(s.expunged) && s.expunged[over].modSeq == s.horizon {
			over++
		}
		s.expunged = append([]expunge(nil), s.expunged[over:]...)
	}
}

// count returns the counts of the present messages.
func (s *state) count() counts {
	if s.counts != nil {
		return *s.counts
	}
	var c counts
	for i := range s.t.recs {
		c.add(&s.t.recs[i])
	}
	s.counts = &c
	return c
}

// add counts one more message.
func (c *counts) add(r *rec) {
	if r.flags&flagBits(mailbox.Seen) == 0 {
		c.unseen++
	}
	if r.flags&flagBits(mailbox.Deleted) != 0 {
		c.deleted++
	}
	if n := r.getSize(); n < 0 {
		c.size = -1
	} else if c.size >= 0 {
		c.size += n
	}
}

// dirSeen says when a directory was last listed.
type dirSeen struct {
	mtime time.Time // of the directory, before it was listed
	at    time.Time // when that was
}

const (
	// settleTime is how old a directory's time must be when the directory is listed, for the list to
	// be good: the time may be as coarse as that, and a later change might not show in it. Where times
	// have parts of a second they are not coarser than a tick of the system's clock.
	settleTime     = 2 * time.Second
	settleTimeFine = 100 * time.Millisecond

	// Until then it is listed again all the same, so that changes of our own do not hide others for long: cur/ of at most
	// cheapFolder messages after cheapPause, a larger one after dearPause.
	cheapFolder = 2000
	cheapPause  = 100 * time.Millisecond
	dearPause   = 30 * time.Second
)

// pause is how long cur/ need not be listed again though its time has not settled.
func (s *state) pause() time.Duration {
	if len(s.t.recs) <= cheapFolder {
		return cheapPause
	}
	return dearPause
}

// stale reports whether a directory must be listed again, now that it has these times; it was listed last some
// time ago.
func (d *dirSeen) stale(info faultfs.Info, now time.Time, ago, pause time.Duration) bool {
	if !info.ModTime.Equal(d.mtime) {
		return true
	}
	settle := settleTime
	if d.mtime.Nanosecond() != 0 {
		settle = settleTimeFine
	}
	return d.at.Sub(d.mtime) < settle && (now.Sub(d.mtime) >= settle || ago >= pause)
}

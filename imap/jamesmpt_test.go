package imap_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// foreignScript is a dialogue of Apache James: "C:" lines, "S:" lines with regular expressions for its own wording,
// SUB { } for lines in any order. We compare what an RFC fixes: the status of tagged responses, and which untagged data come.
type foreignScript struct {
	t     *testing.T
	addr  string
	pre   []string // said first in each session
	conns map[string]*scriptConn
	now   *scriptConn
	want  []string // kinds expected since the last line sent
	diffs []string
	last  string // command
}

type scriptConn struct {
	net.Conn
	r *bufio.Reader
}

var (
	untaggedLine = regexp.MustCompile(`^\* (\d+ )?([A-Z]+)(.*)`)
	taggedLine   = regexp.MustCompile(`^([A-Za-z0-9]+) (OK|NO|BAD)\b`)
	dotted       = regexp.MustCompile(`(?i)^\S+ (CREATE|LIST|LSUB|XLIST|RENAME|DELETE|SELECT|EXAMINE|STATUS|SUBSCRIBE|UNSUBSCRIBE|GETQUOTAROOT|APPEND) `)
)

// kind reduces a line to what it is. "" is nothing that counts: wording, and what servers may say or not.
func kind(line string) string {
	if m := taggedLine.FindStringSubmatch(line); m != nil {
		return m[1] + " " + m[2]
	}
	m := untaggedLine.FindStringSubmatch(line)
	switch {
	case strings.HasPrefix(line, "+"):
		return "+"
	case m == nil, m[2] == "OK", m[2] == "FLAGS", m[2] == "RECENT", m[2] == "CAPABILITY", m[2] == "ID", m[2] == "NO", m[2] == "BAD":
		return ""
	case m[2] == "SEARCH":
		return strings.TrimSpace("* SEARCH " + strings.Join(strings.Fields(m[3]), " "))
	}
	if m[2] == "EXPUNGE" { // in which order is the server's choice, and the numbers follow from it
		return "* EXPUNGE"
	}
	return "* " + m[1] + m[2]
}

// unescape makes a line of a regular expression that has no variable part to speak of.
var unescape = strings.NewReplacer(`\*`, "*", `\+`, "+", `\(`, "(", `\)`, ")", `\[`, "[", `\]`, "]", `\\`, `\`, `\"`, `"`)

func (s *foreignScript) session(name string) {
	if c := s.conns[name]; c != nil {
		s.now = c
		return
	}
	nc, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	s.now = &scriptConn{nc, bufio.NewReader(nc)}
	s.conns[name] = s.now
	s.read()
	for _, line := range s.pre {
		s.send(line)
		s.until(strings.Fields(line)[0])
	}
}

func (s *foreignScript) send(line string) {
	_ = s.now.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(s.now, line+"\r\n")
}

// read reads a line, whose literals are left to come as lines of their own.
func (s *foreignScript) read() (string, error) {
	l, err := s.now.r.ReadString('\n')
	return strings.TrimRight(l, "\r\n"), err
}

// until reads up to the tagged response of tag, a continuation request, or the end.
func (s *foreignScript) until(tag string) (kinds []string) {
	for {
		l, err := s.read()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return append(kinds, "timeout")
			}
			return append(kinds, "<EOF>")
		}
		k := kind(l)
		if k != "" {
			kinds = append(kinds, k)
		}
		if k == "+" || strings.HasPrefix(l, tag+" ") && taggedLine.MatchString(l) {
			return kinds
		}
		if n, ok := literalSize(l); ok {
			_, _ = io.CopyN(io.Discard, s.now.r, n)
		}
	}
}

func literalSize(l string) (int64, bool) {
	i := strings.LastIndexByte(l, '{')
	if i < 0 || !strings.HasSuffix(l, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(l[i+1:len(l)-1], 10, 64)
	return n, err == nil
}

// settle compares what was expected since the last line sent with what comes.
func (s *foreignScript) settle() {
	if len(s.want) == 0 {
		return
	}
	tag := strings.Fields(s.want[len(s.want)-1] + " ?")[0]
	got := s.until(tag)
	s.want, got = unordered(s.want), unordered(got)
	if !slices.Equal(s.want, got) {
		s.diffs = append(s.diffs, fmt.Sprintf("%.70s: want %q, got %q", s.last, s.want, got))
	}
	s.want = nil
}

// unordered drops what may come in several pieces, and what follows from BYE.
func unordered(kinds []string) []string {
	slices.Sort(kinds)
	if slices.Contains(kinds, "* BYE") {
		return []string{"* BYE"}
	}
	out := kinds[:0]
	for i, k := range kinds {
		if i == 0 || k != kinds[i-1] || !strings.HasSuffix(k, "FETCH") {
			out = append(out, k)
		}
	}
	return out
}

func (s *foreignScript) play(text string) {
	s.session("1")
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "SESSION: "):
			s.settle()
			s.session(strings.TrimPrefix(line, "SESSION: "))
		case line == "REINIT":
			s.settle()
			s.conns = map[string]*scriptConn{}
			s.session("1")
		case strings.HasPrefix(line, "C:"):
			s.settle()
			line = strings.TrimPrefix(line[2:], " ")
			if dotted.MatchString(line) {
				line = strings.ReplaceAll(line, ".", "/") // the delimiter between levels
			}
			line = s.repair(line, lines[i+1:])
			s.last = line
			s.send(line)
		case strings.HasPrefix(line, "S: "):
			if k := kind(unescape.Replace(line[3:])); k != "" {
				s.want = append(s.want, k)
			}
		}
	}
	s.settle()
}

var (
	appended = regexp.MustCompile(`^(\S+ (?:APPEND|REPLACE|UID REPLACE) .*\{)(\d+)(\+\})$`)
	twoSP    = regexp.MustCompile(`^(\S+ STORE \S+)  `)
)

// repair mends what is no question to us: two spaces before FLAGS, and sizes of literals that are a little off.
func (s *foreignScript) repair(line string, rest []string) string {
	m := appended.FindStringSubmatch(line)
	if m == nil {
		return twoSP.ReplaceAllString(line, "$1 ")
	}
	size := -2 // the last CRLF ends the command
	for _, l := range rest {
		if !strings.HasPrefix(l, "C:") {
			break
		}
		size += len(strings.TrimPrefix(l[2:], " ")) + 2
	}
	if n, _ := strconv.Atoi(m[2]); n != size && n-20 < size && size < n+20 {
		return m[1] + strconv.Itoa(size) + m[3]
	}
	return line
}

// playJames plays a file against a server with its own state.
func playJames(t *testing.T, file string, state jamesState) []string {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	f := newFixture(t)
	f.users.passwords = map[string]string{"imapuser": "password"}
	f.MaxConnsPerIP = -1
	if filepath.Base(file) == "LoginThreeStrikes.test" {
		f.MaxErrors = 2 // as James has it: the third ends the session
	}
	s := &foreignScript{t: t, addr: f.start(t), conns: map[string]*scriptConn{}}
	switch state {
	case inAuthenticated:
		s.pre = []string{"p1 LOGIN imapuser password"}
	case inSelected:
		for range 4 {
			f.deliver(t, "imapuser", "selected", jamesMail)
		}
		s.pre = []string{"p1 LOGIN imapuser password", "p2 SELECT selected"}
	}
	s.play(string(text))
	return s.diffs
}

type jamesState string

const (
	notLoggedIn     jamesState = "not logged in"
	inAuthenticated jamesState = "logged in"
	inSelected      jamesState = "selected"
)

const jamesMail = "Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\nFrom: Fred Foobar <foobar@Blurdybloop.COM>\r\nSubject: Test 01\r\nTo: mooch@owatagu.siam.edu\r\nMessage-Id: <B27397-0100000@Blurdybloop.COM>\r\nMIME-Version: 1.0\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\nTest 01\r\n\r\n"

// jamesAdapted is a file of which some answers differ.
type jamesAdapted struct {
	name  string
	state jamesState
	diffs int
	why   string
}

// What comes of each file: those that pass as they are, by the state they begin in; those in which a number of answers differ,
// and why ours are right or as good; and those that are not about us.
func jamesFiles() (pass map[jamesState]string, adapted []jamesAdapted, not map[string]string) {
	pass = map[jamesState]string{
		notLoggedIn: `Authenticate BadTag BogusCommand Capability IllegalTag JustTag Login LoginThreeStrikes Logout NoCommand NoTag Noop ValidNonAuthenticated Welcome`,
		inAuthenticated: `Append AppendExpunge AppendSelectInbox AppendToSelected BodyPartialFetch ComplexMail ConcurrentAppendUIDToMSNMapping
			ConcurrentCrossExpunge ConcurrentDeleteSelected ConcurrentExpungeResponse ConcurrentExpungeUIDToMSNMapping ConcurrentFetchResponse
			CondstoreDisable CondstoreEnable Delete DeleteInbox ExamineEmpty ExamineReadOnly ExpungeBasics
			FetchHeaderFields FetchHeaderFieldsNot FetchMultipartAlternative FetchMultipartMixed FetchMultipartMixedComplex FetchRFC822Mixed
			FetchStructureEmbedded HeaderPartialFetch InboxAddMessages InboxDeleteMessages ListMailboxes ListNamespace ListOnly
			MetadataWithBinaryData MimePartialFetch Namespace PeekMultipartAlternative PeekMultipartMixed PeekMultipartMixedComplex
			SearchOptionAggregations SelectAppend SelectEmpty SelectUnseen SelectedStateCleanup SelectedStateSetup StringArgs TextPartialFetch
			UidSearchAtomsIndexer UserFlagsSupport`,
		inSelected: `Check Copy Expunge FetchBodyNoSection FetchEnvelope FetchInternalDate FetchMultipleMessages FetchNILSaveDate FetchPeek FetchRFC822
			FetchRFC822Header FetchRFC822Text FetchSaveDate FetchText Move ObjectId RenameInbox RenameSelected Search SearchSaveDate Store Uid`,
	}
	adapted = []jamesAdapted{
		{"AppendExamineInbox", inAuthenticated, 1, `renaming INBOX moves its messages: those who have it selected are told`},
		{"ConcurrentExistsResponse", inAuthenticated, 2, `a number that the client was not told yet is BAD`},
		{"ConcurrentRenameSelected", inAuthenticated, 3, `a session whose folder is renamed ends with BYE (RFC 2180 §3.3)`},
		{"ConcurrentRenameSelectedSub", inAuthenticated, 2, `a session whose folder is renamed ends with BYE (RFC 2180 §3.3)`},
		{"Create", inAuthenticated, 9, `names with an encoded delimiter, and "//"`},
		{"FetchAllEmptyMailbox", inAuthenticated, 3, `RFC 9051 §9: "*" in an empty mailbox is BAD`},
		{"FetchMultipartBodyStructure", inAuthenticated, 1, `an empty list of items is BAD`},
		{"FetchPartial", inSelected, 1, `2:5 of 4 messages is BAD`},
		{"FetchSimpleBodyStructure", inAuthenticated, 1, `an empty list of items is BAD`},
		{"FetchSingleMessage", inSelected, 3, `a macro in a list is BAD (RFC 9051 §6.4.5)`},
		{"FetchStructureComplex", inAuthenticated, 1, `an empty list of items is BAD`},
		{"Id", notLoggedIn, 1, `commas between the strings are BAD`},
		{"ListPercentWildcard", inAuthenticated, 3, `superior names that were not made can not be deleted`},
		{"ListSubscribed", inAuthenticated, 10, `INBOX is not subscribed from the beginning`},
		{"ListWithPercentWildcardInMailboxName", inAuthenticated, 10, `names with * or % can not be used`},
		{"Metadata", inAuthenticated, 12, `options behind the mailbox name, GETMETADATA without entries; private and shared in other places`},
		{"Recent", inAuthenticated, 1, `\Recent is given up (RFC 9051)`},
		{"Rename", inAuthenticated, 1, `an empty name: the answers of James stop there`},
		{"RenameHierarchy", inAuthenticated, 6, `superior names without folder are listed as such`},
		{"Replace", inAuthenticated, 2, `EXPUNGE comes before EXISTS`},
		{"SearchAtoms", inAuthenticated, 4, `\Recent is given up; BODY "the" is in no text part of message 5`},
		{"SearchCombinations", inAuthenticated, 5, `a space behind a parenthesis is BAD`},
		{"SearchOptionSave", inAuthenticated, 1, `RFC 5182 §2.1: SAVE alone has no untagged response`},
		{"Status", inAuthenticated, 5, `superfluous blanks are BAD`},
		{"Subscribe", inAuthenticated, 6, `INBOX is not subscribed from the beginning; blanks at the end of a command are BAD`},
		{"UidSearchAtoms", inAuthenticated, 4, `\Recent is given up; BODY "the" is in no text part of message 5`},
		{"UidSearchCombinations", inAuthenticated, 5, `a space behind a parenthesis is BAD`},
		{"ValidAuthenticated", notLoggedIn, 11, `a command in the wrong state is BAD (RFC 9051 §7.1.3)`},
		{"ValidSelected", notLoggedIn, 8, `a command in the wrong state is BAD (RFC 9051 §7.1.3)`},
	}
	not = map[string]string{
		"ListPlus":                "RETURN (MYRIGHTS)",
		"ACLCommandsOnOtherUser":  "ACL with fixtures of its own",
		"ACLCommandsOnOwner":      "ACL with fixtures of its own",
		"AuthenticatePlain":       "the initial response as a literal, which RFC 4959 does not have",
		"CreateErrorWithLongName": "BAD beyond our line limit, and James goes on without login",
		"ListSpecialChar":         "its prelude is unknown",
		"ListWithSharedMailbox":   "ACL with fixtures of its own",
		"MetadataWithLimitation":  "James's limits",
		"MoveNoMSG":               "its prelude is unknown",
		"Quota":                   "James's quota roots",
		"RenameSharedMailbox":     "ACL with fixtures of its own",
		"Rights":                  "ACL with fixtures of its own",
		"SelectInbox":             "its expectations are patterns for numbers",
		"SharedMailbox":           "James's names of other users' folders",
		"SharingAccessL":          "ACL with fixtures of its own",
		"SharingAccessLR":         "ACL with fixtures of its own",
		"SharingAccessLRA":        "ACL with fixtures of its own",
		"SharingAccessLRI":        "ACL with fixtures of its own",
		"SharingAccessLRK":        "ACL with fixtures of its own",
		"SharingAccessLRS":        "ACL with fixtures of its own",
		"SharingAccessLRT":        "ACL with fixtures of its own",
		"SharingAccessLRTE":       "ACL with fixtures of its own",
		"SharingAccessLRW":        "ACL with fixtures of its own",
		"SharingAccessLRX":        "ACL with fixtures of its own",
		"XList":                   "XLIST, a predecessor of SPECIAL-USE",
	}
	return pass, adapted, not
}

// James's dialogues assert its own wording and habits: of 138 files 85 pass where only the kinds of responses are compared, 28 pass
// but for answers that are listed, and 25 are not about us. Those below aclIntegration and imap-external need fixtures of their own.
func TestCorpusJames(t *testing.T) {
	dir := filepath.Join(peertest.Corpora(t), "james-mpt", "imap")
	pass, adapted, not := jamesFiles()
	listed := map[string]bool{}
	check := func(name string, state jamesState, diffs int, why string) {
		listed[name] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := playJames(t, filepath.Join(dir, name+".test"), state)
			require.Len(t, got, diffs, "%s\n%s", why, strings.Join(got, "\n"))
		})
	}
	for state, names := range pass {
		for _, name := range strings.Fields(names) {
			check(name, state, 0, "")
		}
	}
	for _, a := range adapted {
		check(a.name, a.state, a.diffs, a.why)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.test"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".test")
		require.True(t, listed[name] != (not[name] != ""), "%s is listed once", name)
	}
}

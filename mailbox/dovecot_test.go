//go:build unix

package mailbox_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goniec-mail/goniec/internal/peertest"
	"github.com/goniec-mail/goniec/mailbox"
	"github.com/stretchr/testify/require"
)

// dovecotAsk appends mails to folders of their own in a Dovecot, asks its imap program the same commands in
// each, and returns the answers: answers[folder][command].
func dovecotAsk(t *testing.T, folders [][]string, commands []string) [][]string {
	t.Helper()
	program := peertest.Need(t, "doveadm")
	dir, err := os.MkdirTemp("", "goniec-dovecot-*") // t.TempDir is closed to other users
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := filepath.Join(dir, "conf")
	uid := os.Getuid()
	if uid == 0 {
		uid = 65534 // Dovecot opens no mail of root
	}
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil,
		"mail_location = maildir:%[1]s/mail\nbase_dir = %[1]s/run\nstate_dir = %[1]s/state\nlog_path = /dev/stderr\nssl = no\n"+
			"mail_uid = %[2]d\nmail_gid = %[2]d\nfirst_valid_uid = 1\n", dir, uid), 0o644))
	if os.Getuid() == 0 {
		require.NoError(t, os.Chown(dir, uid, uid))
	}
	var in, out, errs bytes.Buffer
	for i, mails := range folders {
		fmt.Fprintf(&in, "c CREATE f%d\r\n", i)
		for n, m := range mails {
			date := time.Date(2026, 3, 3, 0, 0, len(mails)-n, 0, time.UTC).Format("02-Jan-2006 15:04:05 -0700")
			fmt.Fprintf(&in, "a APPEND f%d \"%s\" {%d+}\r\n%s\r\n", i, date, len(m), m)
		}
		for n, c := range commands { // SELECT waits for the command before: searches run side by side
			fmt.Fprintf(&in, "s SELECT f%d\r\n%d-%d %s\r\n", i, i, n, c)
		}
	}
	in.WriteString("z LOGOUT\r\n")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-c", conf, "exec", "imap")
	cmd.Env = append(os.Environ(), "USER=nobody", "HOME="+dir, "TZ=UTC")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, &in, &out, &errs
	require.NoError(t, cmd.Run(), "%s", &errs)
	return dovecotAnswers(t, out.String(), len(folders), len(commands))
}

func dovecotAnswers(t *testing.T, out string, folders, commands int) [][]string {
	all := make([][]string, folders)
	for i := range all {
		all[i] = make([]string, commands)
	}
	last := ""
	for line := range strings.SplitSeq(out, "\r\n") {
		for _, name := range []string{"* THREAD", "* SORT", "* SEARCH"} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				last = strings.TrimSpace(rest)
			}
		}
		tag, rest, _ := strings.Cut(line, " ")
		var i, n int
		if k, _ := fmt.Sscanf(tag, "%d-%d", &i, &n); k == 2 {
			require.True(t, strings.HasPrefix(rest, "OK"), line)
			all[i][n], last = last, ""
		}
	}
	return all
}

// imapThreads writes threads as IMAP does (RFC 5256 §4).
func imapThreads(nodes []mailbox.ThreadNode) string {
	var b strings.Builder
	for len(nodes) > 0 {
		n := subtree(nodes)
		b.WriteString("(" + imapMembers(nodes[:n]) + ")")
		nodes = nodes[n:]
	}
	return b.String()
}

// subtree returns how many nodes the first one and all below it are.
func subtree(nodes []mailbox.ThreadNode) int {
	n := 1
	for n < len(nodes) && nodes[n].Depth > nodes[0].Depth {
		n++
	}
	return n
}

func imapMembers(nodes []mailbox.ThreadNode) string {
	head, rest := "", nodes[1:]
	if nodes[0].UID != 0 {
		head = fmt.Sprint(nodes[0].UID)
	}
	switch {
	case len(rest) == 0:
		return head
	case subtree(rest) == len(rest):
		return strings.TrimSpace(head + " " + imapMembers(rest))
	default:
		return strings.TrimSpace(head + " " + imapThreads(rest))
	}
}

// TestPeerDovecotThread compares threads with Dovecot's, on random conversations.
func TestPeerDovecotThread(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	var folders [][]string
	for f := range 60 {
		var mails []string
		n := rnd.IntN(3+f/5) + 1
		for i := range n {
			var refs string
			for range rnd.IntN(4) {
				refs += fmt.Sprintf("<%d@x> ", rnd.IntN(n+3))
			}
			subject := []string{"a", "Re: a", "b", "Fwd: b", "", "[list] c", "Re: [list] C (fwd)", "d", "e", "f"}[rnd.IntN(10)]
			mails = append(mails, mail(i*7%60, subject, fmt.Sprintf("%d@x", i), refs))
		}
		folders = append(folders, mails)
	}
	answers := dovecotAsk(t, folders, []string{"UID THREAD REFERENCES UTF-8 ALL", "UID THREAD ORDEREDSUBJECT UTF-8 ALL"})
	for i, mails := range folders {
		m := openSort(t, mails)
		for n, a := range []mailbox.ThreadAlgorithm{mailbox.ThreadReferences, mailbox.ThreadOrderedSubject} {
			got, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), a)
			require.NoError(t, err)
			if answers[i][n] != imapThreads(got) {
				t.Errorf("%s of folder %d:\n%s\nDovecot %s\nours    %s", a, i, strings.Join(mails, ""), answers[i][n], imapThreads(got))
			}
		}
	}
}

// TestPeerDovecotSubject compares base subjects (RFC 5256 §2.1) with Dovecot's: threads by subject show which are the same.
func TestPeerDovecotSubject(t *testing.T) {
	subjects := []string{
		"x", "y", "b", "", "[a]", "[b]", "Re: [a] Re[2]: x", "[a] [b]", "Re: [a]", "[fwd: x]", "[Fwd: [l] Re: x (fwd)] ", "fwd [x]: y", "Fw: y", "fww: y",
		"re : x", "re [a] [b]: x", "[a]re: x", "(fwd)", "x (fwd) (FWD)  ", "[fwd: a] b", "[fwd: [fwd: c]]", "c", "[a] ", "[]x", "[] ", "Re:", "re:re:re:",
		"=?utf-8?q?Re=3A_x?=", "[a[b]] x", "Aw: x", "x  y", "x\r\n y", "x\ty", "x y", "re[[x]]: y", "RE: X", "=?utf-8?q?=C3=84?=", "=?iso-8859-1?q?=E4?=", "Re: [x] (fwd)",
		"fwd: re: [l] [m] fw: y", "[l] x (fwd)", "=?utf-8?q?x?= =?utf-8?q?y?=", "xy", "=?utf-8?b?W2Z3ZDogeF0=?=",
	}
	var mails []string
	for i, s := range subjects {
		mails = append(mails, mail(i, s, "", ""))
	}
	answers := dovecotAsk(t, [][]string{mails}, []string{"UID THREAD ORDEREDSUBJECT UTF-8 ALL", "UID SORT (SUBJECT) UTF-8 ALL"})[0]
	m := openSort(t, mails)
	got, err := mailbox.Thread(t.Context(), m, mailbox.AllUIDs(), mailbox.ThreadOrderedSubject)
	require.NoError(t, err)
	require.Equal(t, answers[0], imapThreads(got))
	order, err := mailbox.Sort(t.Context(), m, mailbox.AllUIDs(), []mailbox.SortOrder{{Key: mailbox.SortSubject}})
	require.NoError(t, err)
	require.Equal(t, answers[1], strings.Trim(fmt.Sprint(order), "[]"))
}

// TestPeerDovecotDates compares the order by Date fields in many zones, and the day that SENTON means, with Dovecot.
func TestPeerDovecotDates(t *testing.T) {
	var mails []string
	for _, d := range []string{
		"Mon, 2 Mar 2026 10:00:00 +0000", "2 Mar 2026 10:00 +0100", "Mon, 2 Mar 2026 10:00:00 FOO", "Mon, 2 Mar 2026 10:00:01", "Mon, 2 Mar 26 10:00:00 EST",
		"Mon, 2 Mar 2026 23:30:00 -0800", "Tue, 3 Mar 2026 00:30:00 +1300", "Mon, 2 Mar 2026 10:00:00 (x) +0200", "Mon, 2 Mar 2026 09:00:00 -0000 (foo)", "Sun, 1 Mar 2026 23:59:60 GMT",
		"garbage", "Mon, 32 Mar 2026 10:00:00 +0000",
	} {
		mails = append(mails, "Date: "+d+"\r\nSubject: x\r\n\r\nx\r\n")
	}
	mails = append(mails, "Subject: no date\r\n\r\nx\r\n")
	day := mailbox.DayOf(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))
	answers := dovecotAsk(t, [][]string{mails}, []string{
		// Mails without a date that can be read are old for Dovecot's SEARCH; here INTERNALDATE stands in, as in SORT.
		"UID SORT (DATE) UTF-8 ALL", "UID SEARCH SENTON 2-Mar-2026 UID 1:10", "UID SEARCH SENTBEFORE 2-Mar-2026 UID 1:10", "UID SEARCH SENTSINCE 3-Mar-2026 UID 1:10",
	})[0]
	m := openSort(t, mails)
	order, err := mailbox.Sort(t.Context(), m, mailbox.AllUIDs(), []mailbox.SortOrder{{Key: mailbox.SortDate}})
	require.NoError(t, err)
	require.Equal(t, answers[0], strings.Trim(fmt.Sprint(order), "[]"))
	for i, c := range []crit{{Key: mailbox.KeySentOn, Day: day}, {Key: mailbox.KeySentBefore, Day: day}, {Key: mailbox.KeySentSince, Day: day + 1}} {
		got, err := mailbox.Search(t.Context(), m, and(c, crit{Key: mailbox.KeyUIDs, UIDs: mailbox.UIDSet{{First: 1, Last: 10}}}))
		require.NoError(t, err)
		require.Equal(t, answers[1+i], strings.Trim(fmt.Sprint(slices.Collect(got.UIDs.All())), "[]"), "%d", i)
	}
}

// TestPeerDovecotSort compares orders with Dovecot's.
func TestPeerDovecotSort(t *testing.T) {
	keys := []struct {
		name string
		key  mailbox.SortKey
	}{
		{"ARRIVAL", mailbox.SortArrival},
		{"CC", mailbox.SortCc},
		{"DATE", mailbox.SortDate},
		{"FROM", mailbox.SortFrom},
		{"SIZE", mailbox.SortSize},
		{"SUBJECT", mailbox.SortSubject},
		{"TO", mailbox.SortTo},
		{"DISPLAYFROM", mailbox.SortDisplayFrom},
		{"DISPLAYTO", mailbox.SortDisplayTo},
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	var mails []string
	for range 40 {
		mails = append(mails, "From: "+pick("Zed <alice@x.org>", "alice@y.org", "=?utf-8?Q?=C5=BBaba?= <bob@x.org>", "bob (comment) <Carl@x.org>", "mike@x.org")+"\r\n"+
			"To: "+pick("a@x.org, b@x.org", "\"Q, Z\" <zed@x.org>", "Team: t@x.org;", "undisclosed:;")+"\r\n"+
			pick("", "Cc: zoe@x.org\r\n", "Cc: Ann <ann@x.org>\r\n")+
			"Subject: "+pick("alpha", "Re: alpha", "BETA", "Fwd: [list] gamma", "=?utf-8?Q?=C4=85?=", "ą", "Zeta (fwd)", "")+"\r\n"+
			pick("", "Date: Mon, 2 Mar 2026 10:00:00 +0000\r\n", "Date: Mon, 2 Mar 2026 10:30:00 +0200\r\n")+"\r\n"+strings.Repeat("x", rnd.IntN(40))+"\r\n")
	}
	var commands []string
	for _, k := range keys {
		commands = append(commands, "UID SORT ("+k.name+") UTF-8 ALL", "UID SORT (REVERSE "+k.name+" SUBJECT) UTF-8 ALL")
	}
	answers := dovecotAsk(t, [][]string{mails}, commands)[0]
	m := openSort(t, mails)
	for i, k := range keys {
		for n, order := range [][]mailbox.SortOrder{{{Key: k.key}}, {{Key: k.key, Reverse: true}, {Key: mailbox.SortSubject}}} {
			got, err := mailbox.Sort(t.Context(), m, mailbox.AllUIDs(), order)
			require.NoError(t, err)
			if want := strings.Trim(fmt.Sprint(got), "[]"); answers[2*i+n] != want {
				t.Errorf("%s:\nDovecot %s\nours    %s", commands[2*i+n], answers[2*i+n], want)
			}
		}
	}
}

// TestPeerDovecotSearch compares what is found with Dovecot, on the mails of TestSearch.
func TestPeerDovecotSearch(t *testing.T) {
	lit := func(s string) string { return fmt.Sprintf("{%d+}\r\n%s", len(s), s) }
	cases := []struct {
		command string
		c       crit
	}{
		{"ALL", crit{}},
		{"TEXT fire", text("fire")},
		{"BODY fire", body("fire")},
		{"NOT TEXT fire", not(text("fire"))},
		{"SUBJECT FIRE", header("Subject", "FIRE")},
		{"SUBJECT " + lit("ŻÓŁW"), header("Subject", "ŻÓŁW")},
		{"FROM " + lit("zażółć"), header("From", "zażółć")},
		{"TEXT " + lit("gęgła woda"), text("gęgła woda")},
		{"BODY " + lit("żółw"), body("żółw")},
		{"TEXT " + lit("straße"), text("straße")},
		{"TEXT binaryword", text("binaryword")},
		{"BODY \"inner body\"", body("inner body")},
		{"BODY \"inner subject\"", body("inner subject")},
		{"TEXT folded", text("folded")},
		{"SUBJECT \"long subject that\"", header("Subject", "long subject that")},
		{"HEADER X-Empty \"\"", header("X-Empty", "")},
		{"HEADER Bcc \"\"", header("Bcc", "")},
		{"BODY wide", body("wide")},
		{"TEXT " + lit("CAFÉ"), text("CAFÉ")},
		{"SENTON 2-Mar-2026", and(crit{Key: mailbox.KeyUIDs, UIDs: mailbox.UIDs(1)}, crit{Key: mailbox.KeySentOn, Day: mailbox.DayOf(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))})},
		{"LARGER 300", number(mailbox.KeyLarger, 300)},
		{"OR SUBJECT html TEXT inner", or(header("Subject", "html"), text("inner"))},
	}
	var commands []string
	for _, c := range cases {
		commands = append(commands, "UID SEARCH CHARSET UTF-8 "+c.command)
	}
	answers := dovecotAsk(t, [][]string{searchMails}, commands)[0]
	m := openSearch(t)
	for i, c := range cases {
		got, err := mailbox.Search(t.Context(), m, c.c)
		require.NoError(t, err)
		var uids []string
		for u := range got.UIDs.All() {
			uids = append(uids, fmt.Sprint(u))
		}
		if want := strings.Join(uids, " "); want != answers[i] {
			t.Errorf("%s: Dovecot %s, ours %s", c.command, answers[i], want)
		}
	}
}

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// callTrace follows the system calls of a server, as strace -f -y writes them, and remembers what would be lost if the power
// went now: files with content, and directories with entries, that were not synced since.
type callTrace struct {
	roots []string              // what lies below them counts
	files map[string]int        // content changed in which line
	dirs  map[string]int        // an entry changed
	calls map[string]int        // what was seen
	open  map[string]unfinished // calls in progress, by process
	n     int                   // line
	bad   []string              // replies while something could be lost
}

type unfinished struct {
	text  string
	start int
}

func newCallTrace(roots ...string) *callTrace {
	return &callTrace{roots: roots, files: map[string]int{}, dirs: map[string]int{}, calls: map[string]int{}, open: map[string]unfinished{}}
}

var (
	traceLine   = regexp.MustCompile(`^(\d+) +(.*)$`)
	traceCall   = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)
	traceResume = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	traceFD     = regexp.MustCompile(`^\d+<([^>]*)>`)
	traceAt     = regexp.MustCompile(`(?:\d+|AT_FDCWD)<([^>]*)>, "([^"]*)"`)
)

// line takes the next line.
func (tr *callTrace) line(line string) {
	tr.n++
	m := traceLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	pid, text, start := m[1], m[2], tr.n
	if head, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
		tr.open[pid] = unfinished{head, tr.n}
		tr.begin(head)
		return
	}
	if m := traceResume.FindStringSubmatch(text); m != nil {
		head := tr.open[pid]
		delete(tr.open, pid)
		text, start = head.text+m[2], head.start
	} else {
		tr.begin(text)
	}
	if m := traceCall.FindStringSubmatch(text); m != nil && !strings.HasPrefix(m[3], "-") {
		tr.end(m[1], m[2], start)
	}
}

// begin sees a call start: what it writes may be lost from now on, and what it says must not be too early.
func (tr *callTrace) begin(text string) {
	name, args, _ := strings.Cut(text, "(")
	fd := traceFD.FindStringSubmatch(args)
	if fd == nil || !slices.Contains([]string{"write", "writev", "pwrite64", "sendto"}, name) {
		return
	}
	if strings.HasPrefix(fd[1], "socket:") || strings.HasPrefix(fd[1], "TCP") {
		tr.reply(args)
	}
}

func (tr *callTrace) reply(args string) {
	tr.calls["reply"]++
	for path, line := range tr.files {
		tr.bad = append(tr.bad, fmt.Sprintf("line %d: %s written in line %d: %.120s", tr.n, path, line, args))
	}
	for path, line := range tr.dirs {
		tr.bad = append(tr.bad, fmt.Sprintf("line %d: entries of %s changed in line %d: %.120s", tr.n, path, line, args))
	}
}

// end sees a call that has succeeded, begun in line start.
func (tr *callTrace) end(name, args string, start int) {
	switch name {
	case "write", "writev", "pwrite64", "ftruncate":
		if fd := traceFD.FindStringSubmatch(args); fd != nil {
			tr.wrote(fd[1])
		}
	case "fsync", "fdatasync":
		if fd := traceFD.FindStringSubmatch(args); fd != nil {
			tr.synced(name, fd[1], start)
		}
	case "openat":
		if strings.Contains(args, "O_CREAT") {
			tr.entries(name, args)
		}
	case "renameat", "renameat2", "linkat", "unlinkat", "mkdirat":
		tr.entries(name, args)
	}
}

// counts tells whether a loss of the path would be one. A cache may go, as may what is on its way or unfinished, locks, and
// the spare files of the queue. The index of a folder may lose what it noted of new messages, which the uidlist has; that it loses
// nothing else the crash states of package maildir show.
func (tr *callTrace) counts(path string) bool {
	name := filepath.Base(path)
	return tr.inside(path) && !strings.HasSuffix(path, "(deleted)") &&
		filepath.Base(filepath.Dir(path)) != "tmp" && !strings.Contains(path, "/goniec-unfinished.") &&
		!strings.HasPrefix(name, "spare") && !strings.HasSuffix(name, ".lock") && !strings.HasPrefix(name, ".faultfs") &&
		!slices.Contains([]string{"tmp", "lock", "goniec-lock", "goniec-move-lock", "goniec-pop3-lock", "goniec-derived", "goniec-index", "maildirsize"}, name)
}

func (tr *callTrace) inside(path string) bool {
	return slices.ContainsFunc(tr.roots, func(root string) bool { return strings.HasPrefix(path, root+"/") })
}

func (tr *callTrace) wrote(path string) {
	if tr.inside(path) {
		tr.calls["write "+kindOf(path)]++
		tr.files[path] = tr.n // also in tmp/: it may be renamed
	}
	if !tr.counts(path) && filepath.Base(filepath.Dir(path)) != "tmp" {
		delete(tr.files, path)
	}
}

func (tr *callTrace) synced(name, path string, start int) {
	tr.calls[name+" "+kindOf(path)]++
	for _, dirty := range []map[string]int{tr.files, tr.dirs} {
		if since, ok := dirty[path]; ok && since < start {
			delete(dirty, path)
		}
	}
}

// entries notes the changed entries of directories, and takes a file's state along.
func (tr *callTrace) entries(name, args string) {
	var paths []string
	for _, m := range traceAt.FindAllStringSubmatch(args, -1) {
		path := m[2]
		if !filepath.IsAbs(path) {
			path = filepath.Join(m[1], path)
		}
		paths = append(paths, path)
		if tr.counts(path) && (name != "linkat" || len(paths) == 2) {
			tr.dirs[filepath.Dir(path)] = tr.n
		}
	}
	if len(paths) == 0 || !tr.inside(paths[0]) {
		return
	}
	tr.calls[name+" "+kindOf(paths[len(paths)-1])]++
	since, dirty := tr.files[paths[0]]
	if name == "unlinkat" || strings.HasPrefix(name, "renameat") {
		delete(tr.files, paths[0])
	}
	if len(paths) == 2 && dirty {
		tr.files[paths[1]] = since
	}
}

// kindOf is a path without what differs from run to run.
func kindOf(path string) string {
	dir, name := filepath.Base(filepath.Dir(path)), filepath.Base(path)
	switch dir {
	case "tmp", "new", "cur":
		return dir + "/*"
	}
	if strings.HasSuffix(name, ".seg") {
		return "*.seg"
	}
	return name
}

// The follower of traces finds what was not synced, or too early, or only after the reply.
func TestTrace(t *testing.T) {
	t.Parallel()
	const reply = `1 write(4<socket:[7]>, "250 2.0.0 ok"..., 12) = 12`
	for _, c := range []struct {
		name, lines string
		bad         int
	}{
		{"good", "1 openat(3</d/tmp>, \"x\", O_RDWR|O_CREAT|O_EXCL, 0600) = 5</d/tmp/x>\n1 write(5</d/tmp/x>, \"mail\", 4) = 4\n1 fsync(5</d/tmp/x>) = 0\n1 renameat(3</d/tmp>, \"x\", 6</d/new>, \"y\") = 0\n1 fsync(6</d/new>) = 0", 0},
		{"file not synced", "1 write(5</d/tmp/x>, \"mail\", 4) = 4\n1 renameat(3</d/tmp>, \"x\", 6</d/new>, \"y\") = 0\n1 fsync(6</d/new>) = 0", 1},
		{"directory not synced", "1 write(5</d/tmp/x>, \"mail\", 4) = 4\n1 fsync(5</d/tmp/x>) = 0\n1 renameat(3</d/tmp>, \"x\", 6</d/new>, \"y\") = 0", 1},
		{"synced before the rename", "1 fsync(6</d/new>) = 0\n1 renameat(3</d/tmp>, \"x\", 6</d/new>, \"y\") = 0", 1},
		{"sync fails", "1 pwrite64(5</d/a.seg>, \"mail\", 4, 0) = 4\n1 fdatasync(5</d/a.seg>) = -1 EIO (Input/output error)", 1},
		{"sync under way", "1 pwrite64(5</d/a.seg>, \"mail\", 4, 0) = 4\n2 fdatasync(5</d/a.seg> <unfinished ...>", 1},
		{"sync resumed", "1 pwrite64(5</d/a.seg>, \"mail\", 4, 0) = 4\n2 fdatasync(5</d/a.seg> <unfinished ...>\n3 close(9) = 0\n2 <... fdatasync resumed>) = 0", 0},
		{"sync begun before the write ended", "2 fdatasync(5</d/a.seg> <unfinished ...>\n1 pwrite64(5</d/a.seg>, \"mail\", 4, 0) = 4\n2 <... fdatasync resumed>) = 0", 1},
		{"unlink", "1 unlinkat(6</d/cur>, \"y\", 0) = 0", 1},
		{"cache", "1 pwrite64(5</d/goniec-derived>, \"x\", 1, 0) = 1", 0},
		{"elsewhere", "1 write(5</e/file>, \"x\", 1) = 1", 0},
	} {
		tr := newCallTrace("/d")
		for line := range strings.SplitSeq(c.lines+"\n"+reply, "\n") {
			tr.line(line)
		}
		require.Len(t, tr.bad, c.bad, c.name)
	}
}

// imapSay logs in, says commands one by one, and waits for each tagged reply.
func imapSay(t testing.TB, addr, user string, commands ...string) {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	for i, command := range append([]string{"", "LOGIN " + user + "@demo.test " + user}, commands...) {
		tag := fmt.Sprint("a", i)
		if i == 0 {
			tag = "* OK"
		} else {
			fmt.Fprintf(c, "%s %s\r\n", tag, command)
		}
		for {
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			if strings.HasPrefix(line, tag+" ") {
				require.Contains(t, line, "OK", command)
				break
			}
		}
	}
}

func pop3Say(t testing.TB, addr, user string, commands ...string) {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	in := bufio.NewReader(c)
	for _, command := range append([]string{"", "USER " + user + "@demo.test", "PASS " + user}, commands...) {
		if command != "" {
			fmt.Fprintf(c, "%s\r\n", command)
		}
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(line, "+OK"), "%s: %s", command, line)
	}
}

// F01: of a real server's system calls: whenever it says something to a client, everything that it has written and every
// entry that it has made before has been synced, after it was written: SMTP into the queue, with small and large bodies, LMTP
// into a Maildir, IMAP's APPEND, STORE, COPY, MOVE, EXPUNGE and folders, POP3's deletions.
func TestF01_SyncedBeforeReplies(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("strace is for Linux")
	}
	peertest.Need(t, "strace")
	dir := t.TempDir()
	log := filepath.Join(dir, "trace")
	wrap := []string{
		"strace", "-D", "-f", "-y", "-s", "100", "-o", log, "-e",
		"trace=openat,write,writev,pwrite64,ftruncate,fsync,fdatasync,renameat,renameat2,linkat,unlinkat,mkdirat,sendto",
	}
	p := launch(t, dir, wrap, append(slices.Clone(anyPort), "-hold")...)
	p.ready(t)
	mail := "Subject: traced\r\n\r\n" + strings.Repeat("line\r\n", 20)
	for _, size := range []int{1, 20_000, 1} {
		require.Regexp(t, "^250 ", send(t, p.addrs["receive smtp"], "alice@demo.test", "Subject: queued\r\n\r\n"+strings.Repeat("large\r\n", size)))
	}
	for range 3 {
		r := dialogue(t, p.addrs["deliver lmtp"], "LHLO test", "MAIL FROM:<>", "RCPT TO:<alice@demo.test>", "DATA", mail+".")
		require.Regexp(t, "^250 ", r[len(r)-1])
	}
	literal := fmt.Sprintf("{%d+}\r\n%s", len(mail), mail)
	imapSay(t, p.addrs["read imap"], "alice",
		"CREATE Traced", "SELECT INBOX", "APPEND INBOX "+literal, `APPEND Traced (\Seen Work) `+literal, `STORE 1 +FLAGS (\Flagged)`,
		`STORE 1:3 FLAGS (\Seen Later)`, "COPY 1:2 Traced", "MOVE 1 Traced", "MOVE 1:2 Traced", `STORE 1 +FLAGS (\Deleted)`, "EXPUNGE",
		"CREATE Traced/Child", "RENAME Traced Renamed", "SELECT Renamed/Child", "APPEND Renamed/Child "+literal, "DELETE Renamed/Child", "SUBSCRIBE Renamed")
	for range 2 {
		dialogue(t, p.addrs["deliver lmtp"], "LHLO test", "MAIL FROM:<>", "RCPT TO:<alice@demo.test>", "DATA", mail+".")
	}
	pop3Say(t, p.addrs["read pop3"], "alice", "DELE 1", "DELE 2", "QUIT")
	p.interrupt(t)

	tr := newCallTrace(filepath.Join(dir, "goniec-demo", "mail"), filepath.Join(dir, "goniec-demo", "queue"))
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		tr.line(strings.TrimSuffix(line, "\n"))
	}
	if len(tr.bad) > 0 {
		t.Errorf("%d replies came too early:\n%s", len(tr.bad), strings.Join(tr.bad[:min(20, len(tr.bad))], "\n"))
	}
	t.Logf("%d lines, %d replies", tr.n, tr.calls["reply"])
	// The trace has really seen it all.
	for _, call := range []string{
		"reply", "write *.seg", "fdatasync *.seg", "renameat *.seg", "fsync queue", "fsync body", "write tmp/*", "fsync tmp/*",
		"renameat new/*", "fsync new", "renameat cur/*", "fsync cur", "write dovecot-uidlist", "fdatasync dovecot-uidlist", "renameat dovecot-uidlist",
		"renameat .Renamed",
	} {
		require.NotZero(t, tr.calls[call], call)
	}
}

package imap_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goniec-mail/goniec/internal/peertest"
)

// curlCase is one of curl's own test cases: a command line, and what the client says then. curl's test server answers anything; ours
// answers what is true, and curl has to be content with it.
type curlCase struct {
	number  string
	command []string
	says    []string // commands after the login, without tags
	code    int
	file    string // of <file> and of an upload
	stdin   string
}

func curlSection(text, name string) string {
	m := regexp.MustCompile(`(?s)<` + name + `[^>]*>\n?(.*?)</` + name + `>`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1]
}

// readCurlCase reads a file, with the variables put in.
func readCurlCase(t *testing.T, path string, vars map[string]string) curlCase {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	c := curlCase{number: strings.TrimPrefix(filepath.Base(path), "test")}
	pairs := []string{"%TESTNUMBER", c.number, "%LT", "<", "%GT", ">"}
	for k, v := range vars {
		pairs = append(pairs, k, v)
	}
	fill := strings.NewReplacer(pairs...).Replace
	c.command = words(fill(strings.Join(strings.Fields(curlSection(string(b), "command")), " ")))
	c.says = curlCommands(fill(curlSection(string(b), "protocol")))
	c.code, _ = strconv.Atoi(strings.TrimSpace(curlSection(string(b), "errorcode")))
	c.file, c.stdin = fill(curlSection(string(b), "file")), fill(curlSection(string(b), "stdin"))
	return c
}

// words splits a command line as a shell does, as far as these need it.
func words(line string) (out []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|"([^"]*)"|(\S+)`).FindAllStringSubmatch(line, -1) {
		out = append(out, m[1]+m[2]+m[3])
	}
	return out
}

var (
	curlTag       = regexp.MustCompile(`^[A-Z]\d{3} `)
	literalOctets = regexp.MustCompile(`\{\d+\}$`)
)

// curlMail has parts down to 2.3.
const curlMail = "From: me@somewhere\r\nTo: fake@nowhere\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nbody\r\n\r\n--\r\n  yours sincerely\r\n--a\r\n" +
	"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b\r\n\r\nthree\r\n--b--\r\n--a--\r\n"

// curlCommands are the tagged lines of a dialogue that do not belong to the login, which is as each server offers it.
func curlCommands(text string) (out []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		line = literalOctets.ReplaceAllString(strings.TrimRight(line, "\n"), "{n}") // files differ in their ends of line
		if !curlTag.MatchString(line) {
			continue
		}
		line = curlTag.ReplaceAllString(line, "")
		if verb, _, _ := strings.Cut(line, " "); verb != "CAPABILITY" && verb != "LOGIN" && verb != "AUTHENTICATE" && verb != "STARTTLS" {
			out = append(out, line)
		}
	}
	return out
}

// recorder passes connections on and keeps what clients say.
type recorder struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(p)
}

func (r *recorder) start(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				return
			}
			all.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
			all.Go(func() { _, _ = io.Copy(io.MultiWriter(far, r), near); _ = far.Close() })
		}
	})
	return l.Addr().String()
}

// curlAdapted is what differs: how curl ends, and what it says then (nil: what the case has).
type curlAdapted struct {
	code int
	says []string
	why  string
}

// curlFiles are the cases that end otherwise with us, and those that are not about us.
func curlFiles() (adapted map[string]curlAdapted, not map[string]string) {
	adapted = map[string]curlAdapted{
		"802":  {78, []string{"SELECT 802", "LOGOUT"}, "our UIDVALIDITY is another one"},
		"817":  {21, nil, "COPY without a selected mailbox is BAD"},
		"3206": {21, nil, "FETCH of a quoted string is BAD"},
		"829":  {3, []string{"LOGOUT"}, "some versions of curl say goodbye"},
		"836":  {0, []string{"SELECT 836", "FETCH 1 BODY[]", "SELECT 836", "UID FETCH 2 BODY[]", "LOGOUT", "LOGOUT"}, "both connections end last"},
	}
	not = map[string]string{
		"1321": "an HTTP proxy", "1552": "a C program", "1553": "a C program", "1590": "a C program", "660": "a C program", "677": "a C program",
		"1982": "XOAUTH2", "821": "CRAM-MD5", "822": "NTLM", "823": "DIGEST-MD5", "824": "XOAUTH2", "827": "NTLM", "828": "XOAUTH2", "830": "CRAM-MD5",
		"831": "NTLM", "832": "DIGEST-MD5", "833": "CRAM-MD5", "834": "NTLM", "835": "DIGEST-MD5", "837": "EXTERNAL", "838": "EXTERNAL", "839": "EXTERNAL",
		"840": "EXTERNAL", "842": "OAUTHBEARER", "843": "OAUTHBEARER", "844": "OAUTHBEARER", "845": "OAUTHBEARER", "846": "a server that greets with PREAUTH",
		"848": "authorisation for another user", "849": "authorisation for another user", "981": "a server that misbehaves", "984": "a server that misbehaves",
		"3209": "an option of newer versions", "3210": "an option of newer versions", "799": "an option of newer versions",
		"988": "TLS from the first octet; in the mail server's tests", "1420": "--libcurl",
	}
	return adapted, not
}

func TestCorpusCurl(t *testing.T) {
	dir := filepath.Join(peertest.Corpora(t), "curl-mail")
	peertest.Need(t, "curl")
	files, err := filepath.Glob(filepath.Join(dir, "test*"))
	require.NoError(t, err)
	adapted, not := curlFiles()
	ran := 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		number := strings.TrimPrefix(filepath.Base(path), "test")
		if !bytes.Contains(text, []byte("imap")) || not[number] != "" {
			continue
		}
		ran++
		t.Run(number, func(t *testing.T) { runCurlCase(t, path, adapted) })
	}
	t.Logf("%d cases run, %d are not about us", ran, len(not))
}

func runCurlCase(t *testing.T, path string, adapted map[string]curlAdapted) {
	f := newFixture(t)
	for _, user := range []string{"user", `"user`, "user.one", "user.two"} {
		f.users.passwords[user] = map[bool]string{true: `sec"ret{`, false: "secret"}[user == `"user`]
	}
	var r recorder
	temp := t.TempDir()
	host, port, _ := strings.Cut(r.start(t, f.start(t)), ":")
	c := readCurlCase(t, path, map[string]string{"%HOSTIP": host, "%IMAPPORT": port, "%LOGDIR": temp})
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for user := range f.users.passwords {
		f.deliver(t, user, "666", curlMail)
		if c.number == "811" || c.number == "813" {
			continue // it is made
		}
		for i := 1; ; i++ {
			f.deliver(t, user, c.number, curlMail)
			if i >= 2 && (!bytes.Contains(text, []byte("123")) || i >= 123) && (!bytes.Contains(text, []byte("456")) || i >= 456) {
				break
			}
		}
	}
	for _, name := range []string{"upload" + c.number, "test" + c.number + ".txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(temp, name), []byte(c.file), 0o600))
	}
	cmd := peertest.Command(t, "curl", append([]string{"-sS"}, c.command...)...)
	cmd.Stdin = strings.NewReader(c.stdin)
	out, err := cmd.CombinedOutput()
	if a, ok := adapted[c.number]; ok {
		if c.code = a.code; a.says != nil {
			c.says = a.says
		}
	}
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		require.NoError(t, err)
	}
	require.Equal(t, c.code, got, "%q\n%s\n%s", c.command, out, r.said.String())
	require.Equal(t, c.says, curlCommands(r.said.String()), "%s", out)
}

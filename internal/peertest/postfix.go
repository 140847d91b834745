package peertest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Postfix is a Postfix of the test's own, with its own configuration, queue and port on loopback. It needs root.
type Postfix struct {
	Addr string // where it listens, "127.0.0.1:port"
	Dir  string // everything of it; its configuration is in the folder conf

	t testing.TB
	p *Process
}

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file = /dev/stdout
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mydestination =
smtpd_error_sleep_time = 0
`

const postfixMaster = `%s inet n - n - - smtpd
anvil unix - - n - 1 anvil
bounce unix - - n - 0 bounce
cleanup unix n - n - 0 cleanup
defer unix - - n - 0 bounce
discard unix - - n - - discard
error unix - - n - - error
flush unix n - n 1000? 0 flush
lmtp unix - - n - - lmtp
pickup unix n - n 60 1 pickup
postlog unix-dgram n - n - 1 postlogd
proxymap unix - - n - - proxymap
qmgr unix n - n 300 1 qmgr
relay unix - - n - - smtp
retry unix - - n - - error
rewrite unix - - n - - trivial-rewrite
scache unix - - n - 1 scache
showq unix n - n - - showq
smtp unix - - n - - smtp
tlsmgr unix - - n 1000? 1 tlsmgr
trace unix - - n - 0 bounce
`

// NewPostfix starts a Postfix with main added to its main.cf. It is stopped when the test ends.
func NewPostfix(t testing.TB, main string) *Postfix {
	t.Helper()
	Need(t, "postfix")
	Root(t, "postfix")
	dir, err := os.MkdirTemp("", "postfix") // its users must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	x := &Postfix{Addr: FreeAddr(t), Dir: dir, t: t}
	x.must(os.Chmod(dir, 0o755))
	for _, d := range []string{"conf", "queue", "data"} {
		x.must(os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	x.must(Command(t, "chown", "postfix", filepath.Join(dir, "data")).Run())
	x.must(os.WriteFile(filepath.Join(x.conf(), "main.cf"), []byte(fmt.Sprintf(postfixMain, dir)+main), 0o644))
	x.must(os.WriteFile(filepath.Join(x.conf(), "master.cf"), fmt.Appendf(nil, postfixMaster, x.Addr), 0o644))
	t.Cleanup(x.Stop)
	x.Start()
	return x
}

func (x *Postfix) conf() string { return filepath.Join(x.Dir, "conf") }

func (x *Postfix) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatalf("peer test: postfix: %v", err)
	}
}

// Start starts it again after Stop, with the queue that it had, at the same address.
func (x *Postfix) Start() {
	x.t.Helper()
	x.p = Start(x.t, x.Dir, nil, "postfix", "-c", x.conf(), "start-fg")
	x.p.WaitPort(x.Addr)
}

// Stop stops it. Its master leaves our process group, so it has to be asked.
func (x *Postfix) Stop() {
	if x.p == nil {
		return
	}
	if out, err := Command(x.t, "postfix", "-c", x.conf(), "stop").CombinedOutput(); err != nil {
		x.t.Errorf("peer test: postfix stop: %v\n%s", err, out)
	}
	x.p.Stop()
	x.p = nil
}

// Flush makes it try everything in its queue now.
func (x *Postfix) Flush() {
	x.t.Helper()
	x.must(Command(x.t, "postqueue", "-c", x.conf(), "-f").Run())
}

// Queue returns what is in its queue, one JSON object a line.
func (x *Postfix) Queue() string {
	x.t.Helper()
	out, err := Command(x.t, "postqueue", "-c", x.conf(), "-j").Output()
	x.must(err)
	return string(out)
}

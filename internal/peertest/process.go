package peertest

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const (
	runTimeout  = 5 * time.Minute        // of a Command
	portTimeout = time.Minute            // of WaitPort
	portPoll    = 10 * time.Millisecond  // between two attempts of WaitPort
	stopTimeout = 5 * time.Second        // between asking a peer to end and killing it
	logTail     = 16 << 10               // octets of the log shown for a failed test
	waitDelay   = 500 * time.Millisecond // for output pipes held open by a child
)

// Command prepares a program that runs to its end, such as curl: in a temporary folder, limited to five minutes, killed with its children when
// the time is up. Run it with Run, Output or CombinedOutput.
func Command(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	path := Need(t, program)
	ctx, cancel := context.WithTimeout(context.Background(), runTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = waitDelay
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	return cmd
}

// Process is a running peer.
type Process struct {
	// Cmd is the command, for its Process.Pid. Wait belongs to the Process.
	Cmd *exec.Cmd
	// Dir is the folder that it runs in and may fill.
	Dir string

	t    testing.TB
	log  string
	done chan struct{} // closed at the end of the process
	err  error         // of Wait; read after done
	stop sync.Once
}

// Start starts a peer in the foreground, in dir (empty means a temporary folder), and stops it when the test ends. What it prints is kept and
// shown when the test fails. env is added to the environment.
func Start(t testing.TB, dir string, env []string, program string, args ...string) *Process {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	p := &Process{Dir: dir, t: t, log: filepath.Join(t.TempDir(), "log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close() // the peer has its own copy
	p.Cmd = exec.Command(Need(t, program), args...)
	p.Cmd.Dir, p.Cmd.Env = dir, append(os.Environ(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = out, out
	ownGroup(p.Cmd)
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("peer test: %s: %v", program, err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		_ = killGroup(p.Cmd.Process) // children that outlive it
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s %q printed:\n%s", program, args, p.Log())
		}
	})
	return p
}

// Stop asks the peer to end, kills what is left of its process group after 5 seconds, and returns when it is gone. Further calls do
// nothing.
func (p *Process) Stop() {
	p.stop.Do(func() {
		select {
		case <-p.done:
			return
		default:
		}
		_ = endGroup(p.Cmd.Process)
		select {
		case <-p.done:
		case <-time.After(stopTimeout):
			_ = killGroup(p.Cmd.Process)
			<-p.done
		}
	})
}

// Kill kills the peer and its children at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() {
	p.stop.Do(func() {
		_ = killGroup(p.Cmd.Process)
		<-p.done
	})
}

// Done is closed when the peer has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the peer ended, as exec.Cmd.Wait does. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// WaitPort returns when addr accepts connections. It fails the test when the peer ends before or a minute has passed.
func (p *Process) WaitPort(addr string) {
	p.t.Helper()
	for start := time.Now(); ; time.Sleep(portPoll) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-p.done:
			p.t.Fatalf("peer test: %s ended (%v) before it listened on %s:\n%s", p.Cmd.Path, p.err, addr, p.Log())
			return
		default:
		}
		if time.Since(start) > portTimeout {
			p.t.Fatalf("peer test: %s does not listen on %s: %v", p.Cmd.Path, addr, err)
			return
		}
	}
}

// Log returns the end of what the peer has printed so far, 16 KiB at most.
func (p *Process) Log() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		_, _ = f.Seek(-logTail, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(f, logTail))
	return string(text)
}

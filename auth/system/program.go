package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/auth"
)

// Limits of a Program.
const (
	maxRequest = 512      // octets on descriptor 3, as the protocol has it
	maxOutput  = 64 << 10 // octets of output that are read
)

// Program is an Authenticator that asks a program by the checkpassword protocol
// (http://cr.yp.to/checkpwd/interface.html): it reads "user NUL password NUL timestamp NUL" from descriptor 3
// and, if that is right, runs another program in the user's name. No shell is involved, the arguments
// are fixed, the environment is empty; nothing that a client sent is ever an argument. Set Path.
// Safe for concurrent use.
type Program struct {
	Path string
	Args []string // arguments before Then; usually none

	// Then is the program that is run after success, and its arguments. Nil means "/usr/bin/env -0", whose
	// output tells USER and HOME, and whatever else the program has set: variables that begin with "userdb_" become
	// attributes, as Dovecot has it.
	Then []string

	Timeout  time.Duration // for an answer; zero: 30 s; negative: no limit
	Parallel int           // programs at once, others wait; zero: 8; negative: no limit

	once   sync.Once
	tokens chan struct{}
}

// Authenticate runs the program. Exit code 0 is success and 1 a refusal; everything else, as 111, is
// temporary trouble.
func (p *Program) Authenticate(ctx context.Context, at *auth.Attempt) (auth.Identity, error) {
	request := at.User + "\x00" + at.Secret.Reveal() + "\x00Y\x00" // no timestamp, as with other password logins
	if len(request) > maxRequest || strings.Count(request, "\x00") != 3 {
		return auth.Identity{}, fmt.Errorf("%w: user name and password do not fit the checkpassword protocol", auth.ErrCredentials)
	}
	release, err := p.turn(ctx)
	if err != nil {
		return auth.Identity{}, auth.Unavailable(err)
	}
	defer release()
	timeout := p.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	out, err := p.run(ctx, request)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return identity(at.User, out), nil
	case ctx.Err() != nil:
		return auth.Identity{}, auth.Unavailable(errors.Join(ctx.Err(), err))
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return auth.Identity{}, fmt.Errorf("%w: %s refused", auth.ErrCredentials, p.Path)
	}
	return auth.Identity{}, auth.Unavailable(fmt.Errorf("%s: %w", p.Path, err))
}

// run runs the program with the request on its descriptor 3 and returns what it prints.
func (p *Program) run(ctx context.Context, request string) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, err = w.WriteString(request) // fits into the pipe
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	then := p.Then
	if then == nil {
		then = []string{"/usr/bin/env", "-0"}
	}
	cmd := exec.CommandContext(ctx, p.Path, append(append([]string{}, p.Args...), then...)...)
	cmd.Env = []string{} // nil would hand ours on
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{r}
	var out limited
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	err = cmd.Run()
	return out.Bytes(), err
}

// limited keeps the first maxOutput octets.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxOutput-l.Len())])
	return len(p), nil
}

// identity reads what env -0 printed.
func identity(user string, out []byte) auth.Identity {
	id := auth.Identity{User: user, Attributes: map[string]string{}}
	for line := range strings.SplitSeq(string(out), "\x00") {
		key, value, found := strings.Cut(line, "=")
		attribute, userdb := strings.CutPrefix(key, "userdb_")
		switch {
		case !found:
		case key == "USER" && value != "":
			id.User = value
		case key == "HOME":
			id.Attributes["home"] = value
		case userdb:
			id.Attributes[attribute] = value
		}
	}
	return id
}

// turn waits until fewer than Parallel programs run.
func (p *Program) turn(ctx context.Context) (release func(), err error) {
	p.once.Do(func() {
		n := p.Parallel
		if n == 0 {
			n = 8
		}
		if n > 0 {
			p.tokens = make(chan struct{}, n)
		}
	})
	if p.tokens == nil {
		return func() {}, ctx.Err()
	}
	select {
	case p.tokens <- struct{}{}:
		return func() { <-p.tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

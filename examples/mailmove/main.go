// Mailmove copies mail between mbox files and Maildirs, in any direction:
//
//	mailmove mbox:/var/mail/ann maildir:/home/ann/Maildir
//	mailmove maildir:/home/ann/Maildir mbox:/home/ann/mail/
//	mailmove maildir:/old/Maildir maildir:/new/Maildir
//
// "mbox:" takes a file, which is INBOX, or a directory of files, which are the folders; one that is not there yet is
// made as a directory when its name ends with "/". Dates, save dates, flags, keywords, special uses, subscriptions, annotations and
// access control lists are kept as far as the target can, and a Maildir's UIDs where the target has none yet; what the target can not keep is in the final report. Nothing is removed from the source.
//
// It can be stopped or killed at any time and started again with the same arguments: it goes on where it was and copies
// nothing twice. A later run copies what has come since. What was copied is remembered in a file beside the target
// (".mailmove-…"), which can be removed when the move is over; without it a further run would copy everything again. Two
// runs with the same arguments at once are refused.
//
// An mbox is only read, without locks: while other programs change it a message may be missed, which the next run then finds. A
// Maildir gets the UID list that it needs. Names that the target can not have are changed: "_" stands for what it does
// not take.
//
// The exit code is 0 when everything is copied; 1 when something could not be, or was missing in the comparison; 64 for
// wrong arguments; 66 when there is no mail at FROM; 75 when it was stopped by an error or by another run, and can be started
// again; 130 when it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/goniec-mail/goniec/mailbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes, where there are any those of sysexits.h.
const (
	exitDone        = 0
	exitIncomplete  = 1
	exitUsage       = 64
	exitNoInput     = 66
	exitAgain       = 75
	exitInterrupted = 130
)

type options struct {
	from, to  string
	dryRun    bool
	verify    bool
	keepUIDs  bool
	dialect   string
	stateFile string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(stderr, "mailmove: %v\nTry \"mailmove -help\".\n", err)
		return exitUsage
	}
	show := newProgress(stderr)
	reports, err := move(ctx, o, show)
	show.end()
	complete := printReport(stdout, o, reports)
	show.summary(stderr, o, reports)
	if err == nil && complete {
		return exitDone
	}
	if err == nil {
		return exitIncomplete
	}
	fmt.Fprintln(stderr, "mailmove:", explain(ctx, o, err))
	code := exitCode(ctx, err)
	if code != exitNoInput && code != exitUsage && code != exitIncomplete && exists(o.stateFile) {
		fmt.Fprintf(stderr, "mailmove: run it again with the same arguments to go on; what was copied is noted in %s\n", o.stateFile)
	}
	return code
}

// exists reports whether there is a file: nothing is noted before the first folder is open.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// oneFile reports that a place is an mbox file.
func oneFile(place string) bool {
	path, ok := strings.CutPrefix(place, "mbox:")
	info, err := os.Stat(path)
	return ok && err == nil && !info.IsDir()
}

// explain adds what to do to an error that has an answer.
func explain(ctx context.Context, o *options, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w (run it as the user who owns the mail)", err)
	case errors.Is(err, mailbox.ErrOverQuota):
		return fmt.Errorf("%w: raise the quota of the target or remove mail there", err)
	case errors.Is(err, mailbox.ErrCannot) && oneFile(o.to):
		return fmt.Errorf("%s is one file, which can only be INBOX; for the other folders name a directory, as mbox:mail/", o.to)
	}
	return err
}

func exitCode(ctx context.Context, err error) int {
	var wrong usageError
	switch {
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, errNoMail):
		return exitNoInput
	case errors.Is(err, mailbox.ErrName):
		return exitIncomplete
	}
	return exitAgain
}

const usage = `usage: mailmove [flags] FROM TO

FROM and TO are mbox:FILE, mbox:DIRECTORY/ or maildir:DIRECTORY. Examples:

  mailmove -dry-run mbox:/var/mail/ann maildir:/home/ann/Maildir   what would be copied
  mailmove -verify  mbox:/var/mail/ann maildir:/home/ann/Maildir   copy, then compare
  mailmove maildir:/old/Maildir maildir:/new/Maildir
  mailmove maildir:/home/ann/Maildir mbox:/home/ann/mail/

Nothing is removed from FROM. Stop it whenever you like; the same command goes on.

`

func parse(args []string, stdout io.Writer) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("mailmove", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&o.dryRun, "dry-run", false, "only count what would be copied")
	set.BoolVar(&o.verify, "verify", false, "afterwards compare both sides, message by message")
	set.BoolVar(&o.keepUIDs, "keep-uids", true, "keep the IMAP UIDs of a Maildir where the target has none yet, so that clients load nothing again")
	set.StringVar(&o.dialect, "mbox", "auto", "`dialect` of mbox files: mboxrd, mboxo, mboxcl, mboxcl2; auto detects when reading and writes mboxrd")
	set.StringVar(&o.stateFile, "state", "", "`file` that remembers what was copied (default: beside TO)")
	set.Usage = func() {}
	var places []string
	for rest := args; ; { // flags may stand behind FROM and TO, too
		if err := set.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprint(stdout, usage)
				set.SetOutput(stdout)
				set.PrintDefaults()
			}
			return nil, err
		}
		if rest = set.Args(); len(rest) == 0 {
			break
		}
		places, rest = append(places, rest[0]), rest[1:]
	}
	if len(places) != 2 {
		return nil, fmt.Errorf("FROM and TO are needed, and nothing else; there are %d arguments", len(places))
	}
	o.from, o.to = places[0], places[1]
	return o, nil
}

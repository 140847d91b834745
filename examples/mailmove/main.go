// Mailmove copies mail between mbox files and Maildirs, in any direction:
//
//	mailmove mbox:/var/mail/ann maildir:/home/ann/Maildir
//	mailmove maildir:/home/ann/Maildir mbox:/home/ann/mail
//	mailmove maildir:/old/Maildir maildir:/new/Maildir
//
// "mbox:" takes a file, which is INBOX, or a directory of files, which are the folders. Dates, flags and
// keywords are kept; nothing is removed from the source. It can be stopped or killed at any time and started
// again with the same arguments: it goes on where it was and copies nothing twice. A later run
// copies what has come since.
//
// An mbox is only read (of a file that is changed by other programs between two runs, remove the state file and begin
// anew); a Maildir gets the UID list that it needs. Run it once at a time for the same pair of arguments.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"

	"github.com/goniec-mail/goniec/mailbox"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // stopped by an error, or something is missing
	exitUsage  = 2
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
	o, err := parse(args, stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "mailmove:", err)
		}
		return exitUsage
	}
	reports, err := move(ctx, o, stderr)
	complete := printReport(stdout, o, reports)
	if err != nil {
		fmt.Fprintln(stderr, "mailmove:", err)
		if !o.dryRun && len(reports) > 0 {
			fmt.Fprintln(stderr, "mailmove: run it again to go on; state:", o.stateFile)
		}
		return exitFailed
	}
	if !complete {
		return exitFailed
	}
	return exitDone
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("mailmove", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprintln(stderr, "usage: mailmove [flags] FROM TO   (each mbox:PATH or maildir:PATH)")
		set.PrintDefaults()
	}
	set.BoolVar(&o.dryRun, "dry-run", false, "only count what would be copied")
	set.BoolVar(&o.verify, "verify", false, "afterwards compare both sides, message by message")
	set.BoolVar(&o.keepUIDs, "keep-uids", false, "keep IMAP UIDs where the target can (mbox)")
	set.StringVar(&o.dialect, "mbox", "auto", "dialect of mbox files: mboxrd, mboxo, mboxcl, mboxcl2; auto detects when reading and writes mboxrd")
	set.StringVar(&o.stateFile, "state", "", "file that remembers what was copied (default: beside TO)")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() != 2 {
		return nil, errors.New("FROM and TO are needed; see -help")
	}
	o.from, o.to = set.Arg(0), set.Arg(1)
	return o, nil
}

// printReport tells what happened to each folder; false when something was not copied.
func printReport(w io.Writer, o *options, reports []mailbox.FolderReport) bool {
	if len(reports) == 0 {
		return true
	}
	complete := true
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FOLDER\tMESSAGES\tCOPIED\tEARLIER\tFAILED\tOCTETS\tVERIFIED")
	for _, r := range reports {
		verified := "-"
		if o.verify && !o.dryRun {
			verified = fmt.Sprintf("%d of %d", r.Verified, r.Verified+r.Missing)
		}
		name := r.From
		if r.To != r.From {
			name += " -> " + r.To
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", name, r.Messages, r.Copied, r.Before, len(r.Failed), r.Octets, verified)
		complete = complete && len(r.Failed) == 0 && r.Missing == 0
	}
	_ = table.Flush()
	for _, r := range reports {
		for _, f := range r.Failed {
			fmt.Fprintf(w, "%s: message with UID %d was not copied: %v\n", r.From, f.UID, f.Err)
		}
	}
	return complete
}

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/goniec-mail/goniec/mailbox"
)

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
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", name, r.Messages, r.Copied, r.Before, r.FailedCount, r.Octets, verified)
		complete = complete && r.Complete()
	}
	_ = table.Flush()
	for _, r := range reports {
		printDetails(w, r)
	}
	return complete
}

// printDetails tells what was not copied, or not whole.
func printDetails(w io.Writer, r mailbox.FolderReport) {
	if r.Err != nil {
		fmt.Fprintf(w, "%s: not copied to its end: %v\n", r.From, r.Err)
	}
	for _, f := range r.Failed {
		fmt.Fprintf(w, "%s: message with UID %d was not copied: %v\n", r.From, f.UID, f.Err)
	}
	if more := r.FailedCount - len(r.Failed); more > 0 {
		fmt.Fprintf(w, "%s: and %d more\n", r.From, more)
	}
	for _, l := range r.Losses {
		if l.Messages == 0 {
			fmt.Fprintf(w, "%s: the target can not keep: %s\n", r.From, l.What)
		} else {
			fmt.Fprintf(w, "%s: %s copied without the %s\n", r.From, count(l.Messages, "message"), l.What)
		}
	}
	if r.Missing > 0 {
		fmt.Fprintf(w, "%s: %s missing in the target, or different there\n", r.From, count(r.Missing, "message"))
	}
}

// count is a number of things.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// summary is the last line: what this run has done, and how fast.
func (p *progress) summary(w io.Writer, o *options, reports []mailbox.FolderReport) {
	if len(reports) == 0 {
		return
	}
	var messages, before, copied int
	var octets int64
	for _, r := range reports {
		messages, before, copied, octets = messages+r.Messages, before+r.Before, copied+r.Copied, octets+r.Octets
	}
	if o.dryRun {
		fmt.Fprintf(w, "%d of %s in %s would be copied; nothing was (-dry-run)\n",
			messages-before, count(messages, "message"), count(len(reports), "folder"))
		return
	}
	took := max(time.Since(p.begin), time.Millisecond)
	fmt.Fprintf(w, "%s copied, %.1f MB, in %s (%.0f messages/s)\n", count(copied, "message"), float64(octets)/1e6, took.Round(10*time.Millisecond), float64(copied)/took.Seconds())
}

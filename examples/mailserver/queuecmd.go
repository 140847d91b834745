package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

const queueUsage = `usage: mailserver queue VERB [-data DIR] [-control PATH] [ID ...]
  list [-json]         all messages, as mailq shows them, or one JSON object a line
  show ID              one message as JSON, with what happened to it; also when it is gone
  cat ID               the message itself
  hold|release ID|ALL  keep from delivery, and let go
  flush [ID ...]       try now: these, or all but those that wait for a time that their sender set
  flush -dest DOMAIN   try now what goes to a domain
  requeue ID|ALL       find the way anew, as for mail that has just come
  expire ID|ALL        give up now, with a report to the sender; ALL needs -yes
  delete ID|ALL        remove without a report; ALL needs -yes
  submit [-f SENDER] [-t] [-i] [RCPT ...]
                       queue the message on standard input, as sendmail does, and print its ID; -t takes the
                       recipients from To, Cc and Bcc, without -i a line with a dot alone is the end
`

// socketPath is where the control socket of a server with this data folder is, unless -control says otherwise.
func socketPath(data string) string { return filepath.Join(data, "queue.sock") }

// queueFlags are what "mailserver queue VERB" takes.
type queueFlags struct {
	data, control, dest string
	json, yes           bool
	submit              submission
}

func (o *queueFlags) parse(args []string, stderr io.Writer) (verb string, ids []string, err error) {
	f := flag.NewFlagSet("mailserver queue", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, queueUsage) }
	f.StringVar(&o.data, "data", "goniec-demo", "")
	f.StringVar(&o.control, "control", "", "")
	f.StringVar(&o.dest, "dest", "", "")
	f.BoolVar(&o.json, "json", false, "")
	f.BoolVar(&o.yes, "yes", false, "")
	f.StringVar(&o.submit.from, "f", "", "")
	f.BoolVar(&o.submit.fromTo, "t", false, "")
	f.BoolVar(&o.submit.dots, "i", false, "")
	if len(args) == 0 {
		f.Usage()
		return "", nil, flag.ErrHelp
	}
	switch verb = args[0]; verb {
	case "-h", "-help", "--help", "help":
		f.Usage()
		return "", nil, flag.ErrHelp
	case "list", "show", "cat", "hold", "release", "flush", "requeue", "expire", "delete", "submit":
	default:
		f.Usage()
		return "", nil, fmt.Errorf("queue: there is no verb %q: those above can be used", verb)
	}
	for args = args[1:]; ; args = f.Args()[1:] { // people write flags behind the ID too
		if err = f.Parse(args); err != nil || f.NArg() == 0 {
			return verb, ids, err
		}
		if at := len(args) - f.NArg(); at > 0 && args[at-1] == "--" {
			return verb, append(ids, f.Args()...), nil
		}
		ids = append(ids, f.Arg(0))
	}
}

// queueCommand is "mailserver queue ...": through the running server, or on the store when none runs.
func queueCommand(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var o queueFlags
	verb, ids, err := o.parse(args, stderr)
	if err != nil {
		return err
	}
	if verb == "list" && len(ids) > 0 {
		return fmt.Errorf("queue list takes no ID: \"queue show %s\" tells of one message", ids[0])
	}
	hands, closer, err := handsOn(o.data, o.control)
	if err != nil {
		return fmt.Errorf("queue %s: %w", verb, err)
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	switch verb {
	case "list":
		if o.json {
			return control.WriteJSON(stdout, hands.List(ctx, queue.Filter{}))
		}
		return control.WriteMailq(stdout, hands.List(ctx, queue.Filter{}), nil)
	case "submit":
		o.submit.rcpts = ids
		id, err := o.submit.send(ctx, hands, os.Stdin)
		if err == nil {
			fmt.Fprintln(stdout, id)
		}
		return err
	case "flush":
		switch {
		case o.dest != "" && len(ids) > 0:
			return errors.New("queue flush: name messages or a domain with -dest, not both")
		case len(ids) == 0 || len(ids) == 1 && ids[0] == "ALL":
			return hands.FlushDest(ctx, o.dest)
		}
	}
	return o.each(ctx, verb, hands, ids, stdout)
}

// each carries out a verb for messages.
func (o *queueFlags) each(ctx context.Context, verb string, hands control.Hands, ids []string, stdout io.Writer) error {
	do := map[string]func(context.Context, queue.ID) error{
		"show":    func(ctx context.Context, id queue.ID) error { return show(ctx, hands, id, stdout) },
		"cat":     func(ctx context.Context, id queue.ID) error { return hands.Cat(ctx, id, stdout) },
		"hold":    hands.Hold,
		"release": hands.Release,
		"flush":   hands.Flush,
		"requeue": hands.Requeue,
		"expire":  hands.Expire,
		"delete":  hands.Delete,
	}[verb]
	if len(ids) == 0 {
		return fmt.Errorf("queue %s: which message? Give its ID, as \"queue list\" shows it", verb)
	}
	everything := slices.Contains(ids, "ALL")
	if everything {
		var err error
		if ids, err = o.all(ctx, verb, hands, ids); err != nil {
			return err
		}
	}
	var failed error
	for _, id := range ids {
		// A listing marks states with a sign behind the ID, which people copy along.
		id = strings.TrimRight(id, "*!#")
		err := do(ctx, queue.ID(id))
		if err != nil && !(everything && errors.Is(err, queue.ErrNotFound)) { // which went meanwhile
			failed = errors.Join(failed, fmt.Errorf("queue %s: message %s: %w%s", verb, id, err, advice(err)))
		}
	}
	return failed
}

// all are the IDs that ALL stands for, where it may be said.
func (o *queueFlags) all(ctx context.Context, verb string, hands control.Hands, ids []string) (all []string, err error) {
	switch {
	case len(ids) > 1:
		return nil, fmt.Errorf("queue %s: name messages or ALL, not both", verb)
	case verb == "show":
		return nil, errors.New("queue show tells of one message: \"queue list\" or \"queue list -json\" shows all")
	case verb == "cat":
		return nil, errors.New("queue cat prints one message: give its ID")
	case (verb == "delete" || verb == "expire") && !o.yes:
		return nil, fmt.Errorf("queue %s ALL can not be undone: say \"queue %s ALL -yes\" if every message is meant", verb, verb)
	}
	for e, err := range hands.List(ctx, queue.Filter{Brief: true}) {
		if err != nil {
			return nil, fmt.Errorf("queue %s: %w", verb, err)
		}
		all = append(all, string(e.ID))
	}
	return all, nil
}

// advice says what can be done about an error, for people.
func advice(err error) string {
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return ": see \"queue list\", and \"queue show\" for what is gone"
	case errors.Is(err, queue.ErrBusy):
		return ": try again when the attempt is over"
	case errors.Is(err, queue.ErrCorrupt):
		return ": \"queue delete\" removes it; what could be saved is in the folder quarantine"
	case errors.Is(err, os.ErrPermission):
		return ": run it as the user of the server, or as root"
	}
	return ""
}

// shown is what show prints: what is queued, if it still is, and what happened so far.
type shown struct {
	ID    queue.ID
	Entry *queue.Entry  `json:",omitempty"`
	Past  []queue.Event `json:",omitempty"`
}

func show(ctx context.Context, hands control.Hands, id queue.ID, w io.Writer) error {
	out := shown{ID: id}
	e, err := hands.Show(ctx, id)
	switch {
	case err == nil:
		out.Entry = &e
	case !errors.Is(err, queue.ErrNotFound):
		return err
	}
	for e, pastErr := range hands.Past(ctx, id) {
		switch {
		case pastErr == nil:
			out.Past = append(out.Past, e)
		case errors.Is(pastErr, queue.ErrNotFound), errors.Is(pastErr, errors.ErrUnsupported):
		default:
			return pastErr
		}
	}
	if err != nil && len(out.Past) == 0 {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

// handsOn reaches the queue of a data folder: through the socket of the server that has it, or by
// opening the store when none runs.
func handsOn(data, socket string) (control.Hands, io.Closer, error) {
	named := socket != ""
	if !named {
		socket = socketPath(data)
	}
	if conn, err := net.Dial("unix", socket); err == nil {
		_ = conn.Close() // it has shown that somebody is there; each request makes its own
		return &control.Client{Path: socket}, closers{}, nil
	} else if named && errors.Is(err, os.ErrPermission) {
		return nil, nil, fmt.Errorf("control socket: %w%s", err, advice(err))
	} else if named {
		return nil, nil, fmt.Errorf("control socket: %w: is the server running with -control %s? Without -control the queue of the folder -data is worked on", err, socket)
	}
	_, err := os.Stat(filepath.Join(data, "queue"))
	if errors.Is(err, os.ErrPermission) {
		return nil, nil, fmt.Errorf("%w%s", err, advice(err))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no queue here: %w: name the server's folder with -data", err)
	}
	store, err := queue.OpenFiles(filepath.Join(data, "queue"), queue.FileOptions{})
	var owned *queue.OwnedError
	if errors.As(err, &owned) && owned.Socket != "" && owned.Socket != socket { // of a server with -control
		return handsOn(data, owned.Socket)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w%s", err, advice(err))
	}
	history, err := openHistory(data, nil)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return &queue.Queue{Store: store, History: history}, closers{store, history}, nil
}

// openQueue opens what the server keeps of mail under way.
func (o *options) openQueue(logger *slog.Logger) (*queue.FileStore, *queue.FileHistory, error) {
	spool, err := queue.OpenFiles(filepath.Join(o.data, "queue"), queue.FileOptions{Control: o.control, Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	history, err := openHistory(o.data, logger)
	if err != nil {
		return nil, nil, errors.Join(err, spool.Close())
	}
	return spool, history, nil
}

// openHistory opens the record of what happened to messages, in a server's data folder.
func openHistory(data string, logger *slog.Logger) (*queue.FileHistory, error) {
	return queue.OpenHistory(filepath.Join(data, "history"), queue.HistoryOptions{Logger: logger})
}

// closers are closed one after the other.
type closers []io.Closer

func (c closers) Close() (err error) {
	for _, x := range c {
		err = errors.Join(err, x.Close())
	}
	return err
}

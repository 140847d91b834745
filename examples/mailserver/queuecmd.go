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
	"strings"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

const queueUsage = `usage: mailserver queue VERB [-data DIR] [ID ...]
  list [-json]         all messages, as mailq shows them, or one JSON object a line
  show ID              one message as JSON, with what happened to it; also when it is gone
  cat ID               the message itself
  hold|release ID|ALL  keep from delivery, and let go
  flush [ID ...]       try now: these, or all
  delete ID|ALL        remove without a report; ALL needs -yes
`

// socketPath is where the control socket of a server with this data folder is.
func socketPath(data string) string { return filepath.Join(data, "queue.sock") }

// queueCommand is "mailserver queue ...": through the running server, or on the store when none runs.
func queueCommand(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	f := flag.NewFlagSet("mailserver queue", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { fmt.Fprint(stderr, queueUsage) }
	data := f.String("data", "goniec-demo", "")
	asJSON := f.Bool("json", false, "")
	yes := f.Bool("yes", false, "")
	if len(args) == 0 || args[0] == "help" || strings.HasPrefix(args[0], "-h") || strings.HasPrefix(args[0], "--h") {
		f.Usage()
		return flag.ErrHelp
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	hands, closer, err := handsOn(*data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	switch verb, ids := args[0], f.Args(); verb {
	case "list":
		if *asJSON {
			return control.WriteJSON(stdout, hands.List(ctx, queue.Filter{}))
		}
		return control.WriteMailq(stdout, hands.List(ctx, queue.Filter{}), nil)
	case "show":
		return each(ctx, hands, ids, false, func(id queue.ID) error {
			return show(ctx, hands, id, stdout)
		})
	case "cat":
		return each(ctx, hands, ids, false, func(id queue.ID) error { return hands.Cat(ctx, id, stdout) })
	case "hold":
		return each(ctx, hands, ids, true, func(id queue.ID) error { return hands.Hold(ctx, id) })
	case "release":
		return each(ctx, hands, ids, true, func(id queue.ID) error { return hands.Release(ctx, id) })
	case "flush":
		if len(ids) == 0 {
			ids = []string{"ALL"}
		}
		return each(ctx, hands, ids, true, func(id queue.ID) error { return hands.Flush(ctx, id) })
	case "delete":
		return each(ctx, hands, ids, *yes, func(id queue.ID) error { return hands.Delete(ctx, id) })
	}
	f.Usage()
	return fmt.Errorf("queue: no verb %q", args[0])
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

// each does something to the messages named, or to all of them where ALL is allowed.
func each(ctx context.Context, hands control.Hands, ids []string, all bool, do func(queue.ID) error) error {
	if len(ids) == 0 {
		return errors.New("queue: which message? give its ID, as list shows it")
	}
	if len(ids) == 1 && ids[0] == "ALL" {
		if !all {
			return errors.New("queue: ALL is not possible here without -yes")
		}
		ids = nil
		for e, err := range hands.List(ctx, queue.Filter{}) {
			if err != nil {
				return err
			}
			ids = append(ids, string(e.ID))
		}
	}
	for _, id := range ids {
		// A listing marks states with a sign behind the ID, which people copy along.
		id = strings.TrimRight(id, "*!#")
		if err := do(queue.ID(id)); err != nil {
			return fmt.Errorf("queue: %s: %w", id, err)
		}
	}
	return nil
}

// handsOn reaches the queue of a data folder: through the socket of the server that has it, or by
// opening the store when none runs.
func handsOn(data string) (control.Hands, io.Closer, error) {
	if conn, err := net.Dial("unix", socketPath(data)); err == nil {
		return &control.Client{Path: socketPath(data)}, conn, nil
	}
	_, err := os.Stat(filepath.Join(data, "queue"))
	if errors.Is(err, os.ErrPermission) {
		return nil, nil, fmt.Errorf("queue: %w: run it as the user of the server, or as root", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no queue here: %w: name the server's folder with -data", err)
	}
	store, err := queue.OpenFiles(filepath.Join(data, "queue"), queue.FileOptions{})
	if err != nil {
		return nil, nil, err
	}
	history, err := openHistory(data, nil)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return &queue.Queue{Store: store, History: history}, closers{store, history}, nil
}

// openQueue opens what the server keeps of mail under way.
func (o *options) openQueue(logger *slog.Logger) (*queue.FileStore, *queue.FileHistory, error) {
	spool, err := queue.OpenFiles(filepath.Join(o.data, "queue"), queue.FileOptions{Control: socketPath(o.data), Logger: logger})
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

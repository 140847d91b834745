package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

const queueUsage = `usage: mailserver queue VERB [-data DIR] [ID ...]
  list [-json]         all messages, as mailq shows them, or one JSON object a line
  show ID              one message as JSON
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
	if len(args) == 0 {
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
			e, err := hands.Show(ctx, id)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(e)
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
	if _, err := os.Stat(filepath.Join(data, "queue")); err != nil {
		return nil, nil, fmt.Errorf("no queue here: %w: name the server's folder with -data", err)
	}
	store, err := queue.OpenFiles(filepath.Join(data, "queue"), queue.FileOptions{})
	if err != nil {
		return nil, nil, err
	}
	return &queue.Queue{Store: store}, store, nil
}

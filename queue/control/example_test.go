package control_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goniec-mail/goniec"
	"github.com/goniec-mail/goniec/queue"
	"github.com/goniec-mail/goniec/queue/control"
)

func Example() {
	dir, _ := os.MkdirTemp("", "control")
	defer os.RemoveAll(dir)
	l, err := control.Listen(filepath.Join(dir, "control"))
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &control.Server{Queue: &queue.Queue{Store: &queue.Memory{}, Deliverer: goniec.Discard()}}
	go server.Serve(l)
	defer server.Close()

	client := &control.Client{Path: filepath.Join(dir, "control")}
	to, _ := goniec.ParseAddress("ann@example.org")
	env := &goniec.Envelope{To: []goniec.Recipient{{Address: to}}}
	if _, err := client.Enqueue(context.Background(), env, strings.NewReader("Subject: x\r\n\r\n"), queue.Options{Hold: true}); err != nil {
		fmt.Println(err)
	}
	for e, err := range client.List(context.Background(), queue.Filter{}) {
		fmt.Println(e.State(), e.Envelope.To[0].Address, time.Since(e.Since) < time.Minute, err)
	}
	// Output: hold ann@example.org true <nil>
}

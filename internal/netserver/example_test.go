package netserver_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/goniec-mail/goniec/internal/netserver"
)

// A protocol of one command. The first line of a unit of work is waited for idly, so that Shutdown may end the connection
// there and nowhere else.
func handle(_ context.Context, c *netserver.Conn) {
	br := bufio.NewReader(c)
	fmt.Fprint(c, "220 ready\r\n")
	for {
		if c.BeginIdle(5*time.Minute) != nil {
			fmt.Fprint(c, "421 4.3.2 shutting down\r\n")
			return
		}
		line, err := br.ReadString('\n')
		if c.EndIdle() != nil {
			fmt.Fprint(c, "421 4.3.2 shutting down\r\n")
			return
		}
		if err != nil {
			return
		}
		fmt.Fprintf(c, "250 %s", line)
	}
}

func Example() {
	var s netserver.Server
	cfg := &netserver.Config{Protocol: "toy", Handle: handle, Refusal: func(why error) string {
		return "421 4.7.0 " + why.Error() + "\r\n"
	}}
	go s.ListenAndServe("127.0.0.1:0", cfg)
	<-s.Ready()

	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	replies := bufio.NewScanner(client)
	next := func() {
		replies.Scan()
		fmt.Println(replies.Text())
	}
	next()
	fmt.Fprint(client, "NOOP\r\n")
	next()
	go s.Shutdown(context.Background())
	next()
	// Output:
	// 220 ready
	// 250 NOOP
	// 421 4.3.2 shutting down
}

package dialogue_test

import (
	"bufio"
	"context"
	"fmt"
	"net"

	"github.com/goniec-mail/goniec/internal/dialogue"
)

// A dialogue with a server that answers every line with itself.
func ExamplePlay() {
	dial := func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			lines := bufio.NewScanner(theirs)
			for lines.Scan() {
				fmt.Fprintf(theirs, "%s\r\n", lines.Text())
			}
			theirs.Close()
		}()
		return ours, nil
	}
	err := dialogue.Play("echo", "C: 250 hello\nS: ~ [0-9]{3} .*\nC: 354\nS: 250", dialogue.Target{Dial: dial})
	fmt.Println(err)
	// Output:
	// echo:4:
	// expected  S: 250
	// got       S: 354
	// the dialogue so far:
	//     C: 250 hello
	//     S: 250 hello
	//     C: 354
	//     S: 354
}

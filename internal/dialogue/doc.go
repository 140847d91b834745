// Package dialogue runs dialogue files: scripts of what a client and a server say to each other, which anybody who knows the RFC can
// review. It serves the tests of all protocols.
//
//	func TestDialogues(t *testing.T) {
//		dialogue.Run(t, "testdata/*.txt", func(t *testing.T, settings map[string]string) dialogue.Target {
//			srv := newTestServer(t, settings)
//			return dialogue.Target{Dial: srv.Dial}
//		})
//	}
//
// # Lines of a file
//
//	# text           a comment; empty lines are skipped too
//	% key value      a setting, handed to the setup function; before all other lines
//	C: text          send text and CRLF on the first connection
//	C: text\         send text without CRLF
//	S: text          expect exactly this line
//	S: ~ pattern     expect a line that matches the whole regular expression
//	C2: S2:          the same on the second connection, and so on up to 99
//	! name args      call the hook of that name
//
// A connection is opened by the first line that names it. One space after the colon belongs to the syntax. A reply of several lines is
// several S lines, and the octets of a literal are the lines they make.
//
// In text, \r \n \t \\ and \xHH stand for octets, and \$ \~ \< for signs that would mean something else. Text that a pattern
// captured as (?P<name>...) is available as ${name} from then on, in text, patterns and arguments.
//
// # Directives
//
//	C: <CONNECT>         open the connection now, or again
//	C: <TLS>             go over to TLS with Target.TLS
//	C: <CLOSE>           close the connection
//	C: <HALFCLOSE>       close it for writing
//	C: <RESET>           close it with a TCP reset
//	C: <PAUSE 20ms>      wait
//	C: <REPEAT 999 text> send text so many times, without CRLF
//	C: <PLAIN text>      send text without CRLF, below TLS
//	S: <EOF>             expect the end of the stream, or a reset
//	S: <NOTHING 50ms>    expect that nothing comes for so long
//
// # Client tests
//
// With Target.Play set to Server the file plays the server: S lines are sent and C lines expected. Dial then returns the
// server's end of a connection that the client under test has made.
//
// # Updating
//
// go test -update rewrites the exact lines that were expected with what came. Patterns stay, and have to match. The flag belongs to this package;
// other tests ask Update.
//
// # Limits
//
// Each read and write has Target.Timeout (30 s). A line has 1 MiB, a file 99 connections.
package dialogue

// Package netserver is the net server loop that the smtp, lmtp, pop3 and imap servers share: it accepts connections, limits
// them, hands each to a protocol in a goroutine of its own, and ends them in order. It knows nothing of any protocol.
//
// # Shape
//
// A protocol's server holds a [Server] in an unexported field and offers net/http's methods over it. The zero Server is
// ready; what a protocol wants travels in a [Config] with each Serve call, so several listeners (plain, implicit TLS, a
// unix socket) may serve at once and share one set of limits.
//
//	func (s *Server) Serve(l net.Listener) error         { return s.loop.Serve(l, s.config()) }
//	func (s *Server) Shutdown(ctx context.Context) error { return s.loop.Shutdown(ctx) }
//
// # A connection's life
//
//	accept → limits → PROXY header (listed peers only) → limits for the real client → TLS (ServeTLS) → Handle → close
//
// Over a limit the client gets one line of the protocol's choice and is closed; no goroutine is started and no TLS for it.
// The limits are: connections in all, connections per address, new connections per address and minute. An address is an
// IPv4 /32 or an IPv6 /64.
//
// # Idle and active: how Shutdown stays polite
//
// A connection is active from its first moment. A handler that waits for the next command says so:
//
//	if err := c.BeginIdle(timeout); err != nil { // the server is shutting down
//		return c.bye("421 4.3.2 shutting down")
//	}
//	line, err := c.readLine()
//	if c.EndIdle() != nil { // shut down while waiting; a command that came in the same instant was not begun
//		return c.bye("421 4.3.2 shutting down")
//	}
//
// Shutdown wakes idle handlers at once through their read deadline; active ones finish their unit of work and learn of it at
// their next BeginIdle. Both steps happen under the connection's lock, so a command is either begun, and then finished, or
// refused: never cut. Whoever is left when Shutdown's context ends has its context cancelled with [ErrServerClosed] as the
// cause and its socket closed.
//
// # Time
//
// No read is without a deadline unless a limit is negative. [Conn.StartStage] sets one for a whole unit of reading (a command, a message, a literal)
// that single octets do not extend, and optionally a minimum rate. Every Write call has [Config.WriteTimeout] to complete.
//
// # Limits of this package
//
//   - A PROXY version 1 header must arrive in one segment, as the specification asks of its sender; version 2 headers may
//     announce at most 4096 octets. Only TCP over IPv4 or IPv6 is accepted in either. What a header says about TLS between
//     client and proxy is ignored: such a connection counts as plain text.
//   - On implicit TLS listeners a refused client is closed without a word, since a line of plain text would be no TLS.
//   - A handler that ignores its context and its closed socket cannot be ended; Close and Shutdown say how many are left.
package netserver

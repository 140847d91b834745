// Package dnsmxtest is a small DNS server for tests: authoritative for everything, on a loopback port
// of its own, over UDP and TCP.
//
//	srv := dnsmxtest.NewServer(t, `
//	example.org.      300 IN MX 10 mx.example.org.
//	mx.example.org.   300 IN A  192.0.2.1
//	`)
//	client := &dnsclient.Client{Servers: []string{srv.Addr}}
//
// Sign signs a zone with DNSSEC, for tests with a real validating resolver in front.
package dnsmxtest

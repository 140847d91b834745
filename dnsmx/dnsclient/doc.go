// Package dnsclient is the dnsmx.Resolver for real DNS servers: a stub resolver on miekg/dns that asks
// recursive servers over UDP, and over TCP when an answer was cut.
//
//	router := &dnsmx.Router{Resolver: &dnsmx.Cache{Resolver: &dnsclient.Client{}}}
//
// # DNSSEC
//
// It does not validate signatures. Meta.Authentic is the AD bit of a server that validates, and counts
// only from servers on a loopback address (run unbound or the like beside the mail server), since the
// bit itself is not protected on the way; TrustRemoteAD says otherwise where the path is safe.
//
// # Limits
//
// 5 s for each try, 2 rounds over at most 3 servers, 8 CNAMEs that the server left to us, answers of at
// most 64 KiB. Records that do not belong to the question are ignored.
package dnsclient

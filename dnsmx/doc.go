// Package dnsmx finds where mail for a domain goes and how much TLS it needs on the way: the MX rules
// of SMTP, DANE and MTA-STS, over a small Resolver interface. It never talks SMTP; package smtp's Relay
// takes a Router as it is.
//
//	router := &dnsmx.Router{Resolver: &dnsmx.Cache{Resolver: client}, Hostname: "mx.example.org"}
//	route, err := router.Route(ctx, "example.net")
//	fmt.Print(route) // hosts in order, their addresses, TLS level, and why
//
// # Sources
//
//	RFC 5321 §5      MX order, implicit MX, CNAMEs, ourselves in the list
//	RFC 7505         null MX
//	RFC 8461         MTA-STS: STS, PolicyFetcher, PolicyDir
//	RFC 6698, 7672   DANE for SMTP: TLSA usages 2 and 3
//	RFC 5891         internationalised names, as A-labels
//
// # Answers and trouble
//
// A Resolver that says ErrNXDomain or ErrNoData has answered. Anything else is trouble, and trouble is
// never taken for an answer: Route says 451 and the mail waits. The address of a domain is used only
// when the DNS answered that there is no MX.
//
// # Trust
//
// DANE stands on Meta.Authentic. A Resolver sets it only when a validating resolver that it trusts,
// over a path that it trusts, said so; see package dnsclient. An authentic host whose TLSA records
// can not be looked up is not used: whoever makes a lookup fail must gain nothing.
//
// MTA-STS policies are kept as long as they ask, also when the DNS denies them later; give STS a
// PolicyStore so that this holds over restarts, and call STS.Refresh once a day, so that a policy does not
// expire because no mail went to its domain for a while. A store that can not be read makes mail wait, where nothing else tells
// what the policy is. DANE stands above MTA-STS.
//
// # Limits
//
// A route has at most 10 hosts and 20 addresses, a name 8 CNAMEs, a policy 64 KiB, 200 host patterns and a minute. A Cache
// keeps 16 MiB of answers, STS 10,000 policies and 16 MiB in memory.
// Exchangers in private or reserved networks are refused unless Router.AllowPrivate.
//
// # What is not here
//
// TLS reports (RFC 8460) are not collected. PolicyDir keeps the files of domains whose policy has expired.
package dnsmx

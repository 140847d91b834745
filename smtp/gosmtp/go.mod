module github.com/goniec-mail/goniec/smtp/gosmtp

go 1.26.0

require (
	github.com/emersion/go-sasl v0.0.0-20241020182733-b788ff22d5a6
	github.com/emersion/go-smtp v0.25.1
	github.com/goniec-mail/goniec v0.0.0
)

require (
	github.com/pires/go-proxyproto v0.15.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/goniec-mail/goniec => ../..

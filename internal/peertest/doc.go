// Package peertest is for tests with real peers (curl, swaks, Postfix, Dovecot, ...), with corpora, and in long form. Such tests run where what they
// need is there, and are skipped by name elsewhere, so that a skip can be seen and counted.
//
//	GONIEC_PEERS=required  a missing peer fails the test instead of skipping it (CI sets it)
//	GONIEC_NODE_MODULES=dir npm packages, installed from examples/mailserver/testdata/npm
//	GONIEC_CORPORA=dir     the folder of the corpora
//	GONIEC_LONG=1          the long form of the tests runs
//
// Peers that are servers listen on loopback, in a temporary folder of their own, in the foreground; they are stopped by process
// group, with all their children, when the test ends. A peer that puts itself into the background escapes that, and
// must not be used. On systems without process groups only the process itself is stopped.
package peertest

// Package directorytest is the conformance suite of delivery.Directory: a driver proves itself by
// telling what its test data hold.
//
//	func TestConformance(t *testing.T) {
//		directorytest.Test(t, openMyDirectory(t), directorytest.Content{
//			Domains: []string{"example.org"},
//			Users:   map[string]string{"alice@example.org": "alice@example.org"},
//			Aliases: map[string][]string{"team@example.org": {"alice@example.org", "bob@example.net"}},
//			Absent:  []string{"nobody@example.org"},
//			Foreign: []string{"example.com"},
//		})
//	}
package directorytest

// Package authtest proves that an Authenticator keeps its contract, in the manner of testing/fstest:
//
//	func TestConformance(t *testing.T) {
//		authtest.TestAuthenticator(t, authtest.Suite{
//			New:  func(t *testing.T) auth.Authenticator { return &myTable{…} },
//			User: "alice", Password: "secret", // somebody who is in it
//		})
//	}
//
// Optional interfaces (auth.SCRAMKeyer, auth.PasswordSource, auth.TokenVerifier) are tested where they are
// implemented and auth.Answers says so. The number of hash computations (an unknown user must cost what a
// wrong password does) can not be seen from outside; count them in a test of your own.
package authtest

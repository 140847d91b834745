package smtp

import "strings"

// extension is a set of ESMTP extensions: what a server offered, or one of them.
type extension uint32

// The extensions that this package knows.
const (
	extPipelining    extension = 1 << iota // RFC 2920
	extSize                                // RFC 1870
	ext8BitMIME                            // RFC 6152
	extStatusCodes                         // RFC 2034
	extStartTLS                            // RFC 3207
	extAuth                                // RFC 4954
	extSMTPUTF8                            // RFC 6531
	extChunking                            // RFC 3030
	extBinaryMIME                          // RFC 3030
	extDSN                                 // RFC 3461
	extLimits                              // RFC 9422
	extRequireTLS                          // RFC 8689
	extDeliverBy                           // RFC 2852
	extFutureRelease                       // RFC 4865
	extMTPriority                          // RFC 6710
	extRRVS                                // RFC 7293
	extXClient                             // Postfix XCLIENT
	extXForward                            // Postfix XFORWARD
)

// extensionNames are the EHLO keywords, in the order of the bits.
var extensionNames = [...]string{
	"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES", "STARTTLS", "AUTH", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN",
	"LIMITS", "REQUIRETLS", "DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "RRVS", "XCLIENT", "XFORWARD",
}

// has reports whether all of other is in e.
func (e extension) has(other extension) bool { return e&other == other }

// parseExtension returns the extension that a line of an EHLO reply announces, 0 if we don't know it, and its
// parameters.
func parseExtension(line string) (e extension, params string) {
	word, params, _ := strings.Cut(line, " ")
	for i, name := range extensionNames {
		if strings.EqualFold(word, name) {
			return 1 << i, params
		}
	}
	return 0, params
}

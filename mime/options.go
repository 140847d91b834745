package mime

import (
	"fmt"
	"io"
)

// Content is a message at rest: bytes that can be read at any offset, and how many there are.
// goniec.Content has the same method set, and so have *bytes.Reader, *strings.Reader and
// *io.SectionReader.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Default limits, used where a field of Options is zero.
const (
	DefaultMaxDepth            = 100
	DefaultMaxParts            = 10_000
	DefaultMaxHeaderBytes      = 10 << 20
	DefaultMaxTotalHeaderBytes = 50 << 20
	DefaultMaxHeaderFields     = 100_000
	DefaultMaxParams           = 100
	DefaultMaxWarnings         = 100
)

// Options limits what a parser keeps of a message. The zero value is what a server wants. In
// every number zero means the default and a negative value no limit. A limit never loses bytes
// and never makes an error (except with Strict): what lies beyond it is left uninterpreted, and
// a Warning says so.
type Options struct {
	// MaxDepth is the deepest nesting of multiparts and embedded messages that is opened; what
	// lies deeper is a leaf. Zero means 100.
	MaxDepth int
	// MaxParts is the number of parts, the message itself included. The last one takes all that
	// follows. Zero means 10,000.
	MaxParts int
	// MaxHeaderBytes is how much of one header block is looked at. Zero means 10 MiB.
	MaxHeaderBytes int64
	// MaxTotalHeaderBytes is how much of all header blocks together is looked at. Zero means 50
	// MiB.
	MaxTotalHeaderBytes int64
	// MaxHeaderFields is how many fields of one header block are looked at. Zero means 100,000.
	MaxHeaderFields int
	// MaxParams is how many parameters of one Content-Type or Content-Disposition field are
	// kept. Zero means 100.
	MaxParams int
	// MaxWarnings is how many warnings are kept. Zero means 100.
	MaxWarnings int
	// Strict makes the first warning an error (of type *Warning) that ends the parse.
	Strict bool
}

// limits are the options with every default filled in.
type limits struct {
	depth, parts, fields, params, warnings int
	header, total                          int64
	strict                                 bool
}

func (o Options) limits() limits {
	return limits{
		depth:    limit(o.MaxDepth, DefaultMaxDepth),
		parts:    limit(o.MaxParts, DefaultMaxParts),
		fields:   limit(o.MaxHeaderFields, DefaultMaxHeaderFields),
		params:   limit(o.MaxParams, DefaultMaxParams),
		warnings: limit(o.MaxWarnings, DefaultMaxWarnings),
		header:   limit(o.MaxHeaderBytes, DefaultMaxHeaderBytes),
		total:    limit(o.MaxTotalHeaderBytes, DefaultMaxTotalHeaderBytes),
		strict:   o.Strict,
	}
}

// limit resolves one number: zero is the default, negative as good as unlimited.
func limit[T int | int64](v, def T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return 1 << 30
	}
	return v
}

// WarningKind names what is odd about a message.
type WarningKind uint8

// The kinds of warning.
const (
	WarnMalformedField   WarningKind = iota + 1 // a header line that is neither field nor continuation; kept, not interpreted
	WarnMissingBlankLine                        // a header that ends without its empty line
	WarnDuplicateField                          // a field that may occur once occurs again; the first counts
	WarnContentType                             // a Content-Type that cannot be read; text/plain is assumed
	WarnEncoding                                // an unknown transfer encoding, or one that is not allowed for the type
	WarnBoundary                                // a multipart without a usable boundary parameter; kept as a leaf
	WarnNoParts                                 // a multipart whose body has no delimiter line
	WarnNotClosed                               // a multipart that ends without its close delimiter
	WarnDepth                                   // MaxDepth reached: kept as a leaf
	WarnParts                                   // MaxParts reached: the rest is one leaf
	WarnHeaderBytes                             // a header limit reached: later fields are not interpreted
	WarnParams                                  // MaxParams reached, or a parameter that cannot be read
	WarnBase64                                  // characters outside the alphabet, or a length that is no multiple of four
	WarnQuotedPrintable                         // an escape that is none, or a soft line break at the end
	WarnUuencode                                // a line that is not uuencoded
	WarnCharset                                 // text in an unknown charset
)

var warningTexts = [...]string{
	WarnMalformedField:   "malformed header field",
	WarnMissingBlankLine: "no empty line after the header",
	WarnDuplicateField:   "duplicate header field",
	WarnContentType:      "malformed Content-Type",
	WarnEncoding:         "unknown or forbidden Content-Transfer-Encoding",
	WarnBoundary:         "multipart without a usable boundary",
	WarnNoParts:          "multipart without parts",
	WarnNotClosed:        "multipart without its close delimiter",
	WarnDepth:            "parts nested too deeply",
	WarnParts:            "too many parts",
	WarnHeaderBytes:      "header too long",
	WarnParams:           "too many or malformed parameters",
	WarnBase64:           "malformed base64",
	WarnQuotedPrintable:  "malformed quoted-printable",
	WarnUuencode:         "malformed uuencode",
	WarnCharset:          "unknown charset",
}

// String returns the kind in words.
func (k WarningKind) String() string {
	if int(k) < len(warningTexts) && warningTexts[k] != "" {
		return warningTexts[k]
	}
	return fmt.Sprintf("mime.WarningKind(%d)", uint8(k))
}

// Warning is one oddity of a message: what, where, and in which part.
type Warning struct {
	Kind   WarningKind
	Offset int64 // octets from the start of the message
	Part   int   // index in Structure.Parts
}

// Error makes *Warning the error of a strict parse.
func (w *Warning) Error() string {
	return fmt.Sprintf("mime: %s in part %d at offset %d", w.Kind, w.Part, w.Offset)
}

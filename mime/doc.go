// Package mime reads any message and builds correct ones.
//
// # Reading
//
// Parse reads a message at rest (Content) once and returns its Structure: a flat list of parts
// with the byte offsets of their headers and bodies, their sizes and lines, and what their
// headers say, which is all that IMAP's ENVELOPE, BODYSTRUCTURE and section fetches need. A
// Structure can be kept (MarshalBinary), and its methods give the header, the raw, decoded or
// UTF-8 body of each part. A Reader does the same for a message that passes by once.
//
// No message is an error because it is ugly. The parsers take linear time, use no recursion,
// keep every octet in a part or in a gap between parts, and say in Warnings what they had to
// guess; Options.Strict makes an error of the first guess. The guesses are:
//
//   - A line ends with CRLF or LF. A CR alone is an ordinary octet.
//   - A delimiter line is "--", the boundary, perhaps "--", and white space to the end of the line. The innermost open multipart with
//     that boundary owns it. A multipart that misses its close delimiter ends where an outer one continues, or with the message.
//   - A header ends at its empty line, at a delimiter line of an open multipart, or at the first line that is no field, with
//     which the body begins (as Postfix, sendmail and Python read it); unless the line after that is one of Content-*, MIME-Version,
//     Message-ID and Received, for then it is a badly wrapped line, and passed over. So are an mbox separator ("From ") and a
//     continuation line before the first field.
//   - Of fields that may occur once the first counts.
//   - A missing or malformed Content-Type is text/plain; in a multipart/digest a missing one is message/rfc822.
//   - A multipart without a boundary and a message/rfc822 with a transfer encoding are leaves. A multipart may have no parts.
//   - Text without a known charset is UTF-8 where it is UTF-8, and windows-1252 where it is not. UTF-7 is not decoded.
//
// A Header is a list of fields that keeps their raw octets and order; edits touch only the
// fields they name.
//
// # Writing
//
// A Message becomes a message with Date, Message-ID and MIME-Version, its text in the encoding
// that suits, its files in base64; an Entity is one part where the usual tree is not enough.
// All values are checked before the first octet is written: control characters are a
// *ValueError, so that nothing can begin a header field of its own. Report, DSN, MDN and
// Feedback read and write multipart/report. Downgrade converts a message for servers without
// 8BITMIME or BINARYMIME.
//
// # What is data and what is structure
//
// Values come as they stand in the message (unfolded); Text methods decode encoded words for
// display, and their results hold no control characters. Addresses are parsed before anything
// is decoded, and Address.Addr quotes a local part again, so that nothing in a name or a local
// part becomes structure.
//
// # Limits
//
// Options holds the limits of the parsers: depth (100), parts (10,000), header octets (10 MiB
// each, 50 MiB in all), fields (100,000), parameters (100), warnings (100). Beyond a limit
// bytes are kept and not interpreted. Address lists end after MaxAddresses, lists of message
// ids after MaxMessageIDs, a continued parameter after 100 pieces. A boundary may have 1,000
// octets.
//
// # RFCs
//
//	5322  message format, with its obsolete syntax       2045-2049  MIME
//	6532  internationalised headers                      2047       encoded words
//	2183  Content-Disposition                            2231       parameter continuations and charsets
//	3282  Content-Language                               2557       Content-Location
//	2387  multipart/related                              8970       preview text
//	3464  delivery status notifications                  6522       multipart/report
//	6533  internationalised DSN and MDN                  8098       message disposition notifications
//	5965  feedback reports (ARF)                         6152, 3030 conversion to 7bit and 8bit
//
// Not here: multipart/signed and encrypted are kept, not verified; message/partial is not put
// together (RFC 2046 §5.2.2), and message/external-body not fetched; yEnc and BinHex are not
// decoded; charsets are those of golang.org/x/text.
package mime

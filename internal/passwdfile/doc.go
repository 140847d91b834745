// Package passwdfile reads and edits passwd-files in Dovecot's format, for every room that needs
// one: auth/passwd asks for passwords, delivery for who exists.
//
//	user:password:uid:gid:(gecos):home:(shell):extra fields
//
// Lines that are empty or begin with "#" or ":" say nothing. Fields may be missing at the end. The
// extra fields are key=value or key, separated by blanks; they may contain ":". Dovecot's older
// form, where an empty field stands before a mail location, is read as the field userdb_mail.
// The first line for a name counts, as in Dovecot.
//
// A line that can not be read is left out and reported as "file:line: reason", without the line
// itself, which holds a password.
//
// # Reload
//
// File looks for changes at most once in Interval, during look-ups, and takes a new version over as
// a whole once it has been left alone for Settle: a half-saved file must not make users unknown
// and their mail bounce. Until then the old version answers. When the file is gone or unreadable for
// longer than Settle, Lookup returns the error, which is temporary trouble and never "no such user".
//
// # Memory
//
// A version is the file's text plus 8 to 16 bytes for each line, in two allocations that hold
// no pointers; reloading holds two versions for a moment. Limits: File.MaxBytes and File.MaxLine.
package passwdfile

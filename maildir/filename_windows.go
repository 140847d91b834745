package maildir

// infoSep stands between a message's name and its info ("2,FLAGS"). Windows takes ":" for a stream's
// separator; ";" is what other programs use there.
const infoSep = ';'

package maildir_test

import "os"

// long is the long form of tests.
var long = os.Getenv("GONIEC_LONG") == "1"

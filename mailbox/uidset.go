package mailbox

// UIDRange is the UIDs from First to Last, both included; First <= Last.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs, kept as intervals: ascending, disjoint, not touching. nil is the empty
// set. It is a value: its methods return new sets and never change their receiver, so that sets
// can be shared; who builds one by hand keeps the order.
type UIDSet []UIDRange

// AllUIDs is the set of all possible UIDs.
func AllUIDs() UIDSet { return UIDSet{{1, MaxUID}} }

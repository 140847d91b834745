package queue

// Notices are classes of events of which the postmaster is told.
type Notices uint8

type noticeState struct{}

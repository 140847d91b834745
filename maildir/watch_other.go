//go:build !linux

package maildir

// observer has no counterpart here.
type observer struct{}

// observe is false: the folder must be polled.
func (s *Store) observe(*folder) (stop func(), ok bool) { return nil, false }

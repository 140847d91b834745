//go:build !linux

package maildir

// observer has no counterpart here.
type observer struct{}

// observe is false: directories must be polled.
func (s *Store) observe(...dirWatch) (stop func(), ok bool) { return nil, false }

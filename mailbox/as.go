package mailbox

import "reflect"

// Capability names an optional interface for wrappers: "mailbox.Searcher" and so on, the name of
// the interface type with its package.
type Capability string

// CapabilityOf returns the Capability of an optional interface.
func CapabilityOf[T any]() Capability { return Capability(reflect.TypeFor[T]().String()) }

// As finds the optional interface T of v, a Store, Account or Mailbox. It looks through a wrapper
// only where the wrapper says that it lets T pass:
//
//	Unwrap() any
//	Passes(c Capability) bool
//
// so that an access check can not be walked past. A value that has T's methods for every case but
// can not always serve them (as what Intercept returns) says so with Supports(c Capability) bool.
func As[T any](v any) (T, bool) {
	c := CapabilityOf[T]()
	for {
		if t, ok := v.(T); ok {
			if s, ok := v.(interface{ Supports(c Capability) bool }); !ok || s.Supports(c) {
				return t, true
			}
		}
		w, ok := v.(interface {
			Unwrap() any
			Passes(c Capability) bool
		})
		if !ok || !w.Passes(c) {
			var none T
			return none, false
		}
		v = w.Unwrap()
	}
}

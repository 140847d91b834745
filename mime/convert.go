package mime

import (
	"context"

	"github.com/goniec-mail/goniec"
)

// Convert is Downgrade as the hook that smtp.Dialer.Convert wants: it returns msg in the form that a
// server takes which does not offer BINARYMIME (to is goniec.Body8BitMIME) or 8BITMIME (to is
// goniec.Body7Bit). The result is spooled and is an io.Closer. Errors are those of Downgrade, and of
// spooling. It is safe for concurrent use.
func Convert(ctx context.Context, msg goniec.Content, to goniec.BodyType) (goniec.Content, error) {
	form := "7bit"
	if to == goniec.Body8BitMIME {
		form = "8bit"
	}
	r, err := Downgrade(msg, form)
	if err != nil {
		return nil, err
	}
	return goniec.Spool(ctx, r, -1) // whoever received the message has limited it
}

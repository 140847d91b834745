package webhook

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goniec-mail/goniec/auth"
)

// The header fields of a request, those of Standard Webhooks.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

// HeaderVerdict in an answer 422, with the value "refuse", refuses a message for good.
const HeaderVerdict = "webhook-verdict"

// Tolerance is how far the clocks of the two sides may be apart.
const Tolerance = 5 * time.Minute

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // octets, as Standard Webhooks has it
	maxSecret    = 64
)

// ErrSignature is in the chain of every error of Verify.
var ErrSignature = errors.New("webhook: signature is not valid")

// NewSecret makes a secret in the form that Hook.Secrets and Verify take: "whsec_" and 32 random octets in base64.
func NewSecret() auth.Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return auth.NewSecret(secretPrefix + base64.StdEncoding.EncodeToString(b[:]))
}

// SecretFile reads a secret from a file, and makes a new one with mode 0600 if there is none.
func SecretFile(path string) (auth.Secret, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		s := NewSecret()
		return s, writeNew(path, s.Reveal()+"\n")
	}
	s := auth.NewSecret(strings.TrimSpace(string(b)))
	if err == nil {
		_, err = key(s)
	}
	if err != nil {
		return auth.Secret{}, fmt.Errorf("secret file %s: %w", path, err)
	}
	return s, nil
}

func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("secret file: %w", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// key is what a secret stands for. The error does not show it.
func key(s auth.Secret) ([]byte, error) {
	text, ok := strings.CutPrefix(s.Reveal(), secretPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) < minSecret || len(b) > maxSecret {
		return nil, fmt.Errorf(`webhook: a secret is %q and %d to %d octets in base64`, secretPrefix, minSecret, maxSecret)
	}
	return b, nil
}

func keys(secrets []auth.Secret) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("webhook: no secret to sign with; NewSecret makes one")
	}
	var list [][]byte
	for _, s := range secrets {
		k, err := key(s)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// signer makes the signatures of one request while its body is written to it.
type signer []hash.Hash

func newSigner(keys [][]byte, id, timestamp string) signer {
	var s signer
	for _, k := range keys {
		h := hmac.New(sha256.New, k)
		_, _ = io.WriteString(h, id+"."+timestamp+".")
		s = append(s, h)
	}
	return s
}

// Write implements io.Writer.
func (s signer) Write(p []byte) (int, error) {
	for _, h := range s {
		_, _ = h.Write(p)
	}
	return len(p), nil
}

// header is the value of webhook-signature.
func (s signer) header() string {
	var list []string
	for _, h := range s {
		list = append(list, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(list, " ")
}

// Verify is the receiver's side: it checks that body was signed with one of the secrets, at most Tolerance before or after now. The
// error wraps ErrSignature, unless a secret is malformed.
func Verify(h http.Header, body []byte, now time.Time, secrets ...auth.Secret) error {
	list, err := keys(secrets)
	if err != nil {
		return err
	}
	timestamp := h.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: no timestamp", ErrSignature)
	}
	if apart := now.Sub(time.Unix(seconds, 0)); apart.Abs() > Tolerance {
		return fmt.Errorf("%w: signed at another time (%s ago)", ErrSignature, apart.Round(time.Second))
	}
	s := newSigner(list, h.Get(HeaderID), timestamp)
	_, _ = s.Write(body)
	for want := range strings.SplitSeq(s.header(), " ") {
		for got := range strings.SplitSeq(h.Get(HeaderSignature), " ") {
			if hmac.Equal([]byte(want), []byte(got)) {
				return nil
			}
		}
	}
	return ErrSignature
}

package dnsmx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/goniec-mail/goniec/faultfs"
)

// policyFormat is the first line of a file of PolicyDir.
const policyFormat = "goniec-mta-sts 1"

// PolicyDir is a PolicyStore in a directory, a file for each domain. It is safe for concurrent use in
// one process.
type PolicyDir struct {
	Dir faultfs.Dir
	// Max is how many policies are kept; of further domains Save refuses them, so that nobody can fill the disk, or push other
	// domains' policies out, with domains made up for it. 0 = 100,000, negative = no limit.
	Max int

	mu      sync.Mutex
	count   int // files, once counted
	counted bool
}

// ErrTooManyPolicies is PolicyDir's error beyond Max.
var ErrTooManyPolicies = errors.New("too many MTA-STS policies are kept")

// Load implements PolicyStore.
func (d *PolicyDir) Load(_ context.Context, domain string) (*STSPolicy, error) {
	name, err := policyFile(domain)
	if err != nil {
		return nil, err
	}
	data, err := faultfs.ReadFile(d.Dir, name, 2*maxPolicyText)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parsePolicyFile(domain, data)
}

// Save implements PolicyStore: durable when it returns nil.
func (d *PolicyDir) Save(_ context.Context, p *STSPolicy) error {
	name, err := policyFile(p.Domain)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nid: %s\nfetched: %d\nversion: STSv1\nmode: %s\nmax_age: %d\n", policyFormat, p.ID, p.Fetched.Unix(), p.Mode, int64(p.MaxAge/time.Second))
	for _, mx := range p.MX {
		fmt.Fprintf(&b, "mx: %s\n", mx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh, err := d.room(name)
	if err != nil {
		return err
	}
	err = faultfs.WriteFile(d.Dir, name, b.Bytes(), 0o600)
	if err == nil && fresh {
		d.count++
	}
	return err
}

// room reports whether a file is a new one, and an error if there is no room for it. d.mu is held.
func (d *PolicyDir) room(name string) (fresh bool, err error) {
	_, err = d.Dir.Lstat(name)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if !d.counted {
		d.count = 0
		for _, err := range d.Domains(context.Background()) {
			if err != nil {
				return false, err
			}
			d.count++
		}
		d.counted = true
	}
	limit := d.Max
	if limit == 0 {
		limit = 100_000
	}
	if limit > 0 && d.count >= limit {
		return false, fmt.Errorf("%w: %d", ErrTooManyPolicies, d.count)
	}
	return true, nil
}

// Delete removes the policy of a domain, if there is one: STS.Refresh does that to policies that have long expired.
func (d *PolicyDir) Delete(_ context.Context, domain string) error {
	name, err := policyFile(domain)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.Dir.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		d.count--
	}
	return err
}

// Domains yields the domains with a policy, expired ones too.
func (d *PolicyDir) Domains(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names, err := d.Dir.Names()
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if domain, ok := strings.CutSuffix(name, ".sts"); ok && !yield(domain, nil) {
				return
			}
		}
	}
}

// policyFile is the name of a domain's file; a domain is checked, since it comes from an address.
func policyFile(domain string) (string, error) {
	name, err := asciiName(domain)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", fmt.Errorf("no policy file for %.80q", domain)
	}
	return name + ".sts", nil
}

func parsePolicyFile(domain string, data []byte) (*STSPolicy, error) {
	text, ok := strings.CutPrefix(string(data), policyFormat+"\n")
	if !ok {
		return nil, fmt.Errorf("policy file of %s is not of format %q", domain, policyFormat)
	}
	p, err := ParseSTSPolicy(text)
	if err != nil {
		return nil, fmt.Errorf("policy file of %s: %w", domain, err)
	}
	p.Domain = domain
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "id":
			p.ID = value
		case "fetched":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("policy file of %s: fetched %.40q", domain, value)
			}
			p.Fetched = time.Unix(n, 0)
		}
	}
	return p, nil
}

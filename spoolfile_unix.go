//go:build unix

package goniec

import "os"

// createTemp makes a file that has no name: nothing is left behind by a crash.
func createTemp(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "goniec-spool-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func closeTemp(f *os.File) error { return f.Close() }

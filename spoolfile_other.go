//go:build !unix

package goniec

import (
	"errors"
	"os"
)

func createTemp(dir string) (*os.File, error) { return os.CreateTemp(dir, "goniec-spool-*") }

func closeTemp(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

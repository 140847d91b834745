//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package faultfs

// badInName: Windows reads backslash as a separator and colon as a drive or
// alternate stream.
const badInName = "/\\:\x00"

func openDir(path string) (Dir, error) { return openRootDir(path) }

// Stat implements File.
func (f *osFile) Stat() (Info, error) {
	info, err := f.File.Stat()
	return infoFrom(info, err)
}

func (f *osFile) datasync() error { return f.File.Sync() }

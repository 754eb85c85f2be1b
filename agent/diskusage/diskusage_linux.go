package diskusage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// blockSize is the unit of st_blocks, whatever the filesystem's own.
const blockSize = 512

// Of returns what a folder and all below it take: blocks that are in use, a file
// of several names once, and nothing of filesystems mounted in it. A folder that
// is not there takes none, nor does what goes meanwhile.
func Of(dir string) (Usage, error) {
	type inode struct{ device, number uint64 }
	var total Usage
	var device uint64
	seen := make(map[inode]bool)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = entry.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s has no inode", path)
		}
		if path == dir {
			device = stat.Dev
		}
		id := inode{stat.Dev, stat.Ino}
		switch {
		case stat.Dev != device && entry.IsDir():
			return filepath.SkipDir
		case stat.Dev != device, seen[id]:
			return nil
		case stat.Nlink > 1 && !entry.IsDir():
			seen[id] = true
		}
		total.Add(Usage{Bytes: stat.Blocks * blockSize, Inodes: 1})
		return nil
	})
	if err != nil {
		return Usage{}, fmt.Errorf("add up what %s takes: %w", dir, err)
	}
	return total, nil
}

package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names by which a layer says what it removes of those below it.
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	opaqueXattr    = "trusted.overlay.opaque"
	paxXattr       = "SCHILY.xattr."
)

// unpacker writes a layer's archive into a folder. Everything goes through an
// os.Root: no name and no symbolic link of the archive leads out of it.
type unpacker struct {
	root *os.Root
	size int64
	// dirTimes are set last, since writing into a folder changes its time.
	dirTimes map[string]time.Time
}

// untar unpacks an archive and returns the bytes of its files.
func untar(r io.Reader, dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	u := &unpacker{root: root, dirTimes: map[string]time.Time{}}
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return u.size, u.setDirTimes()
		}
		if err != nil {
			return 0, corruptIfTar(err)
		}
		if err := u.entry(header, archive); err != nil {
			return 0, fmt.Errorf("unpack %q: %w", header.Name, corruptIfTar(err))
		}
	}
}

// corruptIfTar marks the errors of a malformed archive.
func corruptIfTar(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrInsecurePath) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// entry unpacks one entry. Names are taken from the layer's root, however many
// ".." they begin with.
func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	name := inside(header.Name)
	if name == "." {
		if header.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is no folder", ErrCorrupt)
		}
		return u.setMetadata(name, header)
	}
	dir, base := path.Split(name)
	if dir != "" {
		if err := u.root.MkdirAll(path.Clean(dir), 0o755); err != nil {
			return err
		}
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(path.Clean(dir), base)
	}
	if err := u.makeWay(name, header.Typeflag); err != nil {
		return err
	}
	made, err := u.create(name, header, content)
	if err != nil || !made {
		return err
	}
	return u.setMetadata(name, header)
}

func inside(name string) string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return "."
	}
	return clean
}

// makeWay removes what an earlier entry put in the place of this one. A folder
// may be named twice.
func (u *unpacker) makeWay(name string, kind byte) error {
	info, err := u.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() && kind == tar.TypeDir {
		return nil
	}
	if err != nil {
		return err
	}
	return u.root.RemoveAll(name)
}

// create makes the entry itself. It tells whether metadata is to be set: a hard
// link's is its target's.
func (u *unpacker) create(name string, header *tar.Header, content io.Reader) (bool, error) {
	switch header.Typeflag {
	case tar.TypeDir:
		if err := u.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		return true, nil
	case tar.TypeReg:
		return true, u.writeFile(name, content)
	case tar.TypeSymlink:
		return true, u.root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		return false, u.root.Link(inside(header.Linkname), name)
	case tar.TypeChar:
		return true, u.mknod(name, unix.S_IFCHR, unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor)))
	case tar.TypeBlock:
		return true, u.mknod(name, unix.S_IFBLK, unix.Mkdev(uint32(header.Devmajor), uint32(header.Devminor)))
	case tar.TypeFifo:
		return true, u.mknod(name, unix.S_IFIFO, 0)
	case tar.TypeXGlobalHeader:
		return false, nil
	}
	return false, fmt.Errorf("%w: entry of type %q", ErrCorrupt, header.Typeflag)
}

func (u *unpacker) writeFile(name string, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	u.size += n
	return errors.Join(err, f.Close())
}

// inParent calls f with the entry's folder, opened, and its name there.
func (u *unpacker) inParent(name string, f func(dir int, base string) error) error {
	parent, err := u.root.OpenFile(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	return f(int(parent.Fd()), path.Base(name))
}

func (u *unpacker) mknod(name string, kind uint32, device uint64) error {
	return u.inParent(name, func(dir int, base string) error {
		return wrap("mknod", unix.Mknodat(dir, base, kind|0o600, int(device)))
	})
}

func wrap(call string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(call, err)
}

// whiteout writes overlayfs's form of what the layer removes: a device 0/0 for a
// name, an attribute for all that was in a folder.
func (u *unpacker) whiteout(dir, base string) error {
	if base == opaqueMarker {
		return u.setXattr(path.Join(dir, "."), opaqueXattr, "y")
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." || strings.HasPrefix(name, whiteoutPrefix) {
		return nil // other markers are other tools' bookkeeping
	}
	target := path.Join(dir, name)
	// The layer itself may have the name, too: then it replaces what is below.
	if _, err := u.root.Lstat(target); err == nil {
		return nil
	}
	return u.mknod(target, unix.S_IFCHR, 0)
}

// setMetadata sets owner, attributes, mode and times, in that order: changing the
// owner clears the set-user-ID bit.
func (u *unpacker) setMetadata(name string, header *tar.Header) error {
	if err := u.root.Lchown(name, header.Uid, header.Gid); err != nil {
		return err
	}
	for key, value := range header.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, paxXattr); ok && allowedXattr(attribute) {
			if err := u.setXattr(name, attribute, value); err != nil && !errors.Is(err, unix.ENOTSUP) {
				return err
			}
		}
	}
	if header.Typeflag == tar.TypeSymlink {
		return u.setLinkTime(name, header.ModTime)
	}
	if err := u.root.Chmod(name, header.FileInfo().Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky)); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		u.dirTimes[name] = header.ModTime
		return nil
	}
	return u.root.Chtimes(name, header.ModTime, header.ModTime)
}

// allowedXattr refuses overlayfs's own attributes: by them, an image could show
// files of other folders.
func allowedXattr(name string) bool {
	return !strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "user.overlay.")
}

// setXattr goes by the folder's descriptor, since the entry may be a link, or a
// device that must not be opened.
func (u *unpacker) setXattr(name, attribute, value string) error {
	if name == "." {
		return u.inParent("./x", func(dir int, _ string) error {
			return wrap("fsetxattr", unix.Fsetxattr(dir, attribute, []byte(value), 0))
		})
	}
	return u.inParent(name, func(dir int, base string) error {
		return wrap("lsetxattr", unix.Lsetxattr("/proc/self/fd/"+strconv.Itoa(dir)+"/"+base, attribute, []byte(value), 0))
	})
}

func (u *unpacker) setLinkTime(name string, modified time.Time) error {
	return u.inParent(name, func(dir int, base string) error {
		spec, err := unix.TimeToTimespec(modified)
		if err != nil {
			return nil //nolint:nilerr // a time the kernel cannot hold does not matter
		}
		return wrap("utimensat", unix.UtimesNanoAt(dir, base, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW))
	})
}

func (u *unpacker) setDirTimes() error {
	for name, modified := range u.dirTimes {
		// A later entry may have put something else there.
		if info, err := u.root.Lstat(name); err != nil || !info.IsDir() {
			continue
		}
		if err := u.root.Chtimes(name, modified, modified); err != nil {
			return err
		}
	}
	return nil
}

package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// resolveUser decides as whom a container runs. Names are looked up in the root
// filesystem's own files.
func resolveUser(rootfs, imageUser string, security Security) (specs.User, error) {
	name := imageUser
	if security.RunAsUser != nil {
		name = strconv.FormatInt(*security.RunAsUser, 10)
	}
	if security.RunAsGroup != nil {
		uid, _, _ := strings.Cut(name, ":")
		name = uid + ":" + strconv.FormatInt(*security.RunAsGroup, 10)
	}
	if err := checkNonRoot(imageUser, security); err != nil {
		return specs.User{}, err
	}
	found, err := lookUpUser(rootfs, name)
	if err != nil {
		return specs.User{}, err
	}
	if security.RunAsNonRoot && found.Uid == 0 {
		return specs.User{}, ErrRoot
	}
	return specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid), AdditionalGids: groups(found, security)}, nil
}

// checkNonRoot refuses a name, since a name's number is the image's to choose.
func checkNonRoot(imageUser string, security Security) error {
	if !security.RunAsNonRoot || security.RunAsUser != nil {
		return nil
	}
	name, _, _ := strings.Cut(imageUser, ":")
	if name == "" {
		return nil
	}
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		return fmt.Errorf("%w: container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root",
			ErrInvalid, name)
	}
	return nil
}

func lookUpUser(rootfs, name string) (*user.ExecUser, error) {
	passwd, err := openIn(rootfs, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer func() { _ = passwd.Close() }()
	group, err := openIn(rootfs, "/etc/group")
	if err != nil {
		return nil, err
	}
	defer func() { _ = group.Close() }()
	found, err := user.GetExecUser(name, nil, passwd, group)
	if err != nil {
		return nil, fmt.Errorf("%w: user %q: %w", ErrInvalid, name, err)
	}
	return found, nil
}

// openIn opens a file below root, with all symbolic links taken as they are seen
// by the container. A file that is not there reads as empty.
func openIn(root, path string) (io.ReadCloser, error) {
	handle, err := securejoin.OpenInRoot(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s of the image: %w", path, err)
	}
	defer func() { _ = handle.Close() }()
	info, err := handle.Stat()
	if err != nil {
		return nil, fmt.Errorf("open %s of the image: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s of the image is no file", ErrInvalid, path)
	}
	f, err := securejoin.Reopen(handle, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s of the image: %w", path, err)
	}
	return f, nil
}

func groups(found *user.ExecUser, security Security) []uint32 {
	all := []uint32{uint32(found.Gid)}
	for _, gid := range security.SupplementalGroups {
		if gid >= 0 && gid <= math.MaxUint32 {
			all = append(all, uint32(gid))
		}
	}
	if !security.StrictSupplementalGroups {
		for _, gid := range found.Sgids {
			all = append(all, uint32(gid))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

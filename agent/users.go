package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/userns"
)

// usersShare returns UsersShare's numbers.
func (c *Config) usersShare() (index, count int, err error) {
	before, after, found := strings.Cut(c.UsersShare, "/")
	if found {
		index, err = strconv.Atoi(before)
	}
	if found && err == nil {
		count, err = strconv.Atoi(after)
	}
	if !found || err != nil || index < 0 || count <= index || count > math.MaxUint16 {
		return 0, 0, fmt.Errorf("user-namespace-share %q is not INDEX/COUNT with an index from 0 and below the count", c.UsersShare)
	}
	return index, count, nil
}

// users returns what gives pods users of their own. Where the machine cannot, it
// gives none, and says why.
func (c *Config) users(images *image.Store, log *slog.Logger) *userns.Pool {
	all, err := userns.OfMachine(context.Background(), c.UsersPerPod)
	if err == nil {
		index, count, _ := c.usersShare() // checked by Validate
		all = all.Share(index, count, c.UsersPerPod)
		err = all.Validate(c.UsersPerPod, c.MaxPods)
	}
	if err == nil {
		err = c.mapsUsers(images)
	}
	if err != nil {
		log.Warn("pods cannot have user namespaces", "error", err)
		return userns.Unavailable(err)
	}
	return userns.NewPool(all, c.UsersPerPod)
}

// mapsUsers says why files cannot be seen by pods with users of their own; nil if
// they can.
func (c *Config) mapsUsers(images *image.Store) error {
	if err := userns.Passable(c.imageConfig().MountsDir()); err != nil {
		return err
	}
	if err := images.MapsUsers(); err != nil {
		return err
	}
	for _, dir := range []string{c.runDir(), c.dir("pods"), c.dir("files")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("make a folder of pods' files: %w", err)
		}
		if err := userns.Probe(dir); err != nil {
			return err
		}
	}
	return nil
}

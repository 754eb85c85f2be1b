package runtime

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// addCDI adds the devices that are named as CDI devices, with the mounts, the
// environment and the hooks that their specifications ask for. The specifications
// are read anew each time: drivers write them as they prepare devices.
func (b *specBuilder) addCDI(spec *specs.Spec) error {
	if len(b.spec.CDIDevices) == 0 {
		return nil
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(b.cdiDirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("%w: CDI devices: %w", ErrInvalid, err)
	}
	missing, err := cache.InjectDevices(spec, b.spec.CDIDevices...)
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%w: CDI devices %s are not specified below %s", ErrInvalid, strings.Join(missing, ", "), strings.Join(b.cdiDirs, " or "))
	case err != nil:
		return fmt.Errorf("%w: CDI devices: %w", ErrInvalid, err)
	}
	return nil
}

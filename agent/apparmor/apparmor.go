// Package apparmor finds out what of AppArmor a machine has, and loads the profile
// of containers that choose none.
package apparmor

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/profiles/apparmor"
)

// DefaultProfile is the name of the profile that RuntimeDefault stands for: the one
// that container runtimes share. It is loaded once and stays until the machine is
// booted again, as containers of several nodes may have it.
const DefaultProfile = "navarch-default"

var errNotEnabled = errors.New("AppArmor is not enabled on the host")

// Support is what of AppArmor a machine has.
type Support struct {
	// Problem is why the kernel cannot enforce profiles; nil if it can.
	Problem error
	// DefaultProblem is why DefaultProfile is not loaded; nil if it is, or if there
	// is a Problem.
	DefaultProblem error
}

// Default is the profile of containers that choose none; empty leaves them as the
// agent is.
func (s Support) Default() string {
	if s.Problem != nil || s.DefaultProblem != nil {
		return ""
	}
	return DefaultProfile
}

// OfMachine looks what there is, and loads DefaultProfile.
func OfMachine() Support {
	if err := enabled("/sys/module/apparmor/parameters/enabled", "/sys/kernel/security/apparmor"); err != nil {
		return Support{Problem: err}
	}
	loaded, err := apparmor.IsLoaded(DefaultProfile)
	if err == nil && !loaded {
		err = apparmor.InstallDefault(DefaultProfile)
	}
	if err != nil {
		return Support{DefaultProblem: fmt.Errorf("load the AppArmor profile %s: %w", DefaultProfile, err)}
	}
	return Support{}
}

// enabled says why the kernel does not have AppArmor switched on, by its parameter
// and its folder. Without the folder runc finds none.
func enabled(parameter, folder string) error {
	value, err := os.ReadFile(parameter)
	if err != nil || len(value) == 0 || value[0] != 'Y' {
		return errNotEnabled
	}
	if _, err := os.Stat(folder); err != nil {
		return fmt.Errorf("%w: %w", errNotEnabled, err)
	}
	return nil
}

// Loaded says why a container cannot have a profile of the machine's; nil if it is
// loaded.
func Loaded(name string) error {
	loaded, err := apparmor.IsLoaded(name)
	if err != nil {
		return fmt.Errorf("look for the AppArmor profile %s: %w", name, err)
	}
	if !loaded {
		return fmt.Errorf("AppArmor profile not found %s", name)
	}
	return nil
}

package runtime

import (
	"errors"
	"testing"

	"navarch.dev/navarch/agent/apparmor"
)

// TestAppArmorOfSpecs: which profile confines a container and the commands in it.
func TestAppArmorOfSpecs(t *testing.T) {
	for _, tt := range []struct {
		name      string
		byDefault string
		security  Security
		want      string
	}{
		{"none chosen", "d", Security{}, "d"},
		{"none chosen, without AppArmor", "", Security{}, ""},
		{"the default", "d", Security{AppArmor: AppArmorRuntimeDefault}, "d"},
		{"unconfined", "d", Security{AppArmor: AppArmorUnconfined}, ""},
		{"privileged", "d", Security{Privileged: true}, ""},
		{"privileged, by default", "d", Security{Privileged: true, AppArmor: AppArmorRuntimeDefault}, ""},
	} {
		b := specBuilder{
			cgroups: &cgroups{}, pod: &pod{}, appArmorDefault: tt.byDefault,
			spec: ContainerSpec{Command: []string{"/app"}, RootFS: t.TempDir(), Security: tt.security},
		}
		process, err := b.process()
		if err != nil {
			t.Fatal(err)
		}
		if process.ApparmorProfile != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, process.ApparmorProfile, tt.want)
		}
	}
}

func TestAppArmorThatCannotBe(t *testing.T) {
	b := specBuilder{cgroups: &cgroups{}, pod: &pod{}}
	b.spec.Security.AppArmor, b.spec.Security.AppArmorProfile = AppArmorLocalhost, "no-such-profile"
	if _, err := b.appArmor(); err == nil {
		t.Error("a profile that is not loaded is taken")
	}
	b.spec.Security.AppArmor = "Odd"
	if _, err := b.appArmor(); !errors.Is(err, ErrInvalid) {
		t.Errorf("of a type that does not exist: %v", err)
	}
}

// TestAppArmorLocalhost needs a machine with AppArmor: a profile that is loaded is
// one that the node's administrator may have loaded.
func TestAppArmorLocalhost(t *testing.T) {
	if apparmor.OfMachine().Default() == "" {
		t.Skip("this machine does not enforce profiles of AppArmor")
	}
	b := specBuilder{cgroups: &cgroups{}, pod: &pod{}, spec: ContainerSpec{Security: Security{AppArmor: AppArmorLocalhost, AppArmorProfile: apparmor.DefaultProfile}}}
	if got, err := b.appArmor(); err != nil || got != apparmor.DefaultProfile {
		t.Errorf("got %q, %v", got, err)
	}
}

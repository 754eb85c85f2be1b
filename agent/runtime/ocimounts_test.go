package runtime

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestDevicesOfContainers(t *testing.T) {
	for _, privileged := range []bool{false, true} {
		b := &specBuilder{spec: ContainerSpec{
			Security: Security{Privileged: privileged},
			Devices: []Device{
				{HostPath: "/dev/zero", ContainerPath: "/volumes/mine", Permissions: "r"},
				{HostPath: "/dev/zero", ContainerPath: "/dev/null", Permissions: "rwm"},
			},
		}}
		linux := &specs.Linux{Resources: &specs.LinuxResources{}}
		if err := b.addDevices(linux); err != nil {
			t.Fatal(err)
		}
		at := func(path string) (found []specs.LinuxDevice) {
			return slices.DeleteFunc(slices.Clone(linux.Devices), func(d specs.LinuxDevice) bool { return d.Path != path })
		}
		for _, path := range []string{"/volumes/mine", "/dev/null"} {
			if d := at(path); len(d) != 1 || d[0].Type != "c" || d[0].Major != 1 || d[0].Minor != 5 {
				t.Errorf("privileged %v: at %s there is %+v", privileged, path, d)
			}
		}
		if has := len(at("/dev/full")) == 1; has != privileged {
			t.Errorf("privileged %v: has the host's devices: %v", privileged, has)
		}
		rules := linux.Resources.Devices
		if len(rules) != 3 || rules[0].Allow != privileged || rules[0].Type != "" || rules[1].Access != "r" || rules[2].Access != "rwm" {
			t.Errorf("privileged %v: %+v", privileged, rules)
		}
	}
	b := &specBuilder{spec: ContainerSpec{Devices: []Device{{HostPath: "/proc/self/status", ContainerPath: "/d", Permissions: "r"}}}}
	if err := b.addDevices(&specs.Linux{Resources: &specs.LinuxResources{}}); err == nil {
		t.Error("a file was taken for a device")
	}
}

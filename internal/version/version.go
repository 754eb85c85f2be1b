// Package version says which version this is.
package version

import "runtime/debug"

// Kubernetes is the version of the Kubernetes API that is served.
const Kubernetes = "v1.37.2"

// Server is what the API reports as its version: clients read the Kubernetes
// version from its beginning.
const Server = Kubernetes + "+navarch"

// linked is set by the build: -ldflags "-X navarch.dev/navarch/internal/version.linked=v1.2.3".
var linked string

// Navarch returns the version of this program: what the build says, else the
// module's version, else "devel" with the revision it was built from.
func Navarch() string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

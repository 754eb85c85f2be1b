// Package version says which version this is.
package version

import "runtime/debug"

// Kubernetes is the version of the Kubernetes API that is served.
const Kubernetes = "v1.37.2"

// Server is what the API reports as its version: clients read the Kubernetes
// version from its beginning.
const Server = Kubernetes + "+navarch"

// Navarch returns the version of this program: the module's version, or
// "devel" with the revision it was built from.
func Navarch() string {
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

// Package podsecurity is the Pod Security Standards: what a pod may ask for at
// each of three levels.
//
// "privileged" allows everything; "baseline" what keeps a pod from taking over
// its node; "restricted" demands what hardens a pod as well. The standards
// change with Kubernetes' versions, and a namespace may pin one: then its pods
// are judged by the checks as they were.
package podsecurity

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Level is how much a pod may ask for.
type Level string

// The levels.
const (
	Privileged Level = "privileged"
	Baseline   Level = "baseline"
	Restricted Level = "restricted"
)

// strictness orders levels.
func (l Level) strictness() int {
	switch l {
	case Privileged:
		return 0
	case Baseline:
		return 1
	}
	return 2
}

// Version is the minor version of Kubernetes 1 whose standards apply.
type Version int

// Latest is the newest version, whatever it is.
const Latest Version = math.MaxInt

// String implements fmt.Stringer.
func (v Version) String() string {
	if v == Latest {
		return "latest"
	}
	return "v1." + strconv.Itoa(int(v))
}

// parseVersion reads "latest" or "v1.x".
func parseVersion(s string) (Version, error) {
	if s == "latest" {
		return Latest, nil
	}
	minor, ok := strings.CutPrefix(s, "v1.")
	n, err := strconv.Atoi(minor)
	if !ok || err != nil || n < 0 || minor != strconv.Itoa(n) {
		return Latest, fmt.Errorf(`must be "latest" or "v1.x"`)
	}
	return Version(n), nil
}

// parseLevel reads a level; the strictest stands in for one that is unknown.
func parseLevel(s string) (Level, error) {
	switch l := Level(s); l {
	case Privileged, Baseline, Restricted:
		return l, nil
	}
	return Restricted, fmt.Errorf("must be one of %s, %s, %s", Privileged, Baseline, Restricted)
}

// Standard is a level as of a version.
type Standard struct {
	Level   Level
	Version Version
}

// String returns for example "restricted:latest".
func (s Standard) String() string { return string(s.Level) + ":" + s.Version.String() }

// laxerThan says whether pods that s allows may be forbidden by other.
func (s Standard) laxerThan(other Standard) bool {
	return other.Level != Privileged && (s.Version != other.Version || s.Level.strictness() < other.Level.strictness())
}

// Violation is a way in which a pod breaks a standard.
type Violation struct {
	// Reason names it, Detail says which parts of the pod are at fault; it may
	// be empty.
	Reason, Detail string
}

// Violations are all ways in which a pod breaks a standard.
type Violations []Violation

// Reasons returns the violations' reasons in one line.
func (vs Violations) Reasons() string {
	parts := make([]string, len(vs))
	for i, v := range vs {
		parts[i] = v.Reason
	}
	return strings.Join(parts, ", ")
}

// String returns the violations in one line, in full.
func (vs Violations) String() string {
	parts := make([]string, len(vs))
	for i, v := range vs {
		parts[i] = v.Reason
		if v.Detail != "" {
			parts[i] += " (" + v.Detail + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// pod is what is judged.
type pod struct {
	*corev1.PodSpec
	annotations map[string]string
	// version is the one whose checks apply.
	version Version
}

// Evaluate returns how a pod breaks a standard, in the checks' order.
func (s Standard) Evaluate(meta *metav1.ObjectMeta, spec *corev1.PodSpec) Violations {
	if s.Level == Privileged {
		return nil
	}
	p := pod{PodSpec: spec, annotations: meta.Annotations, version: s.Version}
	var found Violations
	for _, c := range checks() {
		if !c.applies(s) {
			continue
		}
		if v := c.find(p); v != nil {
			found = append(found, *v)
		}
	}
	return found
}

// check is one rule of the standards.
type check struct {
	level Level
	// since is the first version that has the check.
	since Version
	// replaced says that at the level restricted a stricter check takes this
	// one's place, from the version replacedSince on.
	replaced      bool
	replacedSince Version
	find          func(pod) *Violation
}

func (c check) applies(s Standard) bool {
	if s.Version < c.since {
		return false
	}
	if s.Level == Baseline {
		return c.level == Baseline
	}
	return !c.replaced || s.Version < c.replacedSince
}

// checks lists the rules: the baseline's, then those of restricted, each in
// the order in which Kubernetes reports them.
func checks() []check {
	return []check{
		{level: Baseline, find: appArmorProfile},
		{level: Baseline, find: defaultCapabilities, replaced: true, replacedSince: 22},
		{level: Baseline, find: hostNamespaces},
		{level: Baseline, find: hostPathVolumes, replaced: true},
		{level: Baseline, find: hostPorts},
		{level: Baseline, find: handlerHosts, since: 34},
		{level: Baseline, find: privilegedContainers},
		{level: Baseline, find: procMountUnlessOwnUsers, replaced: true, replacedSince: 35},
		{level: Baseline, find: seLinuxOptions},
		{level: Baseline, find: seccompIfSet, replaced: true, replacedSince: 19},
		{level: Baseline, find: sysctls},
		{level: Baseline, find: windowsHostProcess},
		{level: Restricted, find: privilegeEscalation, since: 8},
		{level: Restricted, find: droppedCapabilities, since: 22},
		{level: Restricted, find: procMount, since: 35},
		{level: Restricted, find: volumeTypes},
		{level: Restricted, find: runAsNonRoot},
		{level: Restricted, find: runAsUser, since: 23},
		{level: Restricted, find: seccompRequired, since: 19},
	}
}

package framework

import (
	"fmt"
	"slices"
	"strings"
)

// NoNodes is the message where the cluster has no node at all.
const NoNodes = "no nodes available to schedule pods"

// Diagnosis is why a pod fits nowhere. Event messages and Explain are made of
// it.
type Diagnosis struct {
	// AllNodes is how many nodes there are.
	AllNodes int
	// Rejections are the verdicts on nodes, by name.
	Rejections map[string]*Status
	// Absent is the verdict on every node that has none of its own; nil if
	// there are none.
	Absent *Status
	// PreFilter is the verdict of a PreFilter plugin on all nodes.
	PreFilter *Status
	// PostFilter is what preemption said, "preemption: …".
	PostFilter string
}

// Plugins returns the plugins that rejected the pod anywhere, sorted.
func (d *Diagnosis) Plugins() []string {
	seen := make(map[string]bool)
	for _, s := range d.Rejections {
		seen[s.Plugin()] = true
	}
	for _, s := range []*Status{d.Absent, d.PreFilter} {
		if s.Rejected() {
			seen[s.Plugin()] = true
		}
	}
	delete(seen, "")
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Verdict returns the verdict on one node.
func (d *Diagnosis) Verdict(node string) *Status {
	if s, ok := d.Rejections[node]; ok {
		return s
	}
	if d.PreFilter.Rejected() {
		return d.PreFilter
	}
	return d.Absent
}

// Message is the sentence of a FailedScheduling event:
// "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
func (d *Diagnosis) Message() string {
	if d.AllNodes == 0 {
		return NoNodes
	}
	var b strings.Builder
	fmt.Fprintf(&b, "0/%d nodes are available:", d.AllNodes)
	if why := d.why(); why != "" {
		fmt.Fprintf(&b, " %s.", why)
	}
	if d.PostFilter != "" {
		fmt.Fprintf(&b, " %s.", strings.TrimSuffix(d.PostFilter, "."))
	}
	return b.String()
}

// why is the PreFilter's message, or each reason with its number of nodes.
func (d *Diagnosis) why() string {
	if d.PreFilter.Rejected() {
		return strings.TrimSuffix(d.PreFilter.Message(), ".")
	}
	counts := make(map[string]int)
	for _, s := range d.Rejections {
		for _, reason := range s.Reasons() {
			counts[reason]++
		}
	}
	if absent := d.AllNodes - len(d.Rejections); absent > 0 {
		for _, reason := range d.Absent.Reasons() {
			counts[reason] += absent
		}
	}
	reasons := make([]string, 0, len(counts))
	for reason, n := range counts {
		reasons = append(reasons, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(reasons)
	return strings.Join(reasons, ", ")
}

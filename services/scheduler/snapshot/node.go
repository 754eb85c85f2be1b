package snapshot

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeInfo is a node and the pods on it, added up. What a Snapshot hands out
// is immutable; Clone it to try a change.
type NodeInfo struct {
	// Node is nil while pods are known to be on a node that is not.
	Node *corev1.Node
	Pods []*PodInfo
	// WithPreferences are the pods whose terms rank nodes for others, which are
	// all but required anti-affinity, WithRequiredAntiAffinity those that keep
	// others away.
	WithPreferences, WithRequiredAntiAffinity []*PodInfo
	// Allocatable is what the node offers, Requested what its pods take of
	// it, Load the same with a figure for containers that ask for nothing.
	Allocatable, Requested, Load Resources
	Ports                        []HostPort
	// Images are the sizes of the images on the node, by each of their names.
	Images map[string]int64
	// Generation rises with every change of any node; no two versions of nodes
	// have the same. 0 is a node of no Cache, such as one that is tried out.
	Generation uint64
	// host and zone are those labels, nil if the node lacks them. Plugins ask
	// for them of every node.
	host, zone *string
	// place is the node's among those that are known at the same time: no two
	// have the same, and all are small.
	place int
}

// NewNodeInfo returns a node without pods.
func NewNodeInfo(node *corev1.Node) *NodeInfo {
	n := &NodeInfo{}
	n.setNode(node)
	return n
}

// Name is the node's name.
func (n *NodeInfo) Name() string { return n.Node.Name }

// Label returns one of the node's labels.
func (n *NodeInfo) Label(key string) (string, bool) {
	var value *string
	switch key {
	case corev1.LabelHostname:
		value = n.host
	case corev1.LabelTopologyZone:
		value = n.zone
	default:
		v, ok := n.Node.Labels[key]
		return v, ok
	}
	if value == nil {
		return "", false
	}
	return *value, true
}

// Clone copies what AddPod, RemovePod and setNode change. The copy is no version
// that a Cache knows.
func (n *NodeInfo) Clone() *NodeInfo {
	c := *n
	c.Generation = 0
	c.Pods = slices.Clone(n.Pods)
	c.WithPreferences = slices.Clone(n.WithPreferences)
	c.WithRequiredAntiAffinity = slices.Clone(n.WithRequiredAntiAffinity)
	c.Requested, c.Load = n.Requested.clone(), n.Load.clone()
	c.Ports = slices.Clone(n.Ports)
	return &c
}

// AddPod adds a pod.
func (n *NodeInfo) AddPod(p *PodInfo) {
	n.Pods = append(n.Pods, p)
	if p.hasPreferences() {
		n.WithPreferences = append(n.WithPreferences, p)
	}
	if len(p.AntiAffinity.Required) > 0 {
		n.WithRequiredAntiAffinity = append(n.WithRequiredAntiAffinity, p)
	}
	n.Requested.Add(p.Requests)
	n.Load.Add(p.Load)
	n.Ports = append(n.Ports, p.Ports...)
}

// RemovePod takes a pod away again and says whether it was there.
func (n *NodeInfo) RemovePod(uid types.UID) bool {
	i := slices.IndexFunc(n.Pods, isPod(uid))
	if i < 0 {
		return false
	}
	p := n.Pods[i]
	n.Pods = slices.Delete(n.Pods, i, i+1)
	n.WithPreferences = slices.DeleteFunc(n.WithPreferences, isPod(uid))
	n.WithRequiredAntiAffinity = slices.DeleteFunc(n.WithRequiredAntiAffinity, isPod(uid))
	n.Requested.Sub(p.Requests)
	n.Load.Sub(p.Load)
	for _, port := range p.Ports {
		if i := slices.Index(n.Ports, port); i >= 0 {
			n.Ports = slices.Delete(n.Ports, i, i+1)
		}
	}
	return true
}

func isPod(uid types.UID) func(*PodInfo) bool {
	return func(p *PodInfo) bool { return p.Pod.UID == uid }
}

// setNode takes a node's new version over.
func (n *NodeInfo) setNode(node *corev1.Node) {
	n.Node = node
	n.Allocatable = NewResources(node.Status.Allocatable)
	n.host, n.zone = label(node, corev1.LabelHostname), label(node, corev1.LabelTopologyZone)
	n.Images = nil
	for i := range node.Status.Images {
		if n.Images == nil {
			n.Images = make(map[string]int64, 2*len(node.Status.Images))
		}
		for _, name := range node.Status.Images[i].Names {
			n.Images[name] = node.Status.Images[i].SizeBytes
		}
	}
}

func label(node *corev1.Node, key string) *string {
	if value, ok := node.Labels[key]; ok {
		return &value
	}
	return nil
}

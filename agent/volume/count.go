package volume

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Count is how many volumes of a plugin the pods of the node are to have, and how
// many of these are set up.
type Count struct {
	// Plugin is what a kubelet calls the part of it that sets such volumes up.
	Plugin          string
	Wanted, Mounted int
}

// held is what is known of one volume of a pod.
type held struct {
	plugin  string
	mounted bool
}

// unnamed stands for the plugin of a volume that the node has none for.
const unnamed = "N/A"

// Counts tells of the volumes of all pods that are being set up or are, by plugin.
// A claim counts once its volume is known.
func (m *Manager) Counts() []Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := make(map[string]Count)
	for _, volumes := range m.held {
		for _, v := range volumes {
			c := counts[v.plugin]
			c.Plugin = v.plugin
			c.Wanted++
			if v.mounted {
				c.Mounted++
			}
			counts[v.plugin] = c
		}
	}
	return slices.SortedFunc(maps.Values(counts), func(a, b Count) int { return cmp.Compare(a.Plugin, b.Plugin) })
}

// wants notes that a pod is to have a volume.
func (m *Manager) wants(pod *corev1.Pod, volume, plugin string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.held[string(pod.UID)]
	if of == nil {
		of = make(map[string]held)
		m.held[string(pod.UID)] = of
	}
	of[volume] = held{plugin: plugin, mounted: of[volume].mounted}
}

// has notes that it is set up.
func (m *Manager) has(pod *corev1.Pod, volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.held[string(pod.UID)][volume]; ok {
		v.mounted = true
		m.held[string(pod.UID)][volume] = v
	}
}

// pluginOf names the plugin of a pod's own volume.
func pluginOf(v *corev1.VolumeSource) string {
	switch {
	case v.EmptyDir != nil:
		return "kubernetes.io/empty-dir"
	case v.HostPath != nil:
		return hostPathPlugin
	case v.ConfigMap != nil:
		return "kubernetes.io/configmap"
	case v.Secret != nil:
		return "kubernetes.io/secret"
	case v.DownwardAPI != nil:
		return "kubernetes.io/downward-api"
	case v.Projected != nil:
		return "kubernetes.io/projected"
	}
	return unnamed
}

const hostPathPlugin = "kubernetes.io/host-path"

// pluginOfClaimed names the plugin of a volume that is claimed.
func pluginOfClaimed(v *corev1.PersistentVolumeSource) string {
	switch {
	case v.Local != nil:
		return "kubernetes.io/local-volume"
	case v.HostPath != nil:
		return hostPathPlugin
	}
	return unnamed
}

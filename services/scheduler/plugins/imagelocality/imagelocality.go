// Package imagelocality prefers nodes that have the pod's images already. An
// image that few nodes have counts less, so that one node does not draw every
// pod to itself.
package imagelocality

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "ImageLocality"

// Below smallest bytes images are pulled quickly and count nothing; largest
// bytes per image count all.
const (
	mebibyte = 1 << 20
	smallest = 23 * mebibyte
	largest  = 1000 * mebibyte
)

// Plugin implements framework.Score.
type Plugin struct {
	spread *framework.Key[[]image]
}

// image is one that the pod needs and the share of nodes that have it.
type image struct {
	name  string
	share float64
}

// New returns the plugin.
func New() *Plugin { return &Plugin{spread: framework.NewKey[[]image]()} }

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the score depends on the pod, the node and the images in the
// cluster.
func (*Plugin) NodeLocal() {}

// PreScore works out how widespread the pod's images are.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	var images []image
	found := false
	for _, name := range imageNames(pod.Pod) {
		n := all.NodesWithImage(name)
		found = found || n > 0
		images = append(images, image{name: name, share: float64(n) / float64(max(1, len(all.Nodes())))})
	}
	if !found {
		return framework.NewStatus(framework.Skip)
	}
	p.spread.Set(state, images)
	return nil
}

// Score adds up the sizes of the images that the node has.
func (p *Plugin) Score(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	images := p.spread.Get(state)
	var bytes int64
	for _, i := range images {
		bytes += int64(float64(node.Images[i.name]) * i.share)
	}
	return scale(bytes, len(images)), nil
}

// scale brings bytes to 0 … MaxScore.
func scale(bytes int64, images int) int64 {
	most := int64(largest * images)
	bytes = min(max(bytes, smallest), most)
	return framework.MaxScore * (bytes - smallest) / (most - smallest)
}

// imageNames returns the images of the pod's containers and volumes.
func imageNames(pod *corev1.Pod) []string {
	var names []string
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			names = append(names, normalize(cs[i].Image))
		}
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			names = append(names, normalize(image.Reference))
		}
	}
	return names
}

// normalize adds the tag that a bare name stands for.
func normalize(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") && name != "" {
		return name + ":latest"
	}
	return name
}

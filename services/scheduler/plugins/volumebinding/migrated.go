package volumebinding

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// bound is a claim that is bound to a volume.
type bound struct {
	binding
	// kind is the volume's, if a driver took the place of that built-in kind. For
	// nodes that leave it to the driver the volume is what migrated returns.
	kind     string
	migrated func() (*corev1.PersistentVolume, error)
}

func newBound(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) *bound {
	b := &bound{binding: binding{claim, pv}, kind: storage.MigratedKind(pv)}
	if b.kind != "" {
		b.migrated = sync.OnceValues(func() (*corev1.PersistentVolume, error) { return storage.Migrated(pv) })
	}
	return b
}

// as returns the volume as a node sees it. One that cannot be what its driver
// would have made of it is as it was written.
func (p *Plugin) as(b *bound, node *corev1.Node) *corev1.PersistentVolume {
	if b.kind == "" {
		return b.pv
	}
	if csiNode, _ := p.storage.CSINode(node.Name); !storage.MigratedOn(csiNode, b.kind) {
		return b.pv
	}
	if migrated, err := b.migrated(); err == nil {
		return migrated
	}
	return b.pv
}

// reaches says why a volume cannot be used from a node; nil if it can.
func (p *Plugin) reaches(b *bound, node *corev1.Node) error {
	return volume.CheckNodeAffinity(p.as(b, node), node.Labels)
}

// migratesOthers says whether a node leaves other kinds of volumes to drivers than
// before.
func migratesOthers(_ *snapshot.PodInfo, e framework.Event) bool {
	now, ok := e.New.(*storagev1.CSINode)
	if !ok {
		return false
	}
	old, ok := e.Old.(*storagev1.CSINode)
	return !ok || old.Annotations[corev1.MigratedPluginsAnnotationKey] != now.Annotations[corev1.MigratedPluginsAnnotationKey]
}

package volume

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
)

// reclaimRetry is when data that could not be removed are tried again.
const reclaimRetry = 10 * time.Second

// Recorder records events.
type Recorder interface {
	Event(obj kinds.Object, eventType, reason, message string)
}

// Reclaimer removes the data of local-path volumes of one node that have been
// deleted.
type Reclaimer struct {
	dir     string
	client  *client.Client
	volumes *client.Informer[*corev1.PersistentVolume]
	events  Recorder
	log     *slog.Logger
	kick    chan struct{}
}

// NewReclaimer returns the reclaimer of a node whose volumes are in dir, which
// it makes.
func NewReclaimer(node, dir string, c *client.Client, events Recorder, log *slog.Logger) (*Reclaimer, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the node's volumes: %w", err)
	}
	volumes, err := client.NewInformer[*corev1.PersistentVolume](c, client.InformerOptions{
		Labels: labels.SelectorFromSet(labels.Set{localpath.NodeLabel: node}),
	})
	if err != nil {
		return nil, err
	}
	r := &Reclaimer{dir: dir, client: c, volumes: volumes, events: events, log: log, kick: make(chan struct{}, 1)}
	volumes.AddHandler(client.Handler[*corev1.PersistentVolume]{
		OnAdd: r.look, OnUpdate: func(_, pv *corev1.PersistentVolume) { r.look(pv) },
	})
	return r, nil
}

// look wakes Run for a volume that is to go.
func (r *Reclaimer) look(pv *corev1.PersistentVolume) {
	if !reclaimable(pv) {
		return
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// reclaimable says whether a volume waits for its data to be removed. While it
// is bound somebody may use them.
func reclaimable(pv *corev1.PersistentVolume) bool {
	free := pv.Status.Phase == corev1.VolumeReleased || pv.Status.Phase == corev1.VolumeFailed || pv.Status.Phase == corev1.VolumeAvailable
	return pv.DeletionTimestamp != nil && free && slices.Contains(pv.Finalizers, localpath.Finalizer)
}

// Run removes data until ctx ends.
func (r *Reclaimer) Run(ctx context.Context) error {
	go r.volumes.Run(ctx)
	retry := time.NewTimer(reclaimRetry)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.kick:
		case <-retry.C:
		}
		for _, pv := range r.volumes.List() {
			if !reclaimable(pv) {
				continue
			}
			if err := r.reclaim(ctx, pv); err != nil && ctx.Err() == nil {
				r.log.WarnContext(ctx, "a volume's data were not removed", "volume", pv.Name, "error", err)
				r.events.Event(pv, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
				retry.Reset(reclaimRetry)
			}
		}
	}
}

// reclaim removes a volume's data, unless they are to be retained, and lets the
// volume go.
func (r *Reclaimer) reclaim(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		path, err := localpath.Folder(pv, r.dir)
		if err != nil {
			return err
		}
		if err := removeTree(path); err != nil {
			return err
		}
	}
	gone := pv.DeepCopy()
	gone.Finalizers = slices.DeleteFunc(gone.Finalizers, func(f string) bool { return f == localpath.Finalizer })
	if err := r.client.Update(ctx, gone); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let volume %s go: %w", pv.Name, err)
	}
	r.log.InfoContext(ctx, "reclaimed a volume", "volume", pv.Name, "policy", pv.Spec.PersistentVolumeReclaimPolicy)
	return nil
}

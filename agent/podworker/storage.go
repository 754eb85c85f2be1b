package podworker

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/agent/diskusage"
)

// reasonEvicted is the reason of a pod that took more of the node than it may.
const reasonEvicted = "Evicted"

// watchStorage measures from time to time what a pod that has limits of local
// storage takes of it, and evicts it when that is too much. Nothing in the kernel
// tells, so this is looked up; pods without limits cost nothing.
func (w *worker) watchStorage(now time.Time, soonest func(time.Time)) {
	if w.measuring || w.m.cfg.StoragePeriod == 0 || !limitsStorage(w.pod) {
		return
	}
	if now.Before(w.measureAt) {
		soonest(w.measureAt)
		return
	}
	w.measuring = true
	pod, ctx, ids := w.pod, w.setupCtx, w.containerIDs()
	w.operate(func() func() {
		signal, excess, err := w.m.storageExcess(ctx, pod, ids)
		return func() {
			w.measuring, w.measureAt = false, time.Now().Add(w.m.cfg.StoragePeriod)
			switch {
			case err != nil:
				w.log.WarnContext(ctx, "the pod's storage was not measured", "error", err)
			case excess != "" && w.phase == phaseRunning:
				w.evict(signal, excess, 0)
			}
		}
	})
}

// containerIDs are the containers' by their names.
func (w *worker) containerIDs() map[string]string {
	ids := make(map[string]string)
	for _, c := range w.containers {
		if c.present {
			ids[c.spec.Name] = c.current.Spec.ID
		}
	}
	return ids
}

// The signals of evictions for limits of storage, as kubelets name them.
const (
	signalEmptyDir  = "emptydirfs.limit"
	signalPod       = "ephemeralpodfs.limit"
	signalContainer = "ephemeralcontainerfs.limit"
)

// evict ends the pod for good, within a grace period that is not longer than its own.
// signal is what metrics call the cause.
func (w *worker) evict(signal, message string, grace time.Duration) {
	w.m.deps.Metrics.Evicted(signal)
	w.event(nil, corev1.EventTypeWarning, reasonEvicted, message)
	w.evicted, w.evictionGrace = true, grace
	w.rejected = &corev1.PodStatus{Phase: corev1.PodFailed, Reason: reasonEvicted, Message: message}
}

// limitsStorage says whether the pod limits what it takes of the node's disk.
func limitsStorage(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if limitOf(&pod.Spec.Volumes[i]) > 0 {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if !pod.Spec.Containers[i].Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// limitOf is the limit of an emptyDir on the disk, 0 if there is none. One in
// memory is limited by its mount.
func limitOf(v *corev1.Volume) int64 {
	if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
		return 0
	}
	return v.EmptyDir.SizeLimit.Value()
}

// storageExcess says which limit the pod exceeds, by its signal and in the words
// that users know; nothing if it keeps to them. ids are the containers' by their names.
func (m *Manager) storageExcess(ctx context.Context, pod *corev1.Pod, ids map[string]string) (signal, excess string, err error) {
	var total int64
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
			continue
		}
		used, err := m.deps.Volumes.Usage(pod, v.Name)
		if err != nil {
			return "", "", err
		}
		if limit := limitOf(v); limit > 0 && used.Bytes > limit {
			return signalEmptyDir, fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String()), nil
		}
		total += used.Bytes
	}
	limits := podresource.PodLimits(pod, podresource.PodResourcesOptions{})
	limit, limited := limits[corev1.ResourceEphemeralStorage]
	if !limited {
		return "", "", nil
	}
	logs, err := diskusage.Of(m.logDir(pod.Namespace, pod.Name, string(pod.UID)))
	if err != nil {
		return "", "", err
	}
	total += logs.Bytes
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		used, err := m.containerStorage(ctx, pod, c.Name, ids[c.Name])
		if err != nil {
			return "", "", err
		}
		if own := c.Resources.Limits.StorageEphemeral(); !own.IsZero() && used.written.Bytes+used.logs.Bytes > own.Value() {
			return signalContainer, fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, own.String()), nil
		}
		total += used.written.Bytes
	}
	if total > limit.Value() {
		return signalPod, fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String()), nil
	}
	return "", "", nil
}

// containerUse is what a container takes of the disk.
type containerUse struct {
	written diskusage.Usage // into its root filesystem
	logs    diskusage.Usage
}

func (m *Manager) containerStorage(ctx context.Context, pod *corev1.Pod, name, id string) (use containerUse, err error) {
	if use.logs, err = diskusage.Of(m.containerLogDir(pod.Namespace, pod.Name, string(pod.UID), name)); err != nil || id == "" {
		return use, err
	}
	use.written, err = m.deps.Images.Written(ctx, id)
	return use, err
}

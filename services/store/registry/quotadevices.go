package registry

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

// quotaDevices implements quota.Devices by what is stored, for one judgement.
type quotaDevices struct {
	ctx    context.Context //nolint:containedctx // it is one judgement's
	reader settledReader
	err    error // the first that reading met
}

// ExtendedResource implements quota.Devices.
func (d *quotaDevices) ExtendedResource(class string) string {
	c, ok := stored[*resourcev1.DeviceClass](d, resourcev1.SchemeGroupVersion.WithResource("deviceclasses"), "", class)
	if !ok {
		return ""
	}
	return ptr.Deref(c.Spec.ExtendedResourceName, "")
}

// Requester implements quota.Devices.
func (d *quotaDevices) Requester(claim *resourcev1.ResourceClaim) *corev1.Pod {
	return quota.Requester(claim, func(namespace, name string) (*corev1.Pod, bool) {
		return stored[*corev1.Pod](d, corev1.SchemeGroupVersion.WithResource("pods"), namespace, name)
	}, d.claims)
}

// claims returns the claims that say they are for a pod, without a look at others.
func (d *quotaDevices) claims(pod *corev1.Pod) []*resourcev1.ResourceClaim {
	all, err := d.reader.ListOnly(d.ctx, resourcev1.SchemeGroupVersion.WithResource("resourceclaims"), pod.Namespace, string(pod.UID))
	d.note(err)
	var out []*resourcev1.ResourceClaim
	for _, obj := range all {
		if claim, ok := obj.(*resourcev1.ResourceClaim); ok {
			out = append(out, claim)
		}
	}
	return out
}

// stored reads one object; false if there is none.
func stored[T kinds.Object](d *quotaDevices, resource schema.GroupVersionResource, namespace, name string) (obj T, ok bool) {
	found, err := d.reader.Get(d.ctx, resource, namespace, name)
	if apierrors.IsNotFound(err) {
		return obj, false
	}
	d.note(err)
	obj, ok = found.(T)
	return obj, ok
}

func (d *quotaDevices) note(err error) {
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("read what devices stand for: %w", err)
	}
}

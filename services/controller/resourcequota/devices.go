package resourcequota

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quota"
)

// devices implements quota.Devices by informers.
type devices struct {
	claims  *client.Informer[*resourcev1.ResourceClaim]
	classes *client.Informer[*resourcev1.DeviceClass]
	pods    *client.Informer[*corev1.Pod]
}

// byPod is the index of the claims that say for whose extended resources they are.
const byPod = "claimed-for"

func podsOf(v any) ([]string, error) {
	claim, ok := v.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, fmt.Errorf("index a %T by its pod: not a claim", v)
	}
	if uid := kinds.ClaimedFor(claim); uid != "" {
		return []string{string(uid)}, nil
	}
	return nil, nil
}

// claimsFor returns the claims that say they are for a pod.
func (d *devices) claimsFor(pod *corev1.Pod) []*resourcev1.ResourceClaim {
	claims, _ := d.claims.ByIndex(byPod, string(pod.UID)) // the index is always there
	return claims
}

func newDevices(informers *client.Informers, pods *client.Informer[*corev1.Pod]) (*devices, error) {
	d := &devices{pods: pods}
	var err error
	if d.claims, err = client.InformerFor[*resourcev1.ResourceClaim](informers, cache.Indexers{byPod: podsOf}); err != nil {
		return nil, err
	}
	if d.classes, err = client.InformerFor[*resourcev1.DeviceClass](informers, nil); err != nil {
		return nil, err
	}
	return d, nil
}

// tell calls f when claims come to count for another resource, since a class has
// come to stand for one, or does no more.
func (d *devices) tell(f func()) {
	changed := func(class *resourcev1.DeviceClass) {
		if class.Spec.ExtendedResourceName != nil {
			f()
		}
	}
	d.classes.AddHandler(client.Handler[*resourcev1.DeviceClass]{
		OnAdd: changed, OnDelete: changed,
		OnUpdate: func(old, class *resourcev1.DeviceClass) {
			if !ptr.Equal(old.Spec.ExtendedResourceName, class.Spec.ExtendedResourceName) {
				f()
			}
		},
	})
}

// ExtendedResource implements quota.Devices.
func (d *devices) ExtendedResource(class string) string {
	c, ok := d.classes.GetByKey(class)
	if !ok {
		return ""
	}
	return ptr.Deref(c.Spec.ExtendedResourceName, "")
}

// Requester implements quota.Devices.
func (d *devices) Requester(claim *resourcev1.ResourceClaim) *corev1.Pod {
	return quota.Requester(claim, d.pods.Get, d.claimsFor)
}

// Package objects follows the single objects that a node's pods refer to:
// ConfigMaps and Secrets, and volumes that may grow. Each is watched by itself, by name, for as long as a
// pod refers to it, because a node may see no others. ClusterTrustBundles, which
// everybody may see, are watched by name or by their signer.
//
// A pod Retains what it refers to and Releases it at its end; in between,
// ConfigMap, Secret and TrustBundles answer from the watch, and the pod is told of
// changes.
package objects

import (
	"context"
	"fmt"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Ref names an object: Resource is "configmaps", "secrets", "clustertrustbundles",
// "persistentvolumes" or "persistentvolumeclaims". Where a Signer is named, it is all
// bundles of that signer.
type Ref struct {
	Resource, Namespace, Name, Signer string
}

// ConfigMap refers to a ConfigMap.
func ConfigMap(namespace, name string) Ref {
	return Ref{Resource: "configmaps", Namespace: namespace, Name: name}
}

// Secret refers to a Secret.
func Secret(namespace, name string) Ref {
	return Ref{Resource: "secrets", Namespace: namespace, Name: name}
}

// Bound refers to a claim and the volume that it has.
func Bound(namespace, claim, volume string) []Ref {
	return []Ref{
		{Resource: "persistentvolumeclaims", Namespace: namespace, Name: claim},
		{Resource: "persistentvolumes", Name: volume},
	}
}

// TrustBundles refers to the ClusterTrustBundles that a volume's source names: to
// one, or to all of a signer.
func TrustBundles(s *corev1.ClusterTrustBundleProjection) Ref {
	r := Ref{Resource: "clustertrustbundles"}
	if s.Name != nil {
		r.Name = *s.Name
	} else if s.SignerName != nil {
		r.Signer = *s.SignerName
	}
	return r
}

// Objects are the followed objects of one node. It is safe for concurrent use.
type Objects struct {
	ctx    context.Context // ends the watches; set by New for its life
	client *client.Client

	mu      sync.Mutex
	watches map[Ref]*watch
	owners  map[string]owner
}

type owner struct {
	refs    map[Ref]bool
	changed func()
}

// watch follows one object.
type watch struct {
	users  int
	stop   context.CancelFunc
	synced <-chan struct{}
	list   func() []kinds.Object
}

// New returns an empty set, whose watches end with ctx.
func New(ctx context.Context, c *client.Client) *Objects {
	return &Objects{ctx: ctx, client: c, watches: make(map[Ref]*watch), owners: make(map[string]owner)}
}

// Retain follows refs for an owner, in place of what the owner retained
// before. changed is called, from many goroutines and at most quickly, when
// any of them has changed.
func (o *Objects) Retain(id string, refs []Ref, changed func()) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.owners[id]
	now := owner{refs: make(map[Ref]bool, len(refs)), changed: changed}
	for _, r := range refs {
		if now.refs[r] {
			continue
		}
		if !before.refs[r] {
			if err := o.acquire(r); err != nil {
				return err
			}
		}
		now.refs[r] = true
	}
	o.owners[id] = now
	for r := range before.refs {
		if !now.refs[r] {
			o.release(r)
		}
	}
	return nil
}

// Release ends an owner's interest.
func (o *Objects) Release(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for r := range o.owners[id].refs {
		o.release(r)
	}
	delete(o.owners, id)
}

// ConfigMap returns a retained ConfigMap as it is now.
func (o *Objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return get[*corev1.ConfigMap](ctx, o, ConfigMap(namespace, name))
}

// Secret returns a retained Secret as it is now.
func (o *Objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, o, Secret(namespace, name))
}

// TrustBundles returns the retained ClusterTrustBundles that a volume's source
// names, as they are now, in any order; there may be none.
func (o *Objects) TrustBundles(ctx context.Context, s *corev1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	return list[*certificatesv1.ClusterTrustBundle](ctx, o, TrustBundles(s))
}

func get[T kinds.Object](ctx context.Context, o *Objects, r Ref) (T, error) {
	var none T
	found, err := list[T](ctx, o, r)
	if err != nil {
		return none, err
	}
	if len(found) == 0 {
		return none, apierrors.NewNotFound(schema.GroupResource{Resource: r.Resource}, r.Name)
	}
	return found[0], nil
}

func list[T kinds.Object](ctx context.Context, o *Objects, r Ref) ([]T, error) {
	o.mu.Lock()
	w, ok := o.watches[r]
	o.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("%s is not retained", r)
	}
	select {
	case <-w.synced:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", r, ctx.Err())
	}
	var found []T
	for _, obj := range w.list() {
		found = append(found, obj.(T))
	}
	return found, nil
}

func (r Ref) String() string {
	if r.Signer != "" {
		return r.Resource + " of the signer " + r.Signer
	}
	return r.Resource + " " + r.Namespace + "/" + r.Name
}

// Tell tells an owner that what it retains has changed, though it is not an object
// that is followed here.
func (o *Objects) Tell(id string) {
	o.mu.Lock()
	changed := o.owners[id].changed
	o.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// acquire begins to follow an object, or counts one more user. The caller
// holds the lock.
func (o *Objects) acquire(r Ref) error {
	if w, ok := o.watches[r]; ok {
		w.users++
		return nil
	}
	w, err := o.follow(r)
	if err != nil {
		return err
	}
	o.watches[r] = w
	return nil
}

func (o *Objects) release(r Ref) {
	w := o.watches[r]
	if w == nil {
		return
	}
	if w.users--; w.users == 0 {
		w.stop()
		delete(o.watches, r)
	}
}

func (o *Objects) follow(r Ref) (*watch, error) {
	switch r.Resource {
	case "configmaps":
		return followKind[*corev1.ConfigMap](o, r)
	case "secrets":
		return followKind[*corev1.Secret](o, r)
	case "clustertrustbundles":
		return followKind[*certificatesv1.ClusterTrustBundle](o, r)
	case "persistentvolumes":
		return followKind[*corev1.PersistentVolume](o, r)
	case "persistentvolumeclaims":
		return followKind[*corev1.PersistentVolumeClaim](o, r)
	}
	return nil, fmt.Errorf("follow %s: unknown resource", r)
}

func followKind[T kinds.Object](o *Objects, r Ref) (*watch, error) {
	only := fields.OneTermEqualSelector("metadata.name", r.Name)
	if r.Signer != "" {
		only = fields.OneTermEqualSelector("spec.signerName", r.Signer)
	}
	inf, err := client.NewInformer[T](o.client, client.InformerOptions{Namespace: r.Namespace, Fields: only})
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", r, err)
	}
	notify := func(T) { o.notify(r) }
	inf.AddHandler(client.Handler[T]{
		OnAdd: notify, OnUpdate: func(_, obj T) { notify(obj) }, OnDelete: notify,
	})
	ctx, stop := context.WithCancel(o.ctx)
	go inf.Run(ctx)
	return &watch{users: 1, stop: stop, synced: inf.Synced(), list: func() []kinds.Object {
		var all []kinds.Object
		for _, obj := range inf.List() {
			all = append(all, obj)
		}
		return all
	}}, nil
}

func (o *Objects) notify(r Ref) {
	o.mu.Lock()
	var told []func()
	for _, own := range o.owners {
		if own.refs[r] && own.changed != nil {
			told = append(told, own.changed)
		}
	}
	o.mu.Unlock()
	for _, f := range told {
		f()
	}
}

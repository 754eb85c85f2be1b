// Package apiservice sees to APIServices: that there is one for each version of
// an API that the cluster serves itself, and that those served by others say
// whether these can be reached.
package apiservice

import (
	"context"
	"fmt"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

// managedLabel marks APIServices that the cluster makes. Those with the value
// managedOnStart are seen to once after each start, so that somebody may change
// them; those with managedAlways, which are of custom kinds, all the time.
const (
	managedLabel   = "kube-aggregator.kubernetes.io/automanaged"
	managedOnStart = "onstart"
	managedAlways  = "true"
)

// byVersion is the index of definitions by the names of the APIServices of the
// versions in which they are served.
const byVersion = "version"

type registration struct {
	client      *client.Client
	services    *client.Informer[*registrationv1.APIService]
	definitions *client.Informer[*kinds.Definition]
	// wanted are those of the versions that are served by every cluster, by name.
	wanted map[string]*registrationv1.APIService

	mu sync.Mutex // guards what follows
	// present are those that were there at start; nil before that.
	present map[string]bool
	// settled are the names that were seen to.
	settled map[string]bool
}

// NewRegistration returns the controller that registers the versions which the
// cluster serves itself. Its keys name APIServices.
func NewRegistration(deps runner.Deps) (*runner.Controller, error) {
	services, err := client.InformerFor[*registrationv1.APIService](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	definitions, err := client.InformerFor[*kinds.Definition](deps.Informers, cache.Indexers{byVersion: versionsOf})
	if err != nil {
		return nil, err
	}
	r := &registration{
		client: deps.Client, services: services, definitions: definitions,
		wanted: builtin(), settled: make(map[string]bool),
	}
	var c *runner.Controller
	c = runner.New("apiserviceregistration", r, deps, runner.Options{Background: func(context.Context) { c.Enqueue(r.start()...) }})
	runner.Watch(c, definitions, runner.Input[*kinds.Definition]{Keys: served})
	runner.Watch(c, services, runner.Input[*registrationv1.APIService]{Keys: func(s *registrationv1.APIService) []string {
		if _, builtin := r.wanted[s.Name]; builtin {
			return nil
		}
		return []string{s.Name}
	}})
	return c, nil
}

// served returns the names of the APIServices of a definition's versions.
func served(d *kinds.Definition) []string {
	var names []string
	for _, v := range d.Spec.Versions {
		if v.Served {
			names = append(names, nameOf(schema.GroupVersion{Group: d.Spec.Group, Version: v.Name}))
		}
	}
	return names
}

func versionsOf(v any) ([]string, error) {
	d, ok := v.(*kinds.Definition)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a CustomResourceDefinition", v)
	}
	return served(d), nil
}

// builtin returns the APIServices of the kinds' versions.
func builtin() map[string]*registrationv1.APIService {
	all := make(map[string]*registrationv1.APIService)
	for _, k := range kinds.Default().All() {
		gv := k.GVK().GroupVersion()
		if p, ok := kinds.BuiltinPriority(gv); ok {
			all[nameOf(gv)] = local(gv, p, managedOnStart)
		}
	}
	return all
}

func nameOf(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// local is the APIService of a version that the cluster serves.
func local(gv schema.GroupVersion, p kinds.Priority, managed string) *registrationv1.APIService {
	return &registrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(gv), Labels: map[string]string{managedLabel: managed}},
		Spec: registrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.Group, VersionPriority: p.Version,
		},
	}
}

// start notes what is there, and returns all names that are to be seen to.
func (r *registration) start() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.present = make(map[string]bool)
	var names []string
	for _, s := range r.services.List() {
		r.present[s.Name] = true
		names = append(names, s.Name)
	}
	for name := range r.wanted {
		names = append(names, name)
	}
	return names
}

// Reconcile sees to one APIService: once to one that every cluster has.
func (r *registration) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	want, err := r.custom(key)
	if err != nil {
		return runner.Done(), err
	}
	if have, ok := r.services.GetByKey(key); want != nil || ok && have.Labels[managedLabel] == managedAlways {
		return runner.Done(), r.align(ctx, key, want, managedAlways)
	}
	r.mu.Lock()
	early, done, present := r.present == nil, r.settled[key], r.present[key]
	r.mu.Unlock()
	if early || done { // the start has all of them looked at
		return runner.Done(), nil
	}
	if have, exists := r.services.GetByKey(key); !exists || present && have.Labels[managedLabel] == managedOnStart {
		if err := r.align(ctx, key, r.wanted[key], managedOnStart); err != nil {
			return runner.Done(), err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[key] = true
	return runner.Done(), nil
}

// custom returns the APIService of a version of custom kinds; nil if none is
// served in it.
func (r *registration) custom(key string) (*registrationv1.APIService, error) {
	if _, builtin := r.wanted[key]; builtin {
		return nil, nil
	}
	definitions, err := r.definitions.ByIndex(byVersion, key)
	if err != nil || len(definitions) == 0 {
		return nil, err
	}
	version, group, _ := strings.Cut(key, ".")
	return local(schema.GroupVersion{Group: group, Version: version}, kinds.CustomPriority, managedAlways), nil
}

// align makes an APIService as it is wanted, or if it is nil removes it. One that
// does not carry the mark is somebody else's.
func (r *registration) align(ctx context.Context, key string, want *registrationv1.APIService, mark string) error {
	have, exists := r.services.GetByKey(key)
	switch {
	case !exists && want == nil:
		return nil
	case !exists:
		if err := r.client.Create(ctx, want.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("register the API %s: %w", key, err)
		}
		return nil
	case have.Labels[managedLabel] != mark:
		return nil
	case want == nil:
		err := r.client.Delete(ctx, have, client.DeleteOptions{UID: have.UID})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("remove the registration of the API %s, which is not served any longer: %w", key, err)
		}
		return nil
	case sameSpec(&have.Spec, &want.Spec):
		return nil
	}
	changed := have.DeepCopy()
	changed.Spec = want.Spec
	if err := r.client.Update(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("register the API %s: %w", key, err)
	}
	return nil
}

func sameSpec(a, b *registrationv1.APIServiceSpec) bool {
	return a.Service == nil && b.Service == nil && a.GroupPriorityMinimum == b.GroupPriorityMinimum && a.VersionPriority == b.VersionPriority
}

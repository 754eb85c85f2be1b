// Package apiservice sees to APIServices: that there is one for each version of
// an API that the cluster serves itself, and that those served by others say
// whether these can be reached.
package apiservice

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

// managedLabel marks APIServices that the cluster makes. Those with the value
// managedOnStart are seen to once after each start, so that somebody may change
// them.
const (
	managedLabel   = "kube-aggregator.kubernetes.io/automanaged"
	managedOnStart = "onstart"
)

type registration struct {
	client   *client.Client
	services *client.Informer[*registrationv1.APIService]
	// wanted are those of the served versions, by name.
	wanted map[string]*registrationv1.APIService

	mu sync.Mutex // guards what follows
	// present are those that were there at start.
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
	r := &registration{client: deps.Client, services: services, wanted: builtin(), present: make(map[string]bool), settled: make(map[string]bool)}
	var c *runner.Controller
	c = runner.New("apiserviceregistration", r, deps, runner.Options{Background: func(context.Context) { c.Enqueue(r.start()...) }})
	return c, nil
}

// builtin returns the APIServices of the kinds' versions.
func builtin() map[string]*registrationv1.APIService {
	all := make(map[string]*registrationv1.APIService)
	for _, k := range kinds.Default().All() {
		gv := k.GVK().GroupVersion()
		if p, ok := kinds.BuiltinPriority(gv); ok {
			all[nameOf(gv)] = local(gv, p)
		}
	}
	return all
}

func nameOf(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// local is the APIService of a version that the cluster serves.
func local(gv schema.GroupVersion, p kinds.Priority) *registrationv1.APIService {
	return &registrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: nameOf(gv), Labels: map[string]string{managedLabel: managedOnStart}},
		Spec: registrationv1.APIServiceSpec{
			Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.Group, VersionPriority: p.Version,
		},
	}
}

// start notes what is there, and returns all names that are to be seen to.
func (r *registration) start() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// Reconcile sees to one APIService, once.
func (r *registration) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	r.mu.Lock()
	done, present := r.settled[key], r.present[key]
	r.mu.Unlock()
	if done {
		return runner.Done(), nil
	}
	if err := r.settle(ctx, key, present); err != nil {
		return runner.Done(), err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled[key] = true
	return runner.Done(), nil
}

func (r *registration) settle(ctx context.Context, key string, present bool) error {
	want := r.wanted[key]
	have, exists := r.services.GetByKey(key)
	switch {
	case !exists && want == nil:
		return nil
	case !exists:
		if err := r.client.Create(ctx, want.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("register the API %s: %w", key, err)
		}
		return nil
	case have.Labels[managedLabel] != managedOnStart || !present:
		return nil // somebody else's
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

// Package customkinds keeps a registry's custom kinds what the cluster's
// CustomResourceDefinitions say, for services other than the Store: they know
// the kinds' names and schemas, and leave to the Store how objects behave.
package customkinds

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// Follower follows the definitions.
type Follower struct {
	client   *client.Client
	registry *kinds.Registry
	informer *client.Informer[*kinds.Definition]

	mu    sync.Mutex // guards the fields below
	known map[string]*definition
	told  []func()
}

// definition is one as it was seen last, and what came of it.
type definition struct {
	uid     types.UID
	version uint64
	key     string
	kinds   []*kinds.Kind
}

// New returns a follower that adds custom kinds to a registry.
func New(c *client.Client, registry *kinds.Registry) (*Follower, error) {
	informer, err := client.NewInformer[*kinds.Definition](c, client.InformerOptions{})
	if err != nil {
		return nil, fmt.Errorf("follow custom resource definitions: %w", err)
	}
	f := &Follower{client: c, registry: registry, informer: informer, known: make(map[string]*definition)}
	informer.AddHandler(client.Handler[*kinds.Definition]{
		OnAdd:    func(d *kinds.Definition) { f.change(func() bool { return f.put(d) }) },
		OnUpdate: func(_, d *kinds.Definition) { f.change(func() bool { return f.put(d) }) },
		OnDelete: func(d *kinds.Definition) { f.change(func() bool { return f.drop(d) }) },
	})
	return f, nil
}

// Registry returns the registry that the follower keeps.
func (f *Follower) Registry() *kinds.Registry { return f.registry }

// OnChange has a function called after each change of the kinds. It must return
// quickly.
func (f *Follower) OnChange(tell func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, tell)
}

// Run follows the definitions until ctx ends.
func (f *Follower) Run(ctx context.Context) { f.informer.Run(ctx) }

// Synced is closed once the definitions that there were are known.
func (f *Follower) Synced() <-chan struct{} { return f.informer.Synced() }

// Refresh returns once all definitions that were written before the call are
// known.
func (f *Follower) Refresh(ctx context.Context) error {
	var list apiextensionsv1.CustomResourceDefinitionList
	if err := f.client.List(ctx, &list, client.ListOptions{}); err != nil {
		return fmt.Errorf("read the custom resource definitions: %w", err)
	}
	asOf := number(list.ResourceVersion)
	f.change(func() bool {
		changed := false
		present := make(map[string]bool, len(list.Items))
		for i := range list.Items {
			present[list.Items[i].Name] = true
			changed = f.put(&list.Items[i]) || changed
		}
		for name, have := range f.known {
			if !present[name] && have.version <= asOf {
				delete(f.known, name)
				changed = true
			}
		}
		return changed
	})
	return nil
}

// change applies a change of what is known.
func (f *Follower) change(apply func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !apply() {
		return
	}
	var all []*kinds.Kind
	for _, have := range f.known {
		all = append(all, have.kinds...)
	}
	slices.SortFunc(all, kinds.CompareCustom)
	f.registry.SetCustom(all)
	for _, tell := range f.told {
		tell()
	}
}

// put takes a definition in. It says whether that changes the kinds.
func (f *Follower) put(d *kinds.Definition) bool {
	version, key := number(d.ResourceVersion), kinds.DefinitionKey(d)
	have := f.known[d.Name]
	switch {
	case have != nil && have.version >= version:
		return false
	case have != nil && have.uid == d.UID && have.key == key:
		have.version = version
		return false
	}
	f.known[d.Name] = &definition{uid: d.UID, version: version, key: key, kinds: kinds.FromDefinition(d)}
	return true
}

func (f *Follower) drop(d *kinds.Definition) bool {
	have := f.known[d.Name]
	if have == nil || have.version > number(d.ResourceVersion) {
		return false
	}
	delete(f.known, d.Name)
	return true
}

// number returns a resourceVersion as one; they are revisions of etcd.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// tendInterval is how long after a write of the defaults of flow control the
// next one may be: Stores of two versions may want different ones.
const tendInterval = 10 * time.Second

// followFlows limits requests as FlowSchemas and PriorityLevelConfigurations say,
// and keeps the default ones, until ctx ends.
func (s *Store) followFlows(ctx context.Context) {
	for ctx.Err() == nil {
		levels, schemas, err := s.watchFlows(ctx)
		if err != nil {
			return // ctx has ended, or there are no such kinds
		}
		s.flowRounds(ctx, levels, schemas)
		levels.Stop()
		schemas.Stop()
	}
}

// firstFlows makes the defaults of flow control, and goes by them. What fails is
// tried again by followFlows: requests are classified in any case.
func (s *Store) firstFlows(ctx context.Context) {
	for range 2 { // at the second look they exist, and get their conditions
		if err := s.freshFlows(ctx); err != nil && ctx.Err() == nil {
			s.tel.Log.WarnContext(ctx, "the defaults of flow control could not be made yet", "error", err)
		}
	}
}

// freshFlows is a round with all that was written before.
func (s *Store) freshFlows(ctx context.Context) error {
	caches, err := s.flowCaches()
	if err != nil {
		return err
	}
	for _, c := range caches {
		if err := s.await(ctx, c, ""); err != nil {
			return err
		}
	}
	_, err = s.flowRound(ctx, true)
	return err
}

// flowCaches are those of priority levels and of FlowSchemas.
func (s *Store) flowCaches() (caches [2]*cache.Cache, err error) {
	for i, obj := range []kinds.Object{&flowcontrolv1.PriorityLevelConfiguration{}, &flowcontrolv1.FlowSchema{}} {
		kind, err := s.kinds.ForObject(obj)
		if err != nil {
			return caches, err
		}
		caches[i] = s.registry.Cache(kind)
	}
	return caches, nil
}

func (s *Store) watchFlows(ctx context.Context) (levels, schemas *cache.Watcher, err error) {
	caches, err := s.flowCaches()
	if err != nil {
		return nil, nil, err
	}
	for _, c := range caches {
		if err := c.Reach(ctx, 0); err != nil {
			return nil, nil, err
		}
	}
	_, levels = caches[0].WatchPresent(cache.Part{})
	_, schemas = caches[1].WatchPresent(cache.Part{})
	return levels, schemas, nil
}

// flowRounds looks at the objects after each of their changes until a watch or
// ctx ends.
func (s *Store) flowRounds(ctx context.Context, levels, schemas *cache.Watcher) {
	again := time.NewTimer(tendInterval)
	defer again.Stop()
	again.Stop()
	var tended time.Time
	for {
		for _, w := range []*cache.Watcher{levels, schemas} {
			if _, _, err := w.Next(1 << 10); err != nil {
				return
			}
		}
		tend := time.Since(tended) >= tendInterval
		wrote, err := s.flowRound(ctx, tend)
		if err != nil && ctx.Err() == nil {
			s.tel.Log.WarnContext(ctx, "flow control could not be brought up to date", "error", err, "retry", tendInterval)
		}
		if wrote {
			tended = time.Now()
		}
		if wrote || err != nil || !tend {
			again.Reset(tendInterval)
		}
		select {
		case <-levels.Woken():
		case <-schemas.Woken():
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// flowRound takes the objects over and brings the schemas' conditions and, if
// tend says so, the defaults up to date. wrote says that some of these were not.
func (s *Store) flowRound(ctx context.Context, tend bool) (wrote bool, err error) {
	levels, err := listAll[*flowcontrolv1.PriorityLevelConfiguration](ctx, s, "prioritylevelconfigurations")
	if err != nil {
		return false, err
	}
	schemas, err := listAll[*flowcontrolv1.FlowSchema](ctx, s, "flowschemas")
	if err != nil {
		return false, err
	}
	s.flow.Configure(levels, schemas)
	if tend {
		wrote, err = tendDefaults(ctx, s, levels, flowdefaults.Levels())
		more, errSchemas := tendDefaults(ctx, s, schemas, flowdefaults.Schemas())
		wrote, err = wrote || more, errors.Join(err, errSchemas)
	}
	if !s.cfg.Flow.Enabled {
		return wrote, err // nobody goes by the schemas
	}
	var exist []string
	for _, l := range levels {
		exist = append(exist, l.Name)
	}
	return wrote, errors.Join(err, s.markDangling(ctx, schemas, exist))
}

func listAll[T kinds.Object](ctx context.Context, s *Store, resource string) ([]T, error) {
	objects, err := s.Reader().List(ctx, flowcontrolv1.SchemeGroupVersion.WithResource(resource), "")
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", resource, err)
	}
	out := make([]T, 0, len(objects))
	for _, obj := range objects {
		out = append(out, obj.(T))
	}
	return out, nil
}

// tendDefaults makes the defaults that are missing, gives those back their specs
// that follow them, and removes what was a default of another version.
func tendDefaults[T interface {
	flowdefaults.Object
	kinds.Object
}](ctx context.Context, s *Store, present, defaults []T) (wrote bool, err error) {
	byName := make(map[string]T, len(present))
	for _, obj := range present {
		byName[obj.GetName()] = obj
	}
	var writes []func() error
	for _, d := range defaults {
		stored, there := byName[d.GetName()]
		delete(byName, d.GetName())
		switch {
		case !there:
			writes = append(writes, func() error { return s.createFirst(ctx, d) })
		case flowdefaults.Revise(stored, d) != nil:
			writes = append(writes, func() error { return reviseFlow(ctx, s, d) })
		}
	}
	for _, obj := range byName {
		if flowdefaults.Abandoned(obj) {
			writes = append(writes, func() error { return s.removeFlow(ctx, obj) })
		}
	}
	return len(writes) > 0, together(writes)
}

// together runs functions at the same time: the backend writes what comes at a
// time as one.
func together(run []func() error) error {
	errs := make([]error, len(run))
	var wg sync.WaitGroup
	for i, f := range run {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Store) ownWrite(obj kinds.Object) (registry.Write, error) {
	kind, err := s.kinds.ForObject(obj)
	return registry.Write{
		Kind: kind, Name: obj.GetName(), User: identity.Service(identity.Store), Manager: fieldManager, Verb: "update",
	}, err
}

func reviseFlow[T interface {
	flowdefaults.Object
	kinds.Object
}](ctx context.Context, s *Store, d T) error {
	w, err := s.ownWrite(d)
	if err != nil {
		return err
	}
	_, err = s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		stored, ok := cur.Object().(T)
		if !ok {
			return nil, fmt.Errorf("%s is a %T", cur.Key, cur.Object())
		}
		if revised := flowdefaults.Revise(stored, d); revised != nil {
			return revised, nil
		}
		return stored.DeepCopyObject().(kinds.Object), nil
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("revise %s %s: %w", w.Kind.Kind, w.Name, err)
	}
	return nil
}

func (s *Store) removeFlow(ctx context.Context, obj kinds.Object) error {
	w, err := s.ownWrite(obj)
	if err != nil {
		return err
	}
	w.Verb = "delete"
	_, _, err = s.registry.Delete(ctx, w, &storev1.DeleteOptions{Uid: string(obj.GetUID()), ResourceVersion: obj.GetResourceVersion()})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove %s %s: %w", w.Kind.Kind, w.Name, err)
	}
	return nil
}

// markDangling makes the schemas' conditions say whether their priority levels
// are among those that exist.
func (s *Store) markDangling(ctx context.Context, schemas []*flowcontrolv1.FlowSchema, exist []string) error {
	var writes []func() error
	for _, schema := range schemas {
		found := slices.Contains(exist, schema.Spec.PriorityLevelConfiguration.Name)
		if marked(schema, found) {
			continue
		}
		writes = append(writes, func() error {
			w, err := s.ownWrite(schema)
			if err != nil {
				return err
			}
			w.Subresource = "status"
			_, err = s.registry.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) { return mark(cur.Object(), found), nil })
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return fmt.Errorf("write the status of FlowSchema %s: %w", schema.Name, err)
			}
			return nil
		})
	}
	return together(writes)
}

// dangling is the condition of a schema whose priority level was found or not.
func dangling(schema *flowcontrolv1.FlowSchema, found bool) flowcontrolv1.FlowSchemaCondition {
	name := schema.Spec.PriorityLevelConfiguration.Name
	condition := flowcontrolv1.FlowSchemaCondition{
		Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", name),
	}
	if !found {
		condition.Status, condition.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		condition.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", name)
	}
	return condition
}

func danglingOf(schema *flowcontrolv1.FlowSchema) int {
	return slices.IndexFunc(schema.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool {
		return c.Type == flowcontrolv1.FlowSchemaConditionDangling
	})
}

// marked says whether a schema's condition is what it must be.
func marked(schema *flowcontrolv1.FlowSchema, found bool) bool {
	i := danglingOf(schema)
	if i < 0 {
		return false
	}
	want := dangling(schema, found)
	want.LastTransitionTime = schema.Status.Conditions[i].LastTransitionTime
	return schema.Status.Conditions[i] == want
}

// mark returns a schema with the condition that it must have.
func mark(obj kinds.Object, found bool) kinds.Object {
	schema, ok := obj.DeepCopyObject().(*flowcontrolv1.FlowSchema)
	if !ok || marked(schema, found) {
		return schema
	}
	condition := dangling(schema, found)
	condition.LastTransitionTime = metav1.Now()
	if i := danglingOf(schema); i >= 0 {
		schema.Status.Conditions[i] = condition
	} else {
		schema.Status.Conditions = append(schema.Status.Conditions, condition)
	}
	return schema
}

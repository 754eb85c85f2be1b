package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
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

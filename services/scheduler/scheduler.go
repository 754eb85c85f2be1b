// Package scheduler decides which node a pod goes to.
//
//	informers ──▶ queue ──▶ placement ──▶ assume ──▶ binder ──▶ Store.Bind
//	    │                       ▲            │          │
//	    └──────▶ cache ─────────┘◀───────────┘          └─▶ events, conditions, history
//
// One goroutine takes pods from the queue in order, decides on a snapshot of
// the cluster, and assumes each pod on its node at once. Bindings are written
// behind its back: whatever has been decided while one call of the Store is in
// flight goes out together in the next. What fails is taken back and tried
// again.
//
// The decision itself is the plugins': package framework defines them, package
// plugins lists them, package placement runs them.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/client/events"
	"navarch.dev/navarch/internal/client/leader"
	"navarch.dev/navarch/internal/telemetry"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/extender"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/plugins"
	"navarch.dev/navarch/services/scheduler/plugins/dynamicresources"
	"navarch.dev/navarch/services/scheduler/plugins/volumebinding"
	"navarch.dev/navarch/services/scheduler/queue"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const (
	// confirmWithin is how long the informer may take to show a stored binding.
	confirmWithin = 5 * time.Minute
	// stuckAfter is when an unschedulable pod is tried again without an event.
	stuckAfter = 5 * time.Minute
)

// Scheduler places pods. Make one with New, then Register it and Run it.
type Scheduler struct {
	config  Config
	log     *slog.Logger
	tracer  trace.Tracer
	metrics *metrics

	client     *client.Client
	informers  *client.Informers
	pods       *client.Informer[*corev1.Pod]
	nodes      *client.Informer[*corev1.Node]
	namespaces *client.Informer[*corev1.Namespace]
	budgets    *client.Informer[*policyv1.PodDisruptionBudget]
	storage    *storageWatch
	devices    *deviceWatch
	groups     *groupWatch

	profiles    *framework.Profiles
	waiting     *framework.Waiting
	cache       *snapshot.Cache
	queue       *queue.Queue
	nominations *nominations
	placer      *placement.Placer
	// infos makes those of pods that wait.
	infos  snapshot.PodInfos
	binder *binder
	// recorders have a profile's name as the source of its events.
	recorders  map[string]*events.Recorder
	conditions *conditionWriter
	history    *history
	ready      chan struct{}
	// otherStore leads to another of several Stores.
	otherStore func()
}

// New returns a Scheduler of the cluster whose Store is behind store.
func New(cfg Config, tel telemetry.Set, store grpc.ClientConnInterface) (*Scheduler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure scheduler: %w", err)
	}
	c := client.New(store, "navarch-scheduler")
	s := &Scheduler{
		config: cfg, log: tel.Log, tracer: tel.Tracer(),
		client: c, informers: client.NewInformers(c),
		waiting:     &framework.Waiting{},
		cache:       snapshot.NewCache(confirmWithin, tel.Log),
		nominations: newNominations(),
		recorders:   make(map[string]*events.Recorder),
		history:     newHistory(),
		ready:       make(chan struct{}),
		otherStore:  client.OtherStore(store),
	}
	if err := s.addInformers(); err != nil {
		return nil, fmt.Errorf("make scheduler: %w", err)
	}
	extenders, err := extender.New(cfg.Extenders, tel.Log)
	if err != nil {
		return nil, fmt.Errorf("make scheduler: %w", err)
	}
	profiles, err := cfg.profiles(s.environment(extenders))
	if err != nil {
		return nil, fmt.Errorf("make scheduler: %w", err)
	}
	s.profiles = profiles
	for _, p := range profiles.All() {
		s.recorders[p.SchedulerName()] = events.NewRecorder(c, p.SchedulerName(), "", tel)
	}
	s.queue = queue.New(queue.Config{InitialBackoff: cfg.InitialBackoff, MaxBackoff: cfg.MaxBackoff, StuckAfter: stuckAfter}, profiles)
	s.placer = placement.New(placement.Config{Parallelism: cfg.Parallelism}, s.cache, s.nominations)
	s.conditions = newConditionWriter(c, s.pods, tel.Log)
	s.binder = newBinder(s)
	s.metrics = newMetrics(tel.Metrics, s.queue)
	if len(cfg.Idle) > 0 {
		s.log.Warn("fields of the configuration have no effect", "fields", cfg.Idle)
	}
	return s, nil
}

// environment is what plugins get.
func (s *Scheduler) environment(extenders *extender.Set) plugins.Environment {
	return plugins.Environment{
		Binder: s.client.Store(), Namespaces: s.namespaceLabels, Groups: s.groups.Selector,
		Preemption: &evictor{scheduler: s}, Storage: s.storage, Volumes: volumebinding.NewReservations(),
		Extenders: extenders,
		Devices:   s.devices, Claims: dynamicresources.NewLedger(),
		Events: func(pod *corev1.Pod, eventType, reason, message string) {
			s.event(pod, pod, eventType, reason, message)
		},
	}
}

func (s *Scheduler) addInformers() (err error) {
	if s.pods, err = client.TrimmedInformerFor(s.informers, trimPod); err != nil {
		return err
	}
	if s.nodes, err = client.InformerFor[*corev1.Node](s.informers, cache.Indexers{}); err != nil {
		return err
	}
	if s.namespaces, err = client.InformerFor[*corev1.Namespace](s.informers, cache.Indexers{}); err != nil {
		return err
	}
	if s.budgets, err = client.InformerFor[*policyv1.PodDisruptionBudget](s.informers, cache.Indexers{}); err != nil {
		return err
	}
	if s.storage, err = newStorageWatch(s.client, s.informers, s.pods); err != nil {
		return err
	}
	if s.devices, err = newDeviceWatch(s.client, s.informers, s.pods); err != nil {
		return err
	}
	if s.groups, err = newGroupWatch(s.informers); err != nil {
		return err
	}
	s.storage.tell(func(e framework.Event) { s.queue.Happened(e) })
	s.devices.tell(func(e framework.Event) { s.queue.Happened(e) })
	s.pods.AddHandler(client.Handler[*corev1.Pod]{OnAdd: s.podAdded, OnUpdate: s.podUpdated, OnDelete: s.podDeleted})
	s.nodes.AddHandler(client.Handler[*corev1.Node]{OnAdd: s.nodeAdded, OnUpdate: s.nodeUpdated, OnDelete: s.nodeDeleted})
	s.namespaces.AddHandler(client.Handler[*corev1.Namespace]{OnAdd: s.namespaceAdded, OnUpdate: s.namespaceUpdated})
	return nil
}

// Register adds the SchedulerService to a server.
func (s *Scheduler) Register(server grpc.ServiceRegistrar) {
	schedulerv1.RegisterSchedulerServiceServer(server, &service{scheduler: s})
}

// Ready is closed once the Scheduler knows the cluster: it can answer, and
// places pods unless another one leads.
func (s *Scheduler) Ready() <-chan struct{} { return s.ready }

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.queue.Close()
	for _, r := range s.recorders {
		group.Go(func() { r.Run(ctx) })
	}
	group.Go(func() { s.conditions.run(ctx) })
	if err := s.informers.Start(ctx); err != nil {
		return nil // ctx ended before everything was known
	}
	close(s.ready)
	if !s.config.LeaderElect {
		s.lead(ctx)
		return nil
	}
	election := leader.DefaultConfig()
	election.Client, election.Log, election.OtherStore = s.client, s.log, s.otherStore
	election.Namespace, election.Name, election.Identity = s.config.LeaseNamespace, s.config.LeaseName, s.config.Identity
	election.LeaseDuration, election.RenewDeadline, election.RetryPeriod = s.config.LeaseDuration, s.config.RenewDeadline, s.config.RetryPeriod
	if err := leader.Run(ctx, election, s.lead); err != nil {
		return fmt.Errorf("run scheduler: %w", err)
	}
	return nil
}

// schedulerNames are those that pods choose their profile by.
func (s *Scheduler) schedulerNames() []string {
	var names []string
	for _, p := range s.profiles.All() {
		names = append(names, p.SchedulerName())
	}
	return names
}

// event records what happened to pod in the name of the profile that placed, is
// to place, or made room for, of.
func (s *Scheduler) event(pod, of *corev1.Pod, eventType, reason, message string) {
	if r, ok := s.recorders[of.Spec.SchedulerName]; ok {
		r.Event(pod, eventType, reason, message)
	}
}

// lead places pods until ctx ends.
func (s *Scheduler) lead(ctx context.Context) {
	s.log.InfoContext(ctx, "scheduling", "nodes", len(s.nodes.List()), "schedulers", s.schedulerNames())
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { s.binder.run(ctx) })
	for {
		pod, ok := s.queue.Pop(ctx)
		if !ok {
			return
		}
		s.schedule(ctx, pod)
	}
}

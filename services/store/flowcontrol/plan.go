package flowcontrol

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/flowdefaults"
	"navarch.dev/navarch/internal/flowheader"
	"navarch.dev/navarch/services/store/flowcontrol/fairqueue"
	"navarch.dev/navarch/services/store/flowcontrol/matching"
	"navarch.dev/navarch/services/store/flowcontrol/shares"
)

// plan is what requests are classified by.
type plan struct {
	// flows are in the order in which they are tried.
	flows []*Flow
	// rest is for requests that none of them is about.
	rest *Flow
}

// level is a priority level.
type level struct {
	name  string
	seats *fairqueue.Level
	drops drops
	waits *prometheus.HistogramVec

	// The Controller's mu guards the fields below.

	limits  shares.Level
	current int // seats, for the time being
}

func (l *level) waited(c *counts, executed bool, took time.Duration) {
	execute := "false"
	if executed {
		execute = "true"
	}
	l.waits.WithLabelValues(c.level, c.schema, execute).Observe(took.Seconds())
}

// usable returns the objects by which the Store goes, by their names: those that
// no cluster can be without, and of the given ones those that are sound.
func usable[T flowdefaults.Object](mandatory, given []T, sound func(T) bool) map[string]T {
	byName := make(map[string]T)
	for _, o := range mandatory {
		byName[o.GetName()] = o
	}
	for _, o := range given {
		if sound(o) && flowdefaults.Fixed(o) { // older rules may have allowed others
			byName[o.GetName()] = o
		}
	}
	return byName
}

func usableLevels(given []*flowcontrolv1.PriorityLevelConfiguration) map[string]*flowcontrolv1.PriorityLevelConfiguration {
	return usable(flowdefaults.MandatoryLevels(), given, func(l *flowcontrolv1.PriorityLevelConfiguration) bool {
		return l.Spec.Limited != nil || exempt(l.Name)
	})
}

// exempt says whether the requests of a level never wait.
func exempt(level string) bool { return level == flowcontrolv1.PriorityLevelConfigurationNameExempt }

// claimOf returns what a level's configuration claims, and how requests wait in
// it.
func claimOf(spec *flowcontrolv1.PriorityLevelConfigurationSpec) (shares.Claim, fairqueue.Queuing) {
	if l := spec.Limited; l != nil {
		claim := shares.Claim{
			Shares: ptr.Deref(l.NominalConcurrencyShares, 0), LendablePercent: ptr.Deref(l.LendablePercent, 0), BorrowingPercent: l.BorrowingLimitPercent,
		}
		q := l.LimitResponse.Queuing
		if q == nil {
			return claim, fairqueue.Queuing{}
		}
		return claim, fairqueue.Queuing{Queues: int(q.Queues), HandSize: int(q.HandSize), Length: int(q.QueueLengthLimit)}
	}
	if e := spec.Exempt; e != nil {
		return shares.Claim{Shares: ptr.Deref(e.NominalConcurrencyShares, 0), LendablePercent: ptr.Deref(e.LendablePercent, 0)}, fairqueue.Queuing{}
	}
	return shares.Claim{}, fairqueue.Queuing{}
}

// planOf returns the plan that FlowSchemas make. Those whose level does not exist
// are left out.
func (c *Controller) planOf(given []*flowcontrolv1.FlowSchema, levels map[string]*flowcontrolv1.PriorityLevelConfiguration) *plan {
	p := &plan{}
	found := func(s *flowcontrolv1.FlowSchema) bool { return levels[s.Spec.PriorityLevelConfiguration.Name] != nil }
	for _, s := range usable(flowdefaults.MandatorySchemas(), given, found) {
		o := levels[s.Spec.PriorityLevelConfiguration.Name]
		f := &Flow{
			name: s.Name, precedence: s.Spec.MatchingPrecedence, schema: matching.New(&s.Spec), level: c.levels[o.Name],
			counts: c.countsOf(s.Name, o.Name), header: flowheader.New(s.UID, o.UID), seed: c.seed,
		}
		if s.Spec.DistinguisherMethod != nil {
			f.method = s.Spec.DistinguisherMethod.Type
		}
		if s.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			p.rest = f
		}
		p.flows = append(p.flows, f)
	}
	slices.SortFunc(p.flows, func(a, b *Flow) int {
		return cmp.Or(cmp.Compare(a.precedence, b.precedence), cmp.Compare(a.name, b.name))
	})
	return p
}

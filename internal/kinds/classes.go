package kinds

import (
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// highestUserPriority is below what system pods have.
const highestUserPriority = 1_000_000_000

func disruptionBudgetColumns() []Column {
	spec := policyv1.PodDisruptionBudgetSpec{}.SwaggerDoc()
	type pdb = policyv1.PodDisruptionBudget
	amount := func(name, key string, value func(*pdb) *intstr.IntOrString) Column {
		return text(name, spec[key], func(b *pdb) string {
			if v := value(b); v != nil {
				return v.String()
			}
			return "N/A"
		})
	}
	return columns(
		amount("Min Available", "minAvailable", func(b *pdb) *intstr.IntOrString { return b.Spec.MinAvailable }),
		amount("Max Unavailable", "maxUnavailable", func(b *pdb) *intstr.IntOrString { return b.Spec.MaxUnavailable }),
		number("Allowed Disruptions", policyv1.PodDisruptionBudgetStatus{}.SwaggerDoc()["disruptionsAllowed"], func(b *pdb) int64 {
			return int64(b.Status.DisruptionsAllowed)
		}),
		ageColumn(),
	)
}

func disruptionBudgetStrategy() Strategy {
	return specStatus(
		func(b *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &b.Spec },
		func(b *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &b.Status },
		rules[*policyv1.PodDisruptionBudget]{validate: func(b *policyv1.PodDisruptionBudget) field.ErrorList {
			var errs field.ErrorList
			if b.Spec.MinAvailable != nil && b.Spec.MaxUnavailable != nil {
				errs = append(errs, field.Invalid(specPath(), b.Spec, "minAvailable and maxUnavailable cannot be both set"))
			}
			if v := b.Spec.MinAvailable; v != nil {
				errs = rule.Join(errs, validAmount(*v, specPath("minAvailable")), notMoreThanAll(*v, specPath("minAvailable")))
			}
			if v := b.Spec.MaxUnavailable; v != nil {
				errs = rule.Join(errs, validAmount(*v, specPath("maxUnavailable")), notMoreThanAll(*v, specPath("maxUnavailable")))
			}
			if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil {
				errs = rule.Join(errs, rule.Supported(*p, specPath("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget))
			}
			return rule.Join(errs, rule.Selector(b.Spec.Selector, specPath("selector")))
		}, validateStatus: func(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
			at, s := field.NewPath("status"), &b.Status
			return rule.Join(metavalidation.ValidateConditions(s.Conditions, at.Child("conditions")),
				rule.NonNegative(&s.DisruptionsAllowed, at.Child("disruptionsAllowed")), rule.NonNegative(&s.CurrentHealthy, at.Child("currentHealthy")),
				rule.NonNegative(&s.DesiredHealthy, at.Child("desiredHealthy")), rule.NonNegative(&s.ExpectedPods, at.Child("expectedPods")))
		}})
}

func priorityClassColumns() []Column {
	doc := schedulingv1.PriorityClass{}.SwaggerDoc()
	return columns(
		number("Value", doc["value"], func(p *schedulingv1.PriorityClass) int64 { return int64(p.Value) }),
		Column{Name: "Global-Default", Type: "boolean", Description: doc["globalDefault"], Value: func(o Object) any { return o.(*schedulingv1.PriorityClass).GlobalDefault }},
		ageColumn(),
		text("PreemptionPolicy", doc["preemptionPolicy"], func(p *schedulingv1.PriorityClass) string { return string(deref(p.PreemptionPolicy)) }),
	)
}

func priorityClassStrategy() Strategy {
	s := plain(rules[*schedulingv1.PriorityClass]{
		defaults: func(p *schedulingv1.PriorityClass) { setPointer(&p.PreemptionPolicy, corev1.PreemptLowerPriority) },
		validateCreate: func(p *schedulingv1.PriorityClass) field.ErrorList {
			return rule.Join(validatePriorityClass(p), rule.Optional(p.PreemptionPolicy, field.NewPath("preemptionPolicy"), podspec.ValidatePreemption))
		},
		validateUpdate: func(p, old *schedulingv1.PriorityClass) field.ErrorList {
			var errs field.ErrorList
			if p.Value != old.Value {
				errs = append(errs, field.Forbidden(field.NewPath("value"), "may not be changed in an update."))
			}
			return rule.Join(errs, rule.Immutable(p.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy")))
		},
	})
	s.SpecChanged = func(obj, old Object) bool { return false }
	return s
}

func validatePriorityClass(p *schedulingv1.PriorityClass) field.ErrorList {
	if !strings.HasPrefix(p.Name, "system-") {
		if p.Value > highestUserPriority {
			return field.ErrorList{field.Forbidden(field.NewPath("value"),
				fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestUserPriority))}
		}
		return nil
	}
	system := map[string]int32{"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
	value, known := system[p.Name]
	var why string
	switch {
	case !known:
		why = p.Name + " is not a known system priority class"
	case p.Value != value:
		why = fmt.Sprintf("value of %s PriorityClass must be %d", p.Name, value)
	case p.GlobalDefault:
		why = fmt.Sprintf("globalDefault of %s PriorityClass must be false", p.Name)
	default:
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "name"),
		"priority class names with 'system-' prefix are reserved for system use only. error: "+why)}
}

func runtimeClassColumns() []Column {
	return columns(
		text("Handler", nodev1.RuntimeClass{}.SwaggerDoc()["handler"], func(r *nodev1.RuntimeClass) string { return r.Handler }),
		ageColumn(),
	)
}

func runtimeClassStrategy() Strategy {
	return plain(rules[*nodev1.RuntimeClass]{
		validate: func(r *nodev1.RuntimeClass) field.ErrorList {
			errs := rule.Given(r.Handler, field.NewPath("handler"), validation.IsDNS1123Label)
			if r.Overhead != nil {
				errs = append(errs, podspec.ValidateOverhead(r.Overhead.PodFixed, field.NewPath("overhead"))...)
			}
			if r.Scheduling == nil {
				return errs
			}
			at := field.NewPath("scheduling")
			return rule.Join(errs,
				metavalidation.ValidateLabels(r.Scheduling.NodeSelector, at.Child("nodeSelector")),
				validateClassTolerations(r.Scheduling.Tolerations, at.Child("tolerations")))
		},
		validateUpdate: func(r, old *nodev1.RuntimeClass) field.ErrorList {
			return rule.Frozen(r.Handler, old.Handler, field.NewPath("handler"))
		},
	})
}

// validateClassTolerations: what a class adds to its pods it adds once.
func validateClassTolerations(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	errs := podspec.ValidateTolerations(tolerations, at)
	seen := rule.Seen[corev1.Toleration]{}
	for i, t := range tolerations {
		t.TolerationSeconds = nil
		if len(seen.Once(t, at)) > 0 {
			errs = append(errs, field.Duplicate(at.Index(i), tolerations[i]))
		}
	}
	return errs
}

func leaseColumns() []Column {
	return columns(
		text("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"], func(l *coordinationv1.Lease) string { return deref(l.Spec.HolderIdentity) }),
		ageColumn(),
	)
}

func leaseStrategy() Strategy {
	return plain(rules[*coordinationv1.Lease]{create: dropElection, update: keepElection, validate: func(l *coordinationv1.Lease) field.ErrorList {
		errs := rule.Join(
			rule.Positive(l.Spec.LeaseDurationSeconds, specPath("leaseDurationSeconds")),
			rule.NonNegative(l.Spec.LeaseTransitions, specPath("leaseTransitions")))
		if l.Spec.Strategy != nil {
			errs = append(errs, validateElection(*l.Spec.Strategy, specPath("strategy"))...)
		}
		if deref(l.Spec.PreferredHolder) != "" && deref(l.Spec.Strategy) == "" {
			errs = append(errs, field.Forbidden(specPath("preferredHolder"), "may only be specified if `strategy` is defined"))
		}
		return errs
	}})
}

// dropElection takes away who is to be elected and how, which Kubernetes 1.37 does
// not do unless it has been told so.
func dropElection(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil }

// keepElection is dropElection for what a lease has not said before.
func keepElection(l, old *coordinationv1.Lease) {
	if old.Spec.Strategy == nil {
		l.Spec.Strategy = nil
	}
	if old.Spec.PreferredHolder == nil {
		l.Spec.PreferredHolder = nil
	}
}

// validateElection: how a holder is chosen is one of the ways that there are,
// or somebody's own, named with his domain.
func validateElection(s coordinationv1.CoordinatedLeaseStrategy, at *field.Path) field.ErrorList {
	if strings.Contains(string(s), "/") {
		return rule.Qualified(s, at)
	}
	return rule.Supported(s, at, coordinationv1.OldestEmulationVersion)
}

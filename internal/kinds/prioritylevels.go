package kinds

import (
	"fmt"
	"math"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds/rule"
)

func priorityLevelColumns() []Column {
	// Numbers that there are none of are told by a word.
	limited := func(name, doc string, show func(*flowcontrolv1.LimitedPriorityLevelConfiguration) any) Column {
		return Column{Name: name, Type: "string", Description: doc, Value: func(o Object) any {
			if l := o.(*flowcontrolv1.PriorityLevelConfiguration).Spec.Limited; l != nil {
				return show(l)
			}
			return none
		}}
	}
	queuing := func(name, doc string, show func(*flowcontrolv1.QueuingConfiguration) int32) Column {
		return limited(name, doc, func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) any {
			if l.LimitResponse.Queuing == nil {
				return none
			}
			return int64(show(l.LimitResponse.Queuing))
		})
	}
	doc := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return columns(
		text("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"], func(l *flowcontrolv1.PriorityLevelConfiguration) string {
			return string(l.Spec.Type)
		}),
		limited("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"],
			func(l *flowcontrolv1.LimitedPriorityLevelConfiguration) any {
				return int64(ptr.Deref(l.NominalConcurrencyShares, 0))
			}),
		queuing("Queues", doc["queues"], func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues }),
		queuing("HandSize", doc["handSize"], func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize }),
		queuing("QueueLengthLimit", doc["queueLengthLimit"], func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit }),
		ageColumn(),
	)
}

func priorityLevelStrategy() Strategy {
	return specStatus(
		func(l *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationSpec {
			return &l.Spec
		},
		func(l *flowcontrolv1.PriorityLevelConfiguration) *flowcontrolv1.PriorityLevelConfigurationStatus {
			return &l.Status
		},
		rules[*flowcontrolv1.PriorityLevelConfiguration]{
			defaults: defaultPriorityLevel,
			validate: func(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
				return append(validatePriorityLevel(l.Name, &l.Spec, field.NewPath("spec")), fixedSpec(l, l.Spec)...)
			},
			validateStatus: func(l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
				return eachCondition(l.Status.Conditions, func(c *flowcontrolv1.PriorityLevelConfigurationCondition) string { return string(c.Type) })
			},
		})
}

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if exempt := l.Spec.Exempt; exempt != nil {
		setPointer(&exempt.NominalConcurrencyShares, 0)
		setPointer(&exempt.LendablePercent, 0)
	}
	limited := l.Spec.Limited
	if limited == nil {
		return
	}
	setPointer(&limited.NominalConcurrencyShares, 30)
	setPointer(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		setDefault(&q.HandSize, 8)
		setDefault(&q.Queues, 64)
		setDefault(&q.QueueLengthLimit, 50)
	}
}

func validatePriorityLevel(name string, s *flowcontrolv1.PriorityLevelConfigurationSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if (name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(at.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		errs = append(errs, rule.Forbid(at, "", rule.Set("limited", s.Limited != nil))...)
		if s.Exempt != nil {
			errs = append(errs, validateShares(s.Exempt.NominalConcurrencyShares, s.Exempt.LendablePercent, at.Child("exempt"))...)
		}
		return errs
	case flowcontrolv1.PriorityLevelEnablementLimited:
		errs = append(errs, rule.Forbid(at, "", rule.Set("exempt", s.Exempt != nil))...)
		if s.Limited == nil {
			return append(errs, field.Required(at.Child("limited"), ""))
		}
		return append(errs, validateLimited(s.Limited, at.Child("limited"))...)
	}
	errs = append(errs, rule.Forbid(at, "", rule.Set("exempt", s.Exempt != nil), rule.Set("limited", s.Limited != nil))...)
	return append(errs, rule.OneOf(s.Type, at.Child("type"), flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
}

func validateShares(shares, lendable *int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ptr.Deref(shares, 0) < 0 {
		errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer"))
	}
	if percent := ptr.Deref(lendable, 0); percent < 0 || percent > 100 {
		errs = append(errs, field.Invalid(at.Child("lendablePercent"), percent, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) field.ErrorList {
	errs := validateShares(l.NominalConcurrencyShares, l.LendablePercent, at)
	if ptr.Deref(l.BorrowingLimitPercent, 0) < 0 {
		errs = append(errs, field.Invalid(at.Child("borrowingLimitPercent"), *l.BorrowingLimitPercent, "if specified, must be a non-negative integer"))
	}
	response, queuing := at.Child("limitResponse"), at.Child("limitResponse", "queuing")
	switch r := l.LimitResponse; r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		return append(errs, rule.Forbid(response, "", rule.Set("queuing", r.Queuing != nil))...)
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			return append(errs, field.Required(queuing, ""))
		}
		return append(errs, validateQueuing(r.Queuing, queuing)...)
	default:
		errs = append(errs, rule.Forbid(response, "", rule.Set("queuing", r.Queuing != nil))...)
		return append(errs, rule.OneOf(r.Type, response.Child("type"), flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
}

const (
	maxQueues = 10_000_000
	// handBits is how many bits of a hash deal a flow its hand of queues.
	handBits = 60
)

func validateQueuing(q *flowcontrolv1.QueuingConfiguration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.QueueLengthLimit <= 0 {
		errs = append(errs, field.Invalid(at.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive"))
	}
	switch {
	case q.Queues <= 0:
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, "must be positive"))
	case q.Queues > maxQueues:
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	switch hand := at.Child("handSize"); {
	case q.HandSize <= 0:
		errs = append(errs, field.Invalid(hand, q.HandSize, "must be positive"))
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	case dealBits(q.Queues, q.HandSize) > handBits:
		errs = append(errs, field.Invalid(hand, q.HandSize,
			fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, handBits)))
	}
	return errs
}

// dealBits returns how many bits it takes to tell all hands of a deck apart.
func dealBits(deck, hand int32) int {
	return int(math.Ceil(math.Log2(float64(deck)) * float64(hand)))
}

package devicespec

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func taintEffects() []resourcev1.DeviceTaintEffect {
	return []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}
}

// DefaultTaint notes when a taint was added.
func DefaultTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		t.TimeAdded = Now()
	}
}

// Now is the present in whole seconds, as objects can say it.
func Now() *metav1.Time { return &metav1.Time{Time: time.Now().Truncate(time.Second)} }

// ValidateTaint returns what is wrong with a taint of devices.
func ValidateTaint(t *resourcev1.DeviceTaint, at *field.Path) field.ErrorList {
	return rule.Join(
		labelKey(t.Key, at.Child("key")),
		rule.FormIfSet(t.Value, at.Child("value"), validation.IsValidLabelValue),
		rule.OneOf(t.Effect, at.Child("effect"), taintEffects()...))
}

// ValidateTaintSelector returns what is wrong with the choice of devices that a
// taint is for.
func ValidateTaintSelector(s *resourcev1.DeviceTaintSelector, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	return rule.Join(
		rule.Optional(s.Driver, at.Child("driver"), ValidateDriver),
		rule.Optional(s.Pool, at.Child("pool"), ValidatePool),
		rule.Optional(s.Device, at.Child("device"), ValidateDevice))
}

func defaultTolerations(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if t := &tolerations[i]; t.Operator == "" {
			t.Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

func validateToleration(t *resourcev1.DeviceToleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = labelKey(t.Key, at.Child("key"))
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`"))
		}
	case resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, rule.Form(t.Value, at.Child("value"), validation.IsValidLabelValue)...)
	default:
		errs = append(errs, rule.OneOf(t.Operator, at.Child("operator"), resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)...)
	}
	if t.Effect != "" {
		errs = append(errs, rule.Supported(t.Effect, at.Child("effect"), taintEffects()...)...)
	}
	return errs
}

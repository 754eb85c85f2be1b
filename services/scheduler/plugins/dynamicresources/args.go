package dynamicresources

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// DefaultArgs returns the arguments of a plugin that has been given none.
func DefaultArgs() *configv1.DynamicResourcesArgs {
	args := &configv1.DynamicResourcesArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.DynamicResourcesArgs) {
	if args.FilterTimeout == nil {
		args.FilterTimeout = &metav1.Duration{Duration: configv1.DynamicResourcesFilterTimeoutDefault}
	}
	if args.BindingTimeout == nil {
		args.BindingTimeout = &metav1.Duration{Duration: configv1.DynamicResourcesBindingTimeoutDefault}
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.DynamicResourcesArgs) field.ErrorList {
	var errs field.ErrorList
	if d := args.FilterTimeout.Duration; d < 0 {
		errs = append(errs, field.Invalid(path.Child("filterTimeout"), d.String(), "must be 0, for no limit, or more"))
	}
	if d := args.BindingTimeout.Duration; d < time.Second {
		errs = append(errs, field.Invalid(path.Child("bindingTimeout"), d.String(), "must be at least 1s"))
	}
	return errs
}

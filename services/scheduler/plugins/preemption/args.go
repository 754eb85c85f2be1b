package preemption

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
)

// DefaultArgs returns the arguments of a plugin that has been given none.
func DefaultArgs() *configv1.DefaultPreemptionArgs {
	args := &configv1.DefaultPreemptionArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.DefaultPreemptionArgs) {
	if args.MinCandidateNodesPercentage == nil {
		args.MinCandidateNodesPercentage = ptr.To[int32](10)
	}
	if args.MinCandidateNodesAbsolute == nil {
		args.MinCandidateNodesAbsolute = ptr.To[int32](100)
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.DefaultPreemptionArgs) field.ErrorList {
	var errs field.ErrorList
	percentage, absolute := *args.MinCandidateNodesPercentage, *args.MinCandidateNodesAbsolute
	if percentage < 0 || percentage > 100 {
		errs = append(errs, field.Invalid(path.Child("minCandidateNodesPercentage"), percentage, "must be from 0 to 100"))
	}
	if absolute < 0 {
		errs = append(errs, field.Invalid(path.Child("minCandidateNodesAbsolute"), absolute, "must be 0 or more"))
	}
	if percentage == 0 && absolute == 0 {
		errs = append(errs, field.Invalid(path.Child("minCandidateNodesAbsolute"), absolute, "must not be 0 where minCandidateNodesPercentage is 0"))
	}
	return errs
}

package interpodaffinity

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"
)

// DefaultArgs returns the arguments of a plugin that has been given none.
func DefaultArgs() *configv1.InterPodAffinityArgs {
	args := &configv1.InterPodAffinityArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.InterPodAffinityArgs) {
	if args.HardPodAffinityWeight == nil {
		args.HardPodAffinityWeight = ptr.To[int32](1)
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.InterPodAffinityArgs) field.ErrorList {
	if w := *args.HardPodAffinityWeight; w < 0 || w > 100 {
		return field.ErrorList{field.Invalid(path.Child("hardPodAffinityWeight"), w, "must be from 0 to 100")}
	}
	return nil
}

package balancedallocation

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/plugins/noderesources"
)

// DefaultArgs returns the arguments of a plugin that has been given none: CPU
// and memory.
func DefaultArgs() *configv1.NodeResourcesBalancedAllocationArgs {
	args := &configv1.NodeResourcesBalancedAllocationArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.NodeResourcesBalancedAllocationArgs) {
	args.Resources = noderesources.DefaultResources(args.Resources)
}

// Validate returns what is wrong with arguments that have their defaults.
// Balance knows no weights.
func Validate(path *field.Path, args *configv1.NodeResourcesBalancedAllocationArgs) field.ErrorList {
	var errs field.ErrorList
	seen := make(map[string]bool)
	for i, r := range args.Resources {
		at := path.Child("resources").Index(i)
		if r.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "must name a resource"))
		}
		if seen[r.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), r.Name))
		}
		seen[r.Name] = true
		if r.Weight != 1 {
			errs = append(errs, field.Invalid(at.Child("weight"), r.Weight, "must be 1"))
		}
	}
	return errs
}

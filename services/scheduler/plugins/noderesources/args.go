package noderesources

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/shape"
)

// DefaultArgs returns the arguments of a plugin that has been given none: nodes
// with more CPU and memory left are better.
func DefaultArgs() *configv1.NodeResourcesFitArgs {
	args := &configv1.NodeResourcesFitArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.NodeResourcesFitArgs) {
	if args.ScoringStrategy == nil {
		args.ScoringStrategy = &configv1.ScoringStrategy{Type: configv1.LeastAllocated}
	}
	args.ScoringStrategy.Resources = DefaultResources(args.ScoringStrategy.Resources)
}

// DefaultResources returns resources with weights, CPU and memory where there
// are none.
func DefaultResources(resources []configv1.ResourceSpec) []configv1.ResourceSpec {
	if len(resources) == 0 {
		resources = []configv1.ResourceSpec{{Name: string(corev1.ResourceCPU)}, {Name: string(corev1.ResourceMemory)}}
	}
	for i := range resources {
		if resources[i].Weight == 0 {
			resources[i].Weight = 1
		}
	}
	return resources
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.NodeResourcesFitArgs) field.ErrorList {
	var errs field.ErrorList
	for i, name := range args.IgnoredResources {
		errs = append(errs, metav1validation.ValidateLabelName(name, path.Child("ignoredResources").Index(i))...)
	}
	for i, group := range args.IgnoredResourceGroups {
		at := path.Child("ignoredResourceGroups").Index(i)
		if strings.Contains(group, "/") {
			errs = append(errs, field.Invalid(at, group, "must be the part of a resource's name before the slash"))
			continue
		}
		errs = append(errs, metav1validation.ValidateLabelName(group, at)...)
	}
	return append(errs, validateStrategy(path.Child("scoringStrategy"), args.ScoringStrategy)...)
}

func validateStrategy(path *field.Path, s *configv1.ScoringStrategy) field.ErrorList {
	var errs field.ErrorList
	types := []configv1.ScoringStrategyType{configv1.LeastAllocated, configv1.MostAllocated, configv1.RequestedToCapacityRatio}
	if !slices.Contains(types, s.Type) {
		errs = append(errs, field.NotSupported(path.Child("type"), s.Type, types))
	}
	seen := make(map[string]bool)
	for i, r := range s.Resources {
		at := path.Child("resources").Index(i)
		if r.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "must name a resource"))
		}
		if seen[r.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), r.Name))
		}
		seen[r.Name] = true
		if r.Weight < 1 || r.Weight > 100 {
			errs = append(errs, field.Invalid(at.Child("weight"), r.Weight, "must be from 1 to 100"))
		}
	}
	at := path.Child("requestedToCapacityRatio")
	switch {
	case s.Type != configv1.RequestedToCapacityRatio && s.RequestedToCapacityRatio != nil:
		errs = append(errs, field.Forbidden(at, fmt.Sprintf("must not be set where type is %s", s.Type)))
	case s.Type == configv1.RequestedToCapacityRatio && s.RequestedToCapacityRatio == nil:
		errs = append(errs, field.Required(at, "must be set where type is RequestedToCapacityRatio"))
	case s.RequestedToCapacityRatio != nil:
		errs = append(errs, shape.Validate(at.Child("shape"), s.RequestedToCapacityRatio.Shape)...)
	}
	return errs
}

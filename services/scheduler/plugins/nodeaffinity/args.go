package nodeaffinity

import (
	"errors"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// Validate returns what is wrong with the plugin's arguments.
func Validate(path *field.Path, args *configv1.NodeAffinityArgs) field.ErrorList {
	added := args.AddedAffinity
	if added == nil {
		return nil
	}
	var errs field.ErrorList
	at := path.Child("addedAffinity")
	if required := added.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		at := at.Child("requiredDuringSchedulingIgnoredDuringExecution")
		_, err := nodeaffinity.NewNodeSelector(required, field.WithPath(at))
		errs = append(errs, fieldErrors(at, err)...)
		if len(required.NodeSelectorTerms) == 0 {
			errs = append(errs, field.Required(at.Child("nodeSelectorTerms"), "must have at least one node selector term"))
		}
	}
	at = at.Child("preferredDuringSchedulingIgnoredDuringExecution")
	_, err := nodeaffinity.NewPreferredSchedulingTerms(added.PreferredDuringSchedulingIgnoredDuringExecution, field.WithPath(at))
	errs = append(errs, fieldErrors(at, err)...)
	for i, term := range added.PreferredDuringSchedulingIgnoredDuringExecution {
		if term.Weight < 1 || term.Weight > 100 {
			errs = append(errs, field.Invalid(at.Index(i).Child("weight"), term.Weight, "must be from 1 to 100"))
		}
	}
	return errs
}

// fieldErrors takes an error apart into those of the fields.
func fieldErrors(path *field.Path, err error) field.ErrorList {
	if err == nil {
		return nil
	}
	all := []error{err}
	var aggregate utilerrors.Aggregate
	if errors.As(err, &aggregate) {
		all = utilerrors.Flatten(aggregate).Errors()
	}
	var errs field.ErrorList
	for _, err := range all {
		var of *field.Error
		if !errors.As(err, &of) {
			of = field.InternalError(path, err)
		}
		errs = append(errs, of)
	}
	return errs
}

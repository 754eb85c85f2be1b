package flowdefaults

import (
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Object is a FlowSchema or a PriorityLevelConfiguration.
type Object interface {
	*flowcontrolv1.FlowSchema | *flowcontrolv1.PriorityLevelConfiguration
	metav1.Object
}

// Revise returns what a stored object must become to follow the default of its
// name, nil if it does. The specs of mandatory objects are always the default's,
// others where the annotation apf.kubernetes.io/autoupdate-spec says so; an object
// without it gets it, "true" if its spec was never changed.
func Revise[T Object](stored, fallback T) T {
	follow := mandatory(fallback.GetName()) || follows(stored)
	value, err := strconv.ParseBool(stored.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	annotate := err != nil || value != follow
	respec := follow && !sameSpec(stored, fallback)
	if !annotate && !respec {
		return nil
	}
	revised := copyOf(stored)
	if respec {
		takeSpec(revised, fallback)
	}
	annotations := revised.GetAnnotations()
	if annotations == nil {
		annotations = make(map[string]string)
	}
	annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(follow)
	revised.SetAnnotations(annotations)
	return revised
}

// Abandoned says whether an object that is no default was one of another version
// of this program.
func Abandoned(stored metav1.Object) bool {
	follow, err := strconv.ParseBool(stored.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	return err == nil && follow
}

func mandatory(name string) bool {
	return name == flowcontrolv1.FlowSchemaNameExempt || name == flowcontrolv1.FlowSchemaNameCatchAll // levels have the same names
}

// follows says whether the spec of an object is not its administrator's.
func follows(stored metav1.Object) bool {
	value, err := strconv.ParseBool(stored.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
	if err != nil {
		return stored.GetGeneration() == 1
	}
	return value
}

// Fixed says whether a spec of a mandatory object is the only one it may have. Of
// the level "exempt", administrators choose the shares. Other objects may have any.
func Fixed[T Object](obj T) bool {
	switch o := any(obj).(type) {
	case *flowcontrolv1.FlowSchema:
		for _, m := range MandatorySchemas() {
			if m.Name == o.Name {
				return sameSpec(o, m)
			}
		}
	case *flowcontrolv1.PriorityLevelConfiguration:
		for _, m := range MandatoryLevels() {
			if m.Name == o.Name {
				return sameSpec(o, m)
			}
		}
	}
	return true
}

// sameSpec compares specs, but for what administrators choose.
func sameSpec[T Object](a, b T) bool {
	switch a := any(a).(type) {
	case *flowcontrolv1.FlowSchema:
		return equality.Semantic.DeepEqual(a.Spec, any(b).(*flowcontrolv1.FlowSchema).Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		have, want := a.Spec, any(b).(*flowcontrolv1.PriorityLevelConfiguration).Spec
		if a.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			have.Exempt, want.Exempt = nil, nil
		}
		return equality.Semantic.DeepEqual(have, want)
	}
	return false
}

func copyOf[T Object](obj T) T {
	switch o := any(obj).(type) {
	case *flowcontrolv1.FlowSchema:
		return any(o.DeepCopy()).(T)
	case *flowcontrolv1.PriorityLevelConfiguration:
		return any(o.DeepCopy()).(T)
	}
	return nil
}

// takeSpec gives an object the spec of another, but for what administrators
// choose.
func takeSpec[T Object](into, from T) {
	switch o := any(into).(type) {
	case *flowcontrolv1.FlowSchema:
		any(from).(*flowcontrolv1.FlowSchema).Spec.DeepCopyInto(&o.Spec)
	case *flowcontrolv1.PriorityLevelConfiguration:
		exempt := o.Spec.Exempt
		any(from).(*flowcontrolv1.PriorityLevelConfiguration).Spec.DeepCopyInto(&o.Spec)
		if o.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && exempt != nil {
			o.Spec.Exempt = exempt
		}
	}
}

package kinds

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/flowdefaults"
)

// fixedSpec refuses other specs of the objects without which requests could not be
// classified. Of the level "exempt" administrators choose the shares.
func fixedSpec[T flowdefaults.Object](obj T, spec any) field.ErrorList {
	if flowdefaults.Fixed(obj) {
		return nil
	}
	but := ""
	if _, level := any(obj).(*flowcontrolv1.PriorityLevelConfiguration); level && obj.GetName() == flowcontrolv1.PriorityLevelConfigurationNameExempt {
		but = " except the 'spec.exempt' field"
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec"), spec, fmt.Sprintf("spec of '%s'%s must equal the fixed value", obj.GetName(), but))}
}

package customresourcedefinition

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/structural"
)

// checkStructure says on a definition whether its schemas are structural. Those
// of new definitions have to be; one may have been stored by other rules.
func checkStructure(d *kinds.Definition) {
	var errs field.ErrorList
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i := range d.Spec.Versions {
		if s := d.Spec.Versions[i].Schema; s != nil && s.OpenAPIV3Schema != nil {
			errs = append(errs, structural.Check(s.OpenAPIV3Schema, field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"))...)
		}
	}
	if len(errs) > 0 {
		kinds.SetCondition(d, condition{
			Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionTrue, Reason: "Violations", Message: errs.ToAggregate().Error(),
		})
		return
	}
	d.Status.Conditions = slices.DeleteFunc(d.Status.Conditions, func(c condition) bool { return c.Type == apiextensionsv1.NonStructuralSchema })
}

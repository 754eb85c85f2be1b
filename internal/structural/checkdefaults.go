package structural

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// CheckDefaults returns which of the schema's defaults are not what it asks
// for.
func (s *Schema) CheckDefaults(at *field.Path) field.ErrorList {
	errs := s.checkDefault(at.Child("default"))
	if s.Items != nil {
		errs = append(errs, s.Items.CheckDefaults(at.Child("items"))...)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		errs = append(errs, s.Properties[name].CheckDefaults(at.Child("properties").Key(name))...)
	}
	if s.Values != nil {
		errs = append(errs, s.Values.CheckDefaults(at.Child("additionalProperties"))...)
	}
	return errs
}

func (s *Schema) checkDefault(at *field.Path) field.ErrorList {
	if s.Default == nil {
		return nil
	}
	pruned := copied(s.Default)
	p := &pruning{}
	p.value(pruned, s, false, "")
	if !equality.Semantic.DeepEqual(pruned, s.Default) {
		return field.ErrorList{field.Invalid(at, s.Default, "must not have unknown fields")}
	}
	errs := s.CheckEmbedded(s.Default, at)
	found, err := s.ValidateValue(s.Default, at)
	if err != nil {
		return field.ErrorList{field.Invalid(at, s.Default, fmt.Sprintf("cannot be validated: %v", err))}
	}
	return append(errs, found...)
}

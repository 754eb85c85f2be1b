package codec

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
)

// Selector picks versions by labels and fields.
type Selector struct {
	labels labels.Selector
	fields fields.Selector
}

// ParseSelector reads a label and a field selector. Only fields that the kind
// declares selectable may be named.
func ParseSelector(kind *kinds.Kind, labelSelector, fieldSelector string) (Selector, error) {
	if strings.ContainsRune(labelSelector, 0) { // which labels.Parse takes for the end
		return Selector{}, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %q holds a NUL", labelSelector))
	}
	l, err := labels.Parse(labelSelector)
	if err != nil {
		return Selector{}, apierrors.NewBadRequest(err.Error())
	}
	f, err := fields.ParseSelector(fieldSelector)
	if err != nil {
		return Selector{}, apierrors.NewBadRequest(err.Error())
	}
	for _, r := range f.Requirements() {
		if selectable(kind, r.Field) {
			continue
		}
		if selectsByName(kind) {
			return Selector{}, apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", r.Field))
		}
		return Selector{}, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", r.Field))
	}
	return Selector{labels: l, fields: f}, nil
}

// selectsByName says whether a built-in kind names no fields: its objects are selected
// by name and namespace, even where they have none.
func selectsByName(kind *kinds.Kind) bool { return kind.Custom == nil && len(kind.FieldNames) == 0 }

func selectable(kind *kinds.Kind, field string) bool {
	switch field {
	case "metadata.name":
		return true
	case "metadata.namespace":
		return kind.Namespaced || selectsByName(kind)
	}
	return slices.Contains(kind.FieldNames, field) && (field != kind.WatchField || !kind.Unselectable)
}

// Everything says whether the selector picks every version.
func (s Selector) Everything() bool { return s.labels.Empty() && s.fields.Empty() }

// Name returns the only name that the selector can pick, if there is one.
func (s Selector) Name() (string, bool) { return s.fields.RequiresExactMatch("metadata.name") }

// Exactly returns the only value of a field that the selector can pick, if
// there is one.
func (s Selector) Exactly(field string) *string {
	if value, ok := s.fields.RequiresExactMatch(field); ok {
		return &value
	}
	return nil
}

// Labels returns labels that all versions have that the selector picks.
func (s Selector) Labels() []cache.Label {
	requirements, _ := s.labels.Requirements()
	var out []cache.Label
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if values := r.ValuesUnsorted(); len(values) == 1 {
				out = append(out, cache.Label{Key: r.Key(), Value: values[0]})
			}
		}
	}
	return out
}

// Matches says whether the selector picks a version; a nil version it never
// picks.
func (s Selector) Matches(v *cache.Version) bool {
	if v == nil {
		return false
	}
	if !s.labels.Empty() && !s.labels.Matches(v.Labels()) {
		return false
	}
	return s.fields.Empty() || s.fields.Matches(versionFields{v})
}

// versionFields shows a version as fields.Fields.
type versionFields struct{ v *cache.Version }

func (f versionFields) Has(string) bool         { return true }
func (f versionFields) Get(field string) string { return f.v.Field(field) }

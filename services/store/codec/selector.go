package codec

import (
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
	l, f, err := kinds.ParseSelectors(labelSelector, fieldSelector)
	if err != nil {
		return Selector{}, err
	}
	if err := kind.CheckFields(f); err != nil {
		return Selector{}, err
	}
	return Selector{labels: l, fields: f}, nil
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

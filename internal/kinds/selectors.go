package kinds

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	selection "k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// ParseSelectors reads a label and a field selector. What is wrong with one is a bad
// request.
func ParseSelectors(labelSelector, fieldSelector string) (labels.Selector, selection.Selector, error) {
	if strings.ContainsRune(labelSelector, 0) { // which labels.Parse takes for the end
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse requirement: %q holds a NUL", labelSelector))
	}
	l, err := labels.Parse(labelSelector)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	f, err := selection.ParseSelector(fieldSelector)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(err.Error())
	}
	return l, f, nil
}

// CheckFields refuses a field selector that names what the kind does not declare
// selectable, in the words of Kubernetes' kind.
func (k *Kind) CheckFields(selector selection.Selector) error {
	for _, r := range selector.Requirements() {
		if k.selectable(r.Field) {
			continue
		}
		refusal := "field label not supported: %s"
		switch {
		case k.selectsByName():
			refusal = "%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
		case k.FieldRefusal != "":
			refusal = k.FieldRefusal
		}
		return apierrors.NewBadRequest(fmt.Sprintf(refusal, r.Field))
	}
	return nil
}

// selectsByName says whether a built-in kind has no fields that may be named: its
// objects are selected by name and namespace, even where they have none.
func (k *Kind) selectsByName() bool {
	return k.Custom == nil && (len(k.FieldNames) == 0 || k.Unselectable)
}

func (k *Kind) selectable(field string) bool {
	switch field {
	case "metadata.name":
		return true
	case "metadata.namespace":
		return k.Namespaced || k.selectsByName()
	}
	return slices.Contains(k.FieldNames, field) && (field != k.WatchField || !k.Unselectable)
}

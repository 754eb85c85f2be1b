package crdspec

import (
	"fmt"
	"net/url"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Protected says whether a group is Kubernetes' own: who defines a resource
// there says where that was approved.
func Protected(group string) bool {
	for _, domain := range []string{"k8s.io", "kubernetes.io"} {
		if group == domain || strings.HasSuffix(group, "."+domain) {
			return true
		}
	}
	return false
}

const approvalPage = ", see https://github.com/kubernetes/enhancements/pull/1111"

// ValidateApproval returns what is wrong with the approval of a definition in
// a protected group. An update need not mend what was so before; old is nil on
// creation.
func ValidateApproval(crd, old *apiextensionsv1.CustomResourceDefinition) field.ErrorList {
	if !Protected(crd.Spec.Group) {
		return nil
	}
	const key = apiextensionsv1.KubeAPIApprovedAnnotation
	value := crd.Annotations[key]
	if approved(value) || old != nil && !approved(old.Annotations[key]) && (value == "") == (old.Annotations[key] == "") {
		return nil
	}
	at := field.NewPath("metadata", "annotations").Key(key)
	if value == "" {
		return field.ErrorList{field.Required(at, fmt.Sprintf("protected groups must have approval annotation %q", key)+approvalPage)}
	}
	return field.ErrorList{field.Invalid(at, value, fmt.Sprintf(
		"protected groups must have approval annotation %q with either a URL or a reason starting with \"unapproved\"", key)+approvalPage)}
}

// approved says whether a value of the annotation will do: a URL, or why there
// is none.
func approved(value string) bool {
	if strings.HasPrefix(value, "unapproved") {
		return true
	}
	u, err := url.ParseRequestURI(value)
	return err == nil && u.Host != "" && u.Scheme != ""
}

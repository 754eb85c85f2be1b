package storageclass

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

func TestAllows(t *testing.T) {
	in := func(key string, values ...string) corev1.TopologySelectorLabelRequirement {
		return corev1.TopologySelectorLabelRequirement{Key: key, Values: values}
	}
	term := func(r ...corev1.TopologySelectorLabelRequirement) corev1.TopologySelectorTerm {
		return corev1.TopologySelectorTerm{MatchLabelExpressions: r}
	}
	labels := map[string]string{"zone": "a", "disk": "ssd"}
	for _, tt := range []struct {
		name  string
		terms []corev1.TopologySelectorTerm
		want  bool
	}{
		{"anywhere", nil, true},
		{"one of the values", []corev1.TopologySelectorTerm{term(in("zone", "b", "a"))}, true},
		{"none of the values", []corev1.TopologySelectorTerm{term(in("zone", "b"))}, false},
		{"a label that is not there", []corev1.TopologySelectorTerm{term(in("rack", ""))}, false},
		{"both of a term", []corev1.TopologySelectorTerm{term(in("zone", "a"), in("disk", "hdd"))}, false},
		{"either term", []corev1.TopologySelectorTerm{term(in("zone", "b")), term(in("disk", "ssd"))}, true},
		{"an empty term", []corev1.TopologySelectorTerm{{}}, false},
	} {
		if got := Allows(&storagev1.StorageClass{AllowedTopologies: tt.terms}, labels); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

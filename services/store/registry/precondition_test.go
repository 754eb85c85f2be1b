package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func TestPreconditionsNameWhatIsThere(t *testing.T) {
	meta := metav1.ObjectMeta{Name: "n", UID: "is", ResourceVersion: "2"}
	for _, tc := range []struct {
		obj  kinds.Object
		opts *storev1.DeleteOptions
		want string
	}{
		{&corev1.ConfigMap{ObjectMeta: meta}, &storev1.DeleteOptions{Uid: "was"}, `Operation cannot be fulfilled on ConfigMap "n": ` +
			"the UID in the precondition (was) does not match the UID in record (is). The object might have been deleted and then recreated"},
		{&corev1.ConfigMap{ObjectMeta: meta}, &storev1.DeleteOptions{Uid: "is", ResourceVersion: "1"}, `Operation cannot be fulfilled on ConfigMap "n": ` +
			"the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (2). The object might have been modified"},
		{&corev1.Namespace{ObjectMeta: meta}, &storev1.DeleteOptions{Uid: "was"}, `Operation cannot be fulfilled on namespaces "n": ` +
			"Precondition failed: UID in precondition: was, UID in object meta: is"},
		{&corev1.Namespace{ObjectMeta: meta}, &storev1.DeleteOptions{ResourceVersion: "1"}, `Operation cannot be fulfilled on namespaces "n": ` +
			"Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: 2"},
	} {
		kind, err := kinds.Default().ForObject(tc.obj)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkPreconditions(Write{Kind: kind, Name: "n"}, tc.opts, tc.obj); err == nil || err.Error() != tc.want {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

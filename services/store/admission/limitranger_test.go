package admission_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
)

func limitRange(items ...corev1.LimitRangeItem) *corev1.LimitRange {
	return &corev1.LimitRange{ObjectMeta: named("limits"), Spec: corev1.LimitRangeSpec{Limits: items}}
}

func TestLimitRangerFillsIn(t *testing.T) {
	c := newStore(t, limitRange(corev1.LimitRangeItem{
		Type: corev1.LimitTypeContainer, Default: list("cpu", "500m", "memory", "256Mi"), DefaultRequest: list("cpu", "100m"),
	}))
	pod := podOf("p", container("a", nil, nil), container("b", list("cpu", "50m", "memory", "1Mi"), list("cpu", "1")))
	pod.Spec.InitContainers = []corev1.Container{container("i", list("cpu", "100m", "memory", "1Mi"), nil)}
	mustCreate(t, c, pod)
	want := "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for container a; " +
		"memory limit for container b; cpu, memory limit for init container i"
	if got := pod.Annotations["kubernetes.io/limit-ranger"]; got != want {
		t.Errorf("the annotation is %q, want %q", got, want)
	}
	if diff := cmp.Diff(list("cpu", "500m", "memory", "256Mi"), pod.Spec.Containers[0].Resources.Limits); diff != "" {
		t.Errorf("limits of a (-want +got):\n%s", diff)
	}
	if pod.Status.QOSClass != corev1.PodQOSBurstable {
		t.Errorf("the pod's class is %s", pod.Status.QOSClass)
	}
}

func TestLimitRangerLeavesWhatIsComplete(t *testing.T) {
	c := newStore(t, limitRange(corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: list("cpu", "500m")}))
	pod := podOf("p", container("a", list("cpu", "1"), list("cpu", "1")))
	mustCreate(t, c, pod)
	if len(pod.Annotations) > 0 {
		t.Errorf("annotations %v", pod.Annotations)
	}
}

func TestLimitRangerRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		item corev1.LimitRangeItem
		obj  kinds.Object
		want string
	}{
		{"limit above maximum", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("cpu", "500m")},
			podOf("x", container("c", nil, list("cpu", "1"))),
			`pods "x" is forbidden: maximum cpu usage per Container is 500m, but limit is 1`},
		{"limit at maximum", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: list("cpu", "500m")},
			podOf("x", container("c", nil, list("cpu", "0.5"))), ""},
		{"request below minimum", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: list("memory", "64Mi")},
			podOf("x", container("c", list("memory", "1Mi"), nil)),
			`pods "x" is forbidden: minimum memory usage per Container is 64Mi, but request is 1Mi`},
		{"ratio", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, MaxLimitRequestRatio: list("cpu", "2")},
			podOf("x", container("c", list("cpu", "100m"), list("cpu", "1"))),
			`pods "x" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000`},
		{"no limit in pod", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: list("cpu", "1")},
			podOf("x"), `pods "x" is forbidden: maximum cpu usage per Pod is 1.  No limit is specified`},
		{"sum of containers", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: list("cpu", "1")},
			podOf("x", container("a", list("cpu", "100m"), list("cpu", "600m")), container("b", list("cpu", "100m"), list("cpu", "600m"))),
			`pods "x" is forbidden: maximum cpu usage per Pod is 1, but limit is 1200m`},
		{"two at once", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Min: list("cpu", "1", "memory", "1Gi")},
			podOf("x"),
			`pods "x" is forbidden: [minimum cpu usage per Pod is 1.  No request is specified, minimum memory usage per Pod is 1Gi.  No request is specified]`},
		{"claim too large", corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Max: list("storage", "1Gi")},
			claim("x", "2Gi"), `persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi`},
		{"claim too small", corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage", "1Gi")},
			claim("x", "1Mi"), `persistentvolumeclaims "x" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi`},
		{"claim within", corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage", "1Gi"), Max: list("storage", "2Gi")},
			claim("x", "2Gi"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newStore(t, limitRange(test.item))
			if got := refusal(t, c.Create(t.Context(), test.obj)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

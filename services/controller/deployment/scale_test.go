package deployment

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// rolling is a Deployment of so many pods with limits.
func rolling(replicas int32, surge, unavailable intstr.IntOrString) *appsv1.Deployment {
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Replicas: &replicas,
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: &surge, MaxUnavailable: &unavailable,
		}},
	}}
}

func TestLimits(t *testing.T) {
	number, share := intstr.FromInt32, intstr.FromString
	for name, tt := range map[string]struct {
		replicas                   int32
		surge, unavailable         intstr.IntOrString
		wantSurge, wantUnavailable int32
	}{
		"numbers":                              {10, number(3), number(2), 3, 2},
		"a quarter of a whole":                 {8, share("25%"), share("25%"), 2, 2},
		"surge rounds up, the other down":      {10, share("25%"), share("25%"), 3, 2},
		"of one pod: one more, none less":      {1, share("25%"), share("25%"), 1, 0},
		"never both 0: then one may be missed": {1, number(0), share("25%"), 0, 1},
		"all at once":                          {4, share("100%"), share("100%"), 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			surge, unavailable := limits(rolling(tt.replicas, tt.surge, tt.unavailable))
			if surge != tt.wantSurge || unavailable != tt.wantUnavailable {
				t.Errorf("surge %d, unavailable %d; want %d, %d", surge, unavailable, tt.wantSurge, tt.wantUnavailable)
			}
		})
	}
}

// TestProportional resizes Deployments in the middle of a rollout, whose
// ReplicaSets have sizes, oldest first.
func TestProportional(t *testing.T) {
	for name, tt := range map[string]struct {
		from, to int32 // the Deployment's size, with a surge of 3
		sizes    []int32
		want     []int32
	}{
		"the example of the documentation":  {10, 15, []int32{8, 5}, []int32{11, 7}},
		"back again":                        {15, 10, []int32{11, 7}, []int32{8, 5}},
		"equal sets: the newest gets more":  {7, 10, []int32{5, 5}, []int32{6, 7}},
		"fewer, equal sets: the oldest":     {10, 7, []int32{7, 6}, []int32{5, 5}},
		"what is left by rounding: largest": {10, 11, []int32{4, 4, 5}, []int32{4, 4, 6}},
		"an empty set stays empty":          {10, 20, []int32{0, 13}, []int32{0, 23}},
		"to nothing":                        {10, 0, []int32{8, 5}, []int32{0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			var sets []*appsv1.ReplicaSet
			for i, n := range tt.sizes {
				rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
					Name: strconv.Itoa(i), CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0)),
					Annotations: map[string]string{MaxReplicasAnnotation: strconv.Itoa(int(tt.from) + 3)},
				}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(n)}}
				sets = append(sets, rs)
			}
			d := rolling(tt.to, intstr.FromInt32(3), intstr.FromInt32(2))
			allowed := tt.to + 3
			if tt.to == 0 {
				allowed = 0
			}
			sorted := append([]*appsv1.ReplicaSet(nil), sets...)
			sizes := proportional(sorted, d, allowed-totalSize(sets))
			got := make([]int32, len(sets))
			for i, rs := range sorted {
				n, err := strconv.Atoi(rs.Name)
				if err != nil {
					t.Fatal(err)
				}
				got[n] = sizes[i]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sizes (-want +got):\n%s", diff)
			}
		})
	}
}

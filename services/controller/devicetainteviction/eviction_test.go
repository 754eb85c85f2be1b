package devicetainteviction

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// TestDeadline: the taint broken=yes was added at 100 s.
func TestDeadline(t *testing.T) {
	added := metav1.NewTime(time.Unix(100, 0))
	broken := resourcev1.DeviceTaint{Key: "broken", Value: "yes", Effect: resourcev1.DeviceTaintEffectNoExecute, TimeAdded: &added}
	tolerate := func(seconds *int64) resourcev1.DeviceToleration {
		return resourcev1.DeviceToleration{Key: "broken", Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute, TolerationSeconds: seconds}
	}
	const never = -1
	for _, tt := range []struct {
		name        string
		tolerations []resourcev1.DeviceToleration
		want        int64
	}{
		{"not tolerated", nil, 100},
		{"another value is tolerated", []resourcev1.DeviceToleration{{Key: "broken", Operator: resourcev1.DeviceTolerationOpEqual, Value: "no", Effect: resourcev1.DeviceTaintEffectNoExecute}}, 100},
		{"another effect is tolerated", []resourcev1.DeviceToleration{{Key: "broken", Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoSchedule}}, 100},
		{"tolerated for ever", []resourcev1.DeviceToleration{tolerate(nil)}, never},
		{"tolerated whatever its effect", []resourcev1.DeviceToleration{{Operator: resourcev1.DeviceTolerationOpExists, TolerationSeconds: ptr.To[int64](5)}}, never},
		{"tolerated for a while", []resourcev1.DeviceToleration{tolerate(ptr.To[int64](60))}, 160},
		{"tolerated for less than nothing", []resourcev1.DeviceToleration{tolerate(ptr.To[int64](-60))}, 100},
		{"the shortest counts", []resourcev1.DeviceToleration{tolerate(ptr.To[int64](60)), tolerate(ptr.To[int64](5))}, 105},
		{"unless one has no end", []resourcev1.DeviceToleration{tolerate(ptr.To[int64](60)), tolerate(nil)}, never},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := int64(never)
			if at, ends := deadline(broken, tt.tolerations); ends {
				got = at.Unix()
			}
			if got != tt.want {
				t.Errorf("%d, not %d", got, tt.want)
			}
		})
	}
	if at, ends := deadline(broken, []resourcev1.DeviceToleration{tolerate(ptr.To[int64](1 << 62))}); !ends || at.Before(time.Now().AddDate(200, 0, 0)) {
		t.Errorf("tolerated for longer than can be told: %v", at)
	}
}

func TestJoin(t *testing.T) {
	early := &eviction{time.Unix(1, 0), map[types.UID]string{"a": "a"}}
	late := &eviction{time.Unix(2, 0), map[types.UID]string{"b": "b"}}
	want := &eviction{time.Unix(1, 0), map[types.UID]string{"a": "a", "b": "b"}}
	for _, got := range []*eviction{join(early, late), join(late, early)} {
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(eviction{})); diff != "" {
			t.Error(diff)
		}
	}
	if join(nil, early) != early || join(early, nil) != early || join(nil, nil) != nil {
		t.Error("one reason is not alone")
	}
}

func TestPublished(t *testing.T) {
	slice := func(generation int64, device, taint string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{Pool: resourcev1.ResourcePool{Generation: generation},
			Devices: []resourcev1.Device{{Name: device, Taints: []resourcev1.DeviceTaint{{Key: taint}}}}}}
	}
	for _, tt := range []struct {
		name string
		pool []*resourcev1.ResourceSlice
		want string
	}{
		{"none", nil, ""},
		{"of one slice", []*resourcev1.ResourceSlice{slice(1, "a", "x"), slice(1, "b", "y")}, "x"},
		{"the newest last", []*resourcev1.ResourceSlice{slice(1, "a", "x"), slice(2, "a", "y")}, "y"},
		{"the newest first", []*resourcev1.ResourceSlice{slice(2, "a", "y"), slice(1, "a", "x")}, "y"},
		{"no longer there", []*resourcev1.ResourceSlice{slice(1, "a", "x"), slice(2, "b", "y")}, ""},
	} {
		got := ""
		for _, taint := range published(tt.pool, "a") {
			got += taint.Key
		}
		if got != tt.want {
			t.Errorf("%s: %q, not %q", tt.name, got, tt.want)
		}
	}
}

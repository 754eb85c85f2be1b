package quantities_test

import (
	"bytes"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/internal/quantities"
)

func TestParse(t *testing.T) {
	for _, text := range []string{"1", "100m", "1.5Gi", "1E", "12e6", "1e-9", "1e999", "-1e+3", strings.Repeat("1", 200)} {
		got, err := quantities.Parse(text)
		if want := resource.MustParse(text); err != nil || got.Cmp(want) != 0 {
			t.Errorf("%q is %s, %v", text, got.String(), err)
		}
	}
	for text, want := range map[string]string{
		"1e-1000000000":          `the exponent of quantity "1e-1000000000" has more than 3 digits`,
		"1E-1000000000":          "has more than 3 digits",
		".5e1000000000":          "has more than 3 digits",
		"1e+1000":                "has more than 3 digits",
		strings.Repeat("1", 201): `quantity "11111111111111111111"… has more than 200 characters`,
		"much":                   "quantities must match",
	} {
		if _, err := quantities.Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

const huge = "1e-1000000000"

func TestCheckJSON(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{`{"spec":{"containers":[{"resources":{"requests":{"cpu":"1"}}}]}}`, ""},
		{`{"metadata":{"name":"` + huge + `","labels":{"a":"` + huge + `"}},"spec":{"nodeName":"` + huge + `"}}`, ""},
		{`{"metadata":{"annotations":{"digits":"` + strings.Repeat("1", 1000) + `"}}}`, ""},
		{`{"spec":{"containers":[{},{"resources":{"requests":{"cpu":"` + huge + `"}}}]}}`, `spec.containers[1].resources.requests[cpu]: the exponent`},
		{`{"spec":{"containers":[{"resources":{"limits":{"cpu":` + huge + `}}}]}}`, `spec.containers[0].resources.limits[cpu]: the exponent`},
		{`{"spec":{"overhead":{"cpu":"` + huge + `","cpu":"1"}}}`, `spec.overhead[cpu]: the exponent`},
		{`{"spec":{"overhead":{"cpu":"0.` + strings.Repeat("0", 1000) + `1"}}}`, `spec.overhead[cpu]: quantity "0.000`},
		{`{"spec":{"volumes":[{"name":"v","emptyDir":{"sizeLimit":"` + huge + `"}}]}}`, `spec.volumes[0].emptyDir.sizeLimit: the exponent`},
		{`{"spec":{"Overhead":{"cpu":"` + huge + `"}}}`, ""}, // no such field
		{`{"spec":{"overhead":"` + huge + `"}}`, ""},         // nor is that a quantity
		{`{"spec":{"overhead":{"cpu":"` + huge, ""},          // nor JSON
		{strings.Repeat("[", 100_000) + huge, ""},
	} {
		err := quantities.CheckJSON([]byte(tt.body), &corev1.Pod{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%.80s: %v, want %q", tt.body, err, tt.want)
		}
	}
}

func TestUnmarshal(t *testing.T) {
	var metrics []autoscalingv2.MetricSpec
	text := `[{"type":"External"},{"type":"Pods","pods":{"target":{"type":"AverageValue","averageValue":"` + huge + `"}}}]`
	err := quantities.Unmarshal([]byte(text), &metrics)
	if err == nil || !strings.Contains(err.Error(), "[1].pods.target.averageValue: the exponent") {
		t.Errorf("error = %v", err)
	}
	if err := quantities.Unmarshal([]byte(strings.Replace(text, huge, "1", 1)), &metrics); err != nil || len(metrics) != 2 {
		t.Errorf("%d metrics, %v", len(metrics), err)
	}
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	text = `{"spec":{"template":{"spec":{"overhead":{"cpu":"` + huge + `"}}}}}`
	if err := quantities.Unmarshal([]byte(text), &patch); err == nil || !strings.HasPrefix(err.Error(), "spec.template.spec.overhead[cpu]: ") {
		t.Errorf("error = %v", err)
	}
}

// with is a quantity that holds a text which was never read.
func with(t testing.TB, message interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := message.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b, []byte("7777777777777"), []byte(huge)) // of the same length
}

func TestCheckProtobuf(t *testing.T) {
	stand := resource.MustParse("7777777777777")
	list := corev1.ResourceList{"cpu": stand}
	for _, tt := range []struct {
		name string
		pod  corev1.Pod
		want string
	}{
		{"none", corev1.Pod{}, ""},
		{"elsewhere", corev1.Pod{Spec: corev1.PodSpec{NodeName: huge, NodeSelector: map[string]string{"a": huge}}}, ""},
		{"a container's", corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}, {Resources: corev1.ResourceRequirements{Requests: list}}}}},
			"spec.containers.resources.requests[cpu]: the exponent"},
		{"a pointer", corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &stand}}}}}},
			"spec.volumes.emptyDir.sizeLimit: the exponent"},
	} {
		b := with(t, &tt.pod)
		err := quantities.CheckProtobuf(b, &corev1.Pod{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "the exponent")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		} else if tt.want != "" && err.Error()[:len(tt.want)] != tt.want {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		for i := range b { // what is cut off is never worth a panic
			_ = quantities.CheckProtobuf(b[:i], &corev1.Pod{})
		}
	}
	slice := &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{Devices: []resourcev1.Device{{
		Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"m": {
			Value: resource.MustParse("1"), RequestPolicy: &resourcev1.CapacityRequestPolicy{ValidValues: []resource.Quantity{resource.MustParse("1"), stand}},
		}},
	}}}}
	if err := quantities.CheckProtobuf(with(t, slice), &resourcev1.ResourceSlice{}); err == nil {
		t.Error("a slice of quantities was not looked into")
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"spec":{"overhead":{"cpu":"` + huge + `"}}}`))
	f.Add(with(f, &corev1.Pod{Spec: corev1.PodSpec{Overhead: corev1.ResourceList{"cpu": resource.MustParse("7777777777777")}}}))
	f.Fuzz(func(_ *testing.T, body []byte) {
		_ = quantities.CheckJSON(body, &corev1.Pod{})
		_ = quantities.CheckProtobuf(body, &corev1.Pod{})
	})
}

func BenchmarkCheckJSON(b *testing.B) {
	body := bytes.Repeat([]byte(`{"name":"PATH","value":"/usr/local/sbin:/usr/local/bin","resources":{"cpu":"100m"}},`), 50)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := quantities.CheckJSON(body, &corev1.Pod{}); err != nil {
			b.Fatal(err)
		}
	}
}

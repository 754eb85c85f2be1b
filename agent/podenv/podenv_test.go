package podenv

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestExpand(t *testing.T) {
	env := &Env{}
	env.Set("A", "1")
	env.Set("EMPTY", "")
	tests := map[string]string{
		"plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$$$(A)": "$1", "$(B)": "$(B)",
		"$(EMPTY)": "", "$": "$", "$(": "$(", "$(A": "$(A", "$A": "$A", "$$": "$",
	}
	for in, want := range tests {
		if got := Expand(in, env.Lookup); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$($(B)")
	f.Fuzz(func(t *testing.T, s string) {
		none := func(string) (string, bool) { return "", false }
		if got := Expand(s, none); len(got) > len(s) {
			t.Errorf("Expand(%q) = %q grew without a variable", s, got)
		}
	})
}

// twoObjects is a ConfigMap "conf" and a Secret "sec".
type twoObjects struct{}

func (twoObjects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if name != "conf" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"k": "v"}}, nil
}

func (twoObjects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if name != "sec" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
	}
	return &corev1.Secret{Data: map[string][]byte{"s": []byte("hidden")}}, nil
}

func TestMake(t *testing.T) {
	yes := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"a": "b"}},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1"},
	}
	c := &corev1.Container{
		Name: "c",
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")},
		},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "CM_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}, Optional: &yes}},
		},
		Env: []corev1.EnvVar{
			{Name: "PLAIN", Value: "$(CM_k)-$(WEB_SERVICE_PORT)"},
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "LABEL", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a']"}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu", Divisor: resource.MustParse("1m")}}},
			{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}},
			{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}, Key: "s"}}},
		},
	}
	env, err := Make(t.Context(), pod, c, Source{
		Objects: twoObjects{}, Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Ki")},
		Services: []*corev1.Service{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}},
			{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 80}}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"WEB_SERVICE_HOST=10.96.0.9", "WEB_SERVICE_PORT=80", "WEB_PORT=tcp://10.96.0.9:80",
		"WEB_PORT_80_TCP=tcp://10.96.0.9:80", "WEB_PORT_80_TCP_PROTO=tcp", "WEB_PORT_80_TCP_PORT=80", "WEB_PORT_80_TCP_ADDR=10.96.0.9",
		"CM_k=v", "PLAIN=v-80", "IP=10.0.0.1", "LABEL=b", "CPU=250", "MEM=1024", "SECRET=hidden",
	}
	if diff := cmp.Diff(want, env.List()); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func TestMakeNamesWhatIsMissing(t *testing.T) {
	tests := []struct {
		name string
		from corev1.EnvVarSource
		want string
	}{
		{"object", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Key: "k"}}, `secret "no" not found`},
		{"key", corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Key: "no"}}, "couldn't find key no in ConfigMap ns/conf"},
	}
	for _, tt := range tests {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
		_, err := Make(t.Context(), pod, &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &tt.from}}}, Source{Objects: twoObjects{}})
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A limit that a container does not have is its pod's, and the node's only where
// that has none either.
func TestLimitsOfThePod(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("4Ki")}
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1250m")}},
		Containers: []corev1.Container{
			{Name: "own", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}},
			{Name: "none"},
		},
	}}
	for _, c := range []struct{ container, resource, want string }{
		{"own", "limits.cpu", "1"},
		{"none", "limits.cpu", "2"}, // rounded up
		{"none", "limits.memory", "1073741824"},
		{"none", "limits.ephemeral-storage", "4096"},
		{"none", "requests.cpu", "0"},
	} {
		got, err := Resource(pod, nil, &corev1.ResourceFieldSelector{ContainerName: c.container, Resource: c.resource}, node)
		if err != nil || got != c.want {
			t.Errorf("%s of %s: %q (%v), not %q", c.resource, c.container, got, err, c.want)
		}
	}
}

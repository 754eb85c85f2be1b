package podworker

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/runtime"
)

const profileOfMain = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main"

func appArmor(kind corev1.AppArmorProfileType) *corev1.AppArmorProfile {
	out := &corev1.AppArmorProfile{Type: kind}
	if kind == corev1.AppArmorProfileTypeLocalhost {
		name := "strict"
		out.LocalhostProfile = &name
	}
	return out
}

// TestRunsNothingLessIsolated: pods do not run without what is to keep them apart.
func TestRunsNothingLessIsolated(t *testing.T) {
	localhost, unconfined := corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeUnconfined
	b := newStoreBench(t)
	b.appArmor.Problem = errors.New("AppArmor is not enabled on the host")
	b.start()
	t.Cleanup(func() { b.stop() })
	for name, change := range map[string]func(*corev1.Pod){
		"pod": func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: appArmor(corev1.AppArmorProfileTypeRuntimeDefault)}
		},
		"container": func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: appArmor(localhost)}
		},
		"init": func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "app:1", SecurityContext: &corev1.SecurityContext{AppArmorProfile: appArmor(localhost)}}}
		},
		"annotation": func(p *corev1.Pod) {
			p.Annotations = map[string]string{profileOfMain: "runtime/default"}
		},
	} {
		b.pod(name, change)
		got := b.until(name, "rejected", phaseIs(corev1.PodFailed))
		if got.Status.Reason != "AppArmor" || !strings.HasSuffix(got.Status.Message, "Cannot enforce AppArmor: AppArmor is not enabled on the host") {
			t.Errorf("%s: reason = %q, message %q", name, got.Status.Reason, got.Status.Message)
		}
		if len(got.Status.ContainerStatuses)+len(got.Status.InitContainerStatuses) > 0 {
			t.Errorf("%s: containers that never were have statuses, which kubectl shows in place of the reason", name)
		}
	}
	hostUsers := true
	b.pod("unconfined", func(p *corev1.Pod) {
		p.Spec.HostUsers = &hostUsers
		p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: appArmor(unconfined)}
		p.Annotations = map[string]string{profileOfMain: "unconfined"}
	})
	b.until("unconfined", "ready", isReady)
}

func TestRefuseAppArmor(t *testing.T) {
	missing := apparmor.Support{DefaultProblem: errors.New("no apparmor_parser")}
	empty := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new(" ")}
	for _, tt := range []struct {
		name    string
		support apparmor.Support
		profile *corev1.AppArmorProfile
		want    string
	}{
		{"none", missing, nil, ""},
		{"unconfined", missing, appArmor(corev1.AppArmorProfileTypeUnconfined), ""},
		{"default", apparmor.Support{}, appArmor(corev1.AppArmorProfileTypeRuntimeDefault), ""},
		{"default that is not loaded", missing, appArmor(corev1.AppArmorProfileTypeRuntimeDefault), "Cannot enforce AppArmor: no apparmor_parser"},
		{"the node's", missing, appArmor(corev1.AppArmorProfileTypeLocalhost), ""},
		{"the node's without a name", apparmor.Support{}, empty, "Cannot enforce AppArmor: invalid empty AppArmor profile name: "},
	} {
		m := &Manager{cfg: Config{AppArmor: tt.support}}
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", SecurityContext: &corev1.SecurityContext{AppArmorProfile: tt.profile}}}}}
		if got := m.refuseAppArmor(pod); !strings.HasPrefix(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestAppArmorProfile: a container's own profile comes before its annotation, and
// that before its pod's.
func TestAppArmorProfile(t *testing.T) {
	const byDefault, unconfined = corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined
	local := func(name string) runtime.Security {
		return runtime.Security{AppArmor: runtime.AppArmorLocalhost, AppArmorProfile: name}
	}
	for _, tt := range []struct {
		name       string
		pod        *corev1.AppArmorProfile
		annotation string
		container  *corev1.AppArmorProfile
		want       runtime.Security
	}{
		{"none", nil, "", nil, runtime.Security{}},
		{"the pod's", appArmor(byDefault), "", nil, runtime.Security{AppArmor: runtime.AppArmorRuntimeDefault}},
		{"the annotation's", appArmor(byDefault), "localhost/old", nil, local("old")},
		{"an annotation that lets all", appArmor(byDefault), "unconfined", nil, runtime.Security{AppArmor: runtime.AppArmorUnconfined}},
		{"an annotation of the default", nil, "runtime/default", nil, runtime.Security{AppArmor: runtime.AppArmorRuntimeDefault}},
		{"an annotation of nothing", appArmor(byDefault), "nonsense", nil, runtime.Security{AppArmor: runtime.AppArmorRuntimeDefault}},
		{"the container's", appArmor(byDefault), "unconfined", appArmor(corev1.AppArmorProfileTypeLocalhost), local("strict")},
		{"a container that may do all", appArmor(byDefault), "", appArmor(unconfined), runtime.Security{AppArmor: runtime.AppArmorUnconfined}},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{AppArmorProfile: tt.pod},
			Containers:      []corev1.Container{{Name: "main", SecurityContext: &corev1.SecurityContext{AppArmorProfile: tt.container}}},
		}}
		if tt.annotation != "" {
			pod.Annotations = map[string]string{profileOfMain: tt.annotation}
		}
		got, err := securityOf(pod, &pod.Spec.Containers[0])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

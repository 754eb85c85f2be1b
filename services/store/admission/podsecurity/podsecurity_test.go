package podsecurity

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// hardened is a pod that breaks nothing.
func hardened() *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{Name: "c", SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}},
	}}
}

func TestEvaluate(t *testing.T) {
	context := func(change func(*corev1.SecurityContext)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { change(p.Spec.Containers[0].SecurityContext) }
	}
	baseline, restricted := Standard{Baseline, Latest}, Standard{Restricted, Latest}
	for _, test := range []struct {
		name     string
		change   func(*corev1.Pod)
		standard Standard
		want     string
	}{
		{"hardened", func(*corev1.Pod) {}, restricted, ""},
		{"bare", func(p *corev1.Pod) {
			*p = corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}}
		}, restricted,
			`allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), ` +
				`unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), ` +
				`runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), ` +
				`seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`},
		{"bare", func(p *corev1.Pod) {
			*p = corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}}
		}, baseline, ""},
		{"app armor", func(p *corev1.Pod) {
			p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
			p.Spec.SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		}, baseline, `forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to "Unconfined", "container.apparmor.security.beta.kubernetes.io/c="unconfined"")`},
		{"capabilities", context(func(c *corev1.SecurityContext) { c.Capabilities.Add = []corev1.Capability{"NET_ADMIN", "CHOWN"} }), baseline,
			`non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)`},
		{"capabilities", context(func(c *corev1.SecurityContext) { c.Capabilities.Add = []corev1.Capability{"CHOWN", "NET_BIND_SERVICE"} }), restricted,
			`unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)`},
		{"host namespaces", func(p *corev1.Pod) { p.Spec.HostNetwork, p.Spec.HostIPC = true, true }, baseline, `host namespaces (hostNetwork=true, hostIPC=true)`},
		{"host path", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}
		}, baseline, `hostPath volumes (volume "v")`},
		{"host path", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{
				{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}},
				{Name: "w", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}},
			}
		}, restricted, `restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")`},
		{"host port", func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}, {HostPort: 443}}
		}, baseline,
			`hostPort (container "c" uses hostPorts 443, 80)`},
		{"probe host", func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "10.0.0.1"}}}
		}, baseline, `probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")`},
		{"privileged", context(func(c *corev1.SecurityContext) { c.Privileged = ptr.To(true) }), baseline,
			`privileged (container "c" must not set securityContext.privileged=true)`},
		{"proc mount", context(func(c *corev1.SecurityContext) { c.ProcMount = ptr.To(corev1.UnmaskedProcMount) }), baseline,
			`procMount (container "c" must not set securityContext.procMount to "Unmasked")`},
		{"proc mount with own users", func(p *corev1.Pod) {
			p.Spec.HostUsers = ptr.To(false)
			p.Spec.Containers[0].SecurityContext.ProcMount = ptr.To(corev1.UnmaskedProcMount)
		}, baseline, ""},
		{"SELinux", func(p *corev1.Pod) {
			p.Spec.SecurityContext.SELinuxOptions = &corev1.SELinuxOptions{Type: "spc_t", User: "u"}
		}, baseline, `seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)`},
		{"seccomp", context(func(c *corev1.SecurityContext) {
			c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}
		}), restricted, `seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")`},
		{"sysctls", func(p *corev1.Pod) {
			p.Spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.msgmax"}, {Name: "net.ipv4.tcp_rmem"}}
		}, baseline, `forbidden sysctls (kernel.msgmax)`},
		{"sysctls as of v1.28", func(p *corev1.Pod) {
			p.Spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.tcp_rmem"}, {Name: "net.ipv4.ip_local_reserved_ports"}}
		}, Standard{Baseline, 28}, `forbidden sysctls (net.ipv4.tcp_rmem)`},
		{"host process", func(p *corev1.Pod) {
			p.Spec.SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)}
		}, baseline, `hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)`},
		{"root", func(p *corev1.Pod) {
			p.Spec.SecurityContext.RunAsUser = ptr.To[int64](0)
			p.Spec.Containers[0].SecurityContext.RunAsNonRoot = ptr.To(false)
		}, restricted, `runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)`},
		{"privileged level", context(func(c *corev1.SecurityContext) { c.Privileged = ptr.To(true) }), Standard{Privileged, Latest}, ""},
		{"ephemeral containers", func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "e", SecurityContext: &corev1.SecurityContext{Privileged: ptr.To(true)},
			}}}
		}, baseline, `privileged (container "e" must not set securityContext.privileged=true)`},
		{"Windows", func(p *corev1.Pod) {
			p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
			p.Spec.SecurityContext.SeccompProfile, p.Spec.Containers[0].SecurityContext = nil, nil
		}, restricted, ""},
	} {
		t.Run(test.name+" at "+test.standard.String(), func(t *testing.T) {
			p := hardened()
			test.change(p)
			if got := test.standard.Evaluate(&p.ObjectMeta, &p.Spec).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPolicyOf(t *testing.T) {
	label := func(pairs ...string) map[string]string {
		out := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			out["pod-security.kubernetes.io/"+pairs[i]] = pairs[i+1]
		}
		return out
	}
	for _, test := range []struct {
		labels               map[string]string
		enforce, audit, warn string
		errs                 string
	}{
		{nil, "privileged:latest", "privileged:latest", "privileged:latest", ""},
		{label("enforce", "baseline"), "baseline:latest", "privileged:latest", "baseline:latest", ""},
		{label("enforce", "baseline", "enforce-version", "v1.30", "warn", "restricted"), "baseline:v1.30", "privileged:latest", "restricted:latest", ""},
		{label("audit", "restricted", "audit-version", "latest"), "privileged:latest", "restricted:latest", "privileged:latest", ""},
		{label("enforce", "strict", "warn-version", "1.30"), "restricted:latest", "privileged:latest", "privileged:latest",
			`[metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted, ` +
				`metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.30": must be "latest" or "v1.x"]`},
	} {
		p, errs := PolicyOf(test.labels)
		text := ""
		if err := errs.ToAggregate(); err != nil {
			text = err.Error()
		}
		if p.Enforce.String() != test.enforce || p.Audit.String() != test.audit || p.Warn.String() != test.warn || text != test.errs {
			t.Errorf("%v: enforce %s, audit %s, warn %s, %s", test.labels, p.Enforce, p.Audit, p.Warn, text)
		}
	}
}

func FuzzPolicyOf(f *testing.F) {
	f.Add("baseline", "v1.30")
	f.Add("restricted", "latest")
	f.Fuzz(func(t *testing.T, level, version string) {
		p, _ := PolicyOf(map[string]string{enforceLabel: level, enforceLabel + versionOf: version})
		p.Enforce.Evaluate(&metav1.ObjectMeta{}, &hardened().Spec)
	})
}

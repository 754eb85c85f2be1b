package pods_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// seenCase is a pod whose only container tells what it sees, and ends.
type seenCase struct {
	name string
	spec string
	// want are patterns that match its log, phase its end: Succeeded if empty.
	want  []string
	phase corev1.PodPhase
}

// testSeen checks what containers see of what their specs say.
func (s suite) testSeen(t *testing.T) {
	s.makeSources(t)
	for _, list := range [][]seenCase{environmentCases(), securityCases(), resourceCases(), volumeCases(t), networkCases(), processCases()} {
		for _, tt := range list {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				s.create(t, tt.name, "restartPolicy: Never\n"+tt.spec)
				phase := tt.phase
				if phase == "" {
					phase = corev1.PodSucceeded
				}
				ended := s.until(t, tt.name, "ends", func(p *corev1.Pod) error {
					if p != nil && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed) {
						return nil
					}
					return os.ErrDeadlineExceeded
				})
				log := s.log(t, tt.name, corev1.PodLogOptions{Container: ended.Spec.Containers[0].Name})
				if ended.Status.Phase != phase {
					t.Errorf("it is %s, want %s", ended.Status.Phase, phase)
				}
				for _, pattern := range tt.want {
					if !regexp.MustCompile(pattern).MatchString(log) {
						t.Errorf("the log does not match %q", pattern)
					}
				}
				if t.Failed() {
					t.Logf("the log:\n%s\nevents:\n%s", log, s.events(t, tt.name))
				}
			})
		}
	}
}

// makeSources makes the ConfigMap "settings" and the Secret "keys".
func (s suite) makeSources(t *testing.T) {
	t.Helper()
	_, err := s.clients.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings"},
		Data:       map[string]string{"color": "green", "size": "12"}, BinaryData: map[string][]byte{"raw": {0, 1, 2}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.clients.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "keys"}, StringData: map[string]string{"password": "open sesame"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func environmentCases() []seenCase {
	return []seenCase{
		{name: "env", spec: `
containers:
- name: c
  command: [env]
  resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
  envFrom:
  - {configMapRef: {name: settings}, prefix: CM_}
  - {secretRef: {name: keys}}
  - {secretRef: {name: nothing, optional: true}}
  env:
  - {name: PLAIN, value: "a b"}
  - {name: USES, value: "<$(PLAIN)> $(UNKNOWN) $$(PLAIN)"}
  - {name: password, value: overrides}
  - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
  - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['note']"}}}
  - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
  - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
  - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
  - {name: REQUEST, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
  - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
  - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
  - {name: SECRET, valueFrom: {secretKeyRef: {name: keys, key: password}}}
  - {name: ABSENT, valueFrom: {configMapKeyRef: {name: settings, key: nothing, optional: true}}}
`, want: []string{
			`(?m)^PLAIN=a b$`, `(?m)^USES=<a b> \$\(UNKNOWN\) \$\(PLAIN\)$`, `(?m)^password=overrides$`, `(?m)^CM_color=green$`, `(?m)^CM_size=12$`,
			`(?m)^NAME=env$`, `(?m)^LABEL=backend$`, `(?m)^NOTE=two words$`, `(?m)^ACCOUNT=default$`,
			`(?m)^POD_IP=10\.\d+\.\d+\.\d+$`, `(?m)^HOST_IP=\d+\.\d+\.\d+\.\d+$`, `(?m)^LIMIT=32$`, `(?m)^REQUEST=10$`, `(?m)^CPUS=[1-9]`,
			`(?m)^COLOR=green$`, `(?m)^SECRET=open sesame$`, `(?m)^HOSTNAME=env$`, `(?m)^PATH=/bin$`,
			`(?m)^KUBERNETES_SERVICE_HOST=10\.\d+\.0\.1$`, `(?m)^KUBERNETES_SERVICE_PORT=443$`,
		}},
		{name: "no-service-links", spec: `
enableServiceLinks: false
containers: [{name: c, command: [sh, -c, 'env; env | grep -c ^ABSENT; true']}]
`, want: []string{`KUBERNETES_SERVICE_HOST`, `(?m)^0$`}},
		{name: "command", spec: `
containers:
- name: c
  command: [sh, -c, 'pwd; echo "[$0][$1]"']
  args: [one, "$(WHO) two"]
  workingDir: /made/for/it
  env: [{name: WHO, value: me}]
`, want: []string{`^/made/for/it\n\[one\]\[me two\]\n$`}},
		{name: "args-only", spec: `
containers: [{name: c, args: [sh, -c, 'echo by args']}]
`, want: []string{`^by args\n$`}},
		{name: "exit-code", spec: `
containers: [{name: c, command: [sh, -c, 'echo failing >&2; exit 3']}]
`, want: []string{`^failing\n$`}, phase: corev1.PodFailed},
	}
}

func securityCases() []seenCase {
	return []seenCase{
		{name: "user", spec: `
securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000]}
volumes: [{name: v, emptyDir: {}}, {name: k, secret: {secretName: keys, defaultMode: 0400}}]
containers:
- name: c
  command: [sh, -c, 'id -u; id -g; id -G; touch /v/f && stat -c %g:%a /v /v/f; cat /k/password; stat -Lc %g:%a /k/password; cat /var/run/secrets/kubernetes.io/serviceaccount/token | wc -c']
  volumeMounts: [{name: v, mountPath: /v}, {name: k, mountPath: /k}]
`, want: []string{`^1000\n2000\n2000 (3000 4000|4000 3000)\n3000:2777\n3000:644\nopen sesame3000:440\n[1-9]\d\d`}},
		{name: "user-of-container", spec: `
securityContext: {runAsUser: 1000, runAsNonRoot: true}
containers: [{name: c, command: [sh, -c, 'id -u; test -r /var/run/secrets/kubernetes.io/serviceaccount/token && echo readable'], securityContext: {runAsUser: 1001}}]
`, want: []string{`^1001\nreadable\n$`}},
		{name: "default-capabilities", spec: `
containers: [{name: c, command: [grep, Cap, /proc/self/status]}]
`, want: []string{`CapEff:\s+00000000a80425fb`, `CapAmb:\s+0000000000000000`}},
		{name: "capabilities", spec: `
containers: [{name: c, command: [grep, Cap, /proc/self/status], securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}}]
`, want: []string{`CapEff:\s+0000000000001000`, `CapBnd:\s+0000000000001000`}},
		{name: "capabilities-of-user", spec: `
containers: [{name: c, command: [grep, Cap, /proc/self/status], securityContext: {runAsUser: 7}}]
`, want: []string{`CapEff:\s+0000000000000000`}},
		{name: "privileged", spec: `
containers: [{name: c, command: [sh, -c, 'mount -t tmpfs none /tmp && ls /dev/kmsg /dev/loop-control 2>/dev/null; touch /sys/fs/cgroup/x 2>/dev/null; echo mounted'], securityContext: {privileged: true}}]
`, want: []string{`mounted`}},
		{name: "unprivileged", spec: `
containers: [{name: c, command: [sh, -c, 'mount -t tmpfs none /tmp || echo refused; echo 1 > /proc/sys/vm/drop_caches || echo read-only']}]
`, want: []string{`refused`, `read-only`}},
		{name: "read-only-root", spec: `
volumes: [{name: v, emptyDir: {}}]
containers:
- name: c
  command: [sh, -c, 'touch /f 2>/dev/null || echo refused; touch /v/f && echo written; echo x > /dev/termination-log && echo told']
  securityContext: {readOnlyRootFilesystem: true}
  volumeMounts: [{name: v, mountPath: /v}]
`, want: []string{`refused\nwritten\ntold\n$`}},
		{name: "no-new-privileges", spec: `
containers: [{name: c, command: [grep, -E, 'NoNewPrivs|Seccomp:', /proc/self/status], securityContext: {allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault}}}]
`, want: []string{`NoNewPrivs:\s+1`, `Seccomp:\s+2`}},
		{name: "sysctl", spec: `
securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "77"}]}
containers: [{name: c, command: [cat, /proc/sys/net/ipv4/ip_unprivileged_port_start]}]
`, want: []string{`^77\n$`}},
	}
}

func resourceCases() []seenCase {
	return []seenCase{
		{name: "limits", spec: `
containers:
- name: c
  command:
  - sh
  - -c
  - |
    cd /sys/fs/cgroup
    echo memory $(cat memory/memory.limit_in_bytes memory.max 2>/dev/null)
    echo quota $(cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null)
    echo weight $(cat cpu/cpu.shares cpu.weight 2>/dev/null)
  resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 250m, memory: 48Mi}}
`, want: []string{`memory 50331648\n`, `quota 25000( 100000)?\n`, `weight (102|4|17)\n`}},
	}
}

func networkCases() []seenCase {
	return []seenCase{
		{name: "host-aliases", spec: `
hostname: named
subdomain: group
hostAliases: [{ip: 192.0.2.77, hostnames: [one.example, two.example]}]
containers: [{name: c, command: [sh, -c, 'hostname; cat /etc/hosts']}]
`, want: []string{`^named\n`, `192\.0\.2\.77\s+one\.example\s+two\.example`, `10\.\d+\.\d+\.\d+\s+named\.group\.default\.svc\.cluster\.local\s+named\n`, `127\.0\.0\.1\s+localhost`}},
		{name: "dns", spec: `
containers: [{name: c, command: [cat, /etc/resolv.conf]}]
`, want: []string{`search default\.svc\.cluster\.local svc\.cluster\.local cluster\.local`, `nameserver \d`, `options ndots:5`}},
		{name: "dns-config", spec: `
dnsPolicy: None
dnsConfig: {nameservers: [192.0.2.53], searches: [my.search], options: [{name: ndots, value: "2"}, {name: edns0}]}
containers: [{name: c, command: [cat, /etc/resolv.conf]}]
`, want: []string{`^search my\.search\nnameserver 192\.0\.2\.53\noptions (ndots:2 edns0|edns0 ndots:2)\n$`}},
		{name: "host-network", spec: `
hostNetwork: true
containers: [{name: c, command: [sh, -c, 'wc -l < /proc/net/dev; hostname']}]
`, want: []string{`^\d+\n` + regexp.QuoteMeta(hostname()) + `\n$`}},
		{name: "host-network-dns", spec: `
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
containers: [{name: c, command: [cat, /etc/resolv.conf]}]
`, want: []string{`svc\.cluster\.local`}},
	}
}

func hostname() string {
	name, _ := os.Hostname() // it is compared with what a container sees
	return name
}

func processCases() []seenCase {
	self := regexp.QuoteMeta(filepath.Base(os.Args[0]))
	return []seenCase{
		{name: "own-pids", spec: `
containers: [{name: c, command: [sh, -c, 'echo $$$$; ps | wc -l']}]
`, want: []string{`^1\n[1-5]\n$`}},
		{name: "host-pid", spec: `
hostPID: true
containers: [{name: c, command: [ps]}]
`, want: []string{self}},
		{name: "shared-pids", spec: `
shareProcessNamespace: true
containers: [{name: c, command: [sh, -c, 'echo $$$$; until ps | grep -q "[s]leep 4242"; do true; done; echo seen; kill -9 $(ps | grep "[s]leep 4242" | (read pid rest; echo $pid))']}, {name: other, command: [sh, -c, 'sleep 4242; true']}]
`, want: []string{`^([2-9]|\d\d+)\nseen\n$`}, phase: corev1.PodFailed},
	}
}

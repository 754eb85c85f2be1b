package pods_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func volumeCases(t *testing.T) []seenCase {
	t.Helper()
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("on the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return append(hostPathCases(host), []seenCase{
		{name: "empty-dir", spec: `
volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]
initContainers: [{name: i, command: [sh, -c, 'echo by init > /disk/f'], volumeMounts: [{name: disk, mountPath: /disk}]}]
containers:
- name: c
  command: [sh, -c, 'cat /disk/f; stat -c %a /disk; grep " /memory " /proc/mounts; busybox dd if=/dev/zero of=/memory/big bs=1M count=2 2>&1 | tail -n 1; stat -c %s /memory/big']
  volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
`, want: []string{`^by init\n777\n`, `tmpfs /memory tmpfs rw.*size=1024k`, `\n1048576\n$`}},
		{name: "env-file", spec: `
volumes: [{name: v, emptyDir: {}}]
initContainers: [{name: i, command: [sh, -c, "echo \"TOKEN='made by init' # for c\" > /v/env"], volumeMounts: [{name: v, mountPath: /v}]}]
containers:
- name: c
  command: [sh, -c, 'echo $TOKEN, ${NONE-nothing}']
  env:
  - {name: TOKEN, valueFrom: {fileKeyRef: {volumeName: v, path: env, key: TOKEN}}}
  - {name: NONE, valueFrom: {fileKeyRef: {volumeName: v, path: env, key: NONE, optional: true}}}
`, want: []string{`^made by init, nothing\n$`}},
		{name: "config-map", spec: `
volumes:
- {name: all, configMap: {name: settings}}
- {name: some, configMap: {name: settings, defaultMode: 0400, items: [{key: color, path: deep/paint}, {key: size, path: size, mode: 0444}]}}
- {name: none, configMap: {name: nothing, optional: true}}
containers:
- name: c
  command: [sh, -c, 'ls /all; cat /all/color /some/deep/paint; stat -Lc %a /some/deep/paint /some/size; ls /none | wc -l; touch /all/x 2>/dev/null || echo read-only']
  volumeMounts: [{name: all, mountPath: /all}, {name: some, mountPath: /some}, {name: none, mountPath: /none}]
`, want: []string{`^color\nraw\nsize\ngreengreen400\n444\n0\n`, `read-only\n$`}},
		{name: "projected", spec: `
volumes:
- name: v
  projected:
    sources:
    - {configMap: {name: settings, items: [{key: color, path: color}]}}
    - {secret: {name: keys}}
    - {serviceAccountToken: {path: token, audience: somebody, expirationSeconds: 600}}
    - downwardAPI:
        items:
        - {path: labels, fieldRef: {fieldPath: metadata.labels}}
        - {path: name, fieldRef: {fieldPath: metadata.name}}
        - {path: memory, resourceFieldRef: {containerName: c, resource: limits.memory, divisor: 1Mi}}
containers:
- name: c
  command: [sh, -c, 'cd /v; ls; cat color password labels name memory; wc -c < token']
  resources: {limits: {memory: 32Mi}}
  volumeMounts: [{name: v, mountPath: /v}]
`, want: []string{`^color\nlabels\nmemory\nname\npassword\ntoken\ngreenopen sesametier="backend"\n?projected32[1-9]\d\d`}},
		{name: "sub-path", spec: `
volumes: [{name: v, emptyDir: {}}, {name: m, configMap: {name: settings}}]
initContainers: [{name: i, command: [sh, -c, 'mkdir -p /v/a/b; echo inside > /v/a/b/f'], volumeMounts: [{name: v, mountPath: /v}]}]
containers:
- name: c
  command: [sh, -c, 'cat /sub/f; cat /etc/color; ls /made; touch /named/x; ls /v/of-sub-path']
  env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
  volumeMounts:
  - {name: v, mountPath: /sub, subPath: a/b}
  - {name: v, mountPath: /made, subPath: new/folder}
  - {name: v, mountPath: /named, subPathExpr: of-$(WHO)}
  - {name: v, mountPath: /v}
  - {name: m, mountPath: /etc/color, subPath: color}
`, want: []string{`^inside\ngreenx\n$`}},
		{name: "token-unwanted", spec: `
automountServiceAccountToken: false
containers: [{name: c, command: [sh, -c, 'ls /var/run/secrets 2>&1; true']}]
`, want: []string{`No such file`}},
	}...)
}

func hostPathCases(host string) []seenCase {
	return []seenCase{
		{name: "host-path", spec: fmt.Sprintf(`
volumes:
- {name: dir, hostPath: {path: %[1]s, type: Directory}}
- {name: file, hostPath: {path: %[1]s/file, type: File}}
- {name: made, hostPath: {path: %[1]s/made/dir, type: DirectoryOrCreate}}
- {name: touched, hostPath: {path: %[1]s/touched, type: FileOrCreate}}
- {name: nul, hostPath: {path: /dev/null, type: CharDevice}}
- {name: untyped, hostPath: {path: %[1]s/untyped}}
containers:
- name: c
  command: [sh, -c, 'cat /dir/file /file; touch /made/x; echo y > /touched; touch /dir/z 2>/dev/null || echo read-only; ls -d /untyped']
  volumeMounts:
  - {name: dir, mountPath: /dir, readOnly: true}
  - {name: file, mountPath: /file}
  - {name: made, mountPath: /made}
  - {name: touched, mountPath: /touched}
  - {name: nul, mountPath: /null}
  - {name: untyped, mountPath: /untyped}
`, host), want: []string{`^on the host\non the host\nread-only\n/untyped\n$`}},
	}
}

// testVolumesFollow changes the sources of a running pod's volumes.
func (s suite) testVolumesFollow(t *testing.T) {
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "follow"}, Data: map[string]string{"k": "one"}}
	configMap, err := s.clients.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "follow"}, StringData: map[string]string{"k": "one"}}
	if secret, err = s.clients.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.create(t, "follow", `
volumes:
- {name: m, configMap: {name: follow}}
- {name: k, secret: {secretName: follow}}
- {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
containers:
- name: c
  command: [sh, -c, 'until [ "$(cat /m/k /k/k /d/labels)" = "twotwotier=\"front\"" ]; do sleep 0.1; done; ls /m; echo followed; exec sleep 1000']
  volumeMounts: [{name: m, mountPath: /m}, {name: k, mountPath: /k}, {name: d, mountPath: /d}]
`)
	s.untilReady(t, "follow")
	configMap.Data = map[string]string{"k": "two", "l": "new"}
	if _, err := s.clients.CoreV1().ConfigMaps(namespace).Update(t.Context(), configMap, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	secret.StringData = map[string]string{"k": "two"}
	if _, err := s.clients.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Kubectl(t, "label", "pod", "follow", "tier=front", "--overwrite")
	s.untilLog(t, "follow", "k\nl\nfollowed\n")
}

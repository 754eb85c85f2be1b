package pods_test

import (
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testWaiting checks what the API says of containers that cannot start.
func (s suite) testWaiting(t *testing.T) {
	tests := []struct {
		name    string
		spec    string
		reason  string
		message string // a pattern
		event   string
	}{
		{"bad-image-name", `containers: [{name: c, image: "UPPER/case:x"}]`,
			"InvalidImageName", `[Ff]ailed to .*UPPER/case:x`, "Warning Failed Error: InvalidImageName"},
		{"never-pull", `containers: [{name: c, image: "test.local/absent:1", imagePullPolicy: Never}]`,
			"ErrImageNeverPull", `Container image "test.local/absent:1" is not present with pull policy of Never`, "Warning Failed Error: ErrImageNeverPull"},
		{"pull-back-off", `containers: [{name: c, image: "127.0.0.1:1/absent:1"}]`,
			"ImagePullBackOff", `Back-off pulling image "127.0.0.1:1/absent:1"`, `Normal BackOff Back-off pulling image "127.0.0.1:1/absent:1"`},
		{"no-config-map", `containers: [{name: c, env: [{name: E, valueFrom: {configMapKeyRef: {name: absent, key: k}}}]}]`,
			"CreateContainerConfigError", `^configmap "absent" not found$`, `Warning Failed Error: configmap "absent" not found`},
		{"no-secret", `containers: [{name: c, envFrom: [{secretRef: {name: absent}}]}]`,
			"CreateContainerConfigError", `^secret "absent" not found$`, `Warning Failed Error: secret "absent" not found`},
		{"no-key", `containers: [{name: c, env: [{name: E, valueFrom: {secretKeyRef: {name: keys, key: absent}}}]}]`,
			"CreateContainerConfigError", `^couldn't find key absent in Secret default/keys$`, "couldn't find key absent in Secret default/keys"},
		{"root-refused", `{securityContext: {runAsNonRoot: true}, containers: [{name: c}]}`,
			"CreateContainerConfigError", `^container has runAsNonRoot and image will run as root \(pod: "root-refused_default\([0-9a-f-]+\)", container: c\)$`, "image will run as root"},
		{"user-0-refused", `{securityContext: {runAsNonRoot: true}, containers: [{name: c, securityContext: {runAsUser: 0}}]}`,
			"CreateContainerConfigError", `^container's runAsUser breaks non-root policy \(pod: "user-0-refused_default\([0-9a-f-]+\)", container: c\)$`, "breaks non-root policy"},
		{"crash-loop", `containers: [{name: c, command: ["false"]}]`,
			"CrashLoopBackOff", `^back-off 10s restarting failed container=c pod=crash-loop_default\([0-9a-f-]+\)$`, "Warning BackOff Back-off restarting failed container c in pod crash-loop_default("},
		{"init-crash-loop", `{initContainers: [{name: i, command: ["false"]}], containers: [{name: c}]}`,
			"PodInitializing", ``, "Warning BackOff Back-off restarting failed container i in pod init-crash-loop_default("},
		{"no-volume-source", `{volumes: [{name: v, configMap: {name: absent}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]}`,
			"ContainerCreating", ``, `Warning FailedMount MountVolume.SetUp failed for volume "v" : configmap "absent" not found`},
		{"wrong-host-path", `{volumes: [{name: v, hostPath: {path: /dev/null, type: Directory}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]}`,
			"ContainerCreating", ``, `Warning FailedMount MountVolume.SetUp failed for volume "v" : hostPath type check failed: /dev/null is not a directory`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.create(t, tt.name, tt.spec)
			s.untilEvent(t, tt.name, tt.event)
			waiting := s.untilWaiting(t, tt.name, "c", tt.reason)
			if !regexp.MustCompile(tt.message).MatchString(waiting.Message) {
				t.Errorf("the message is %q, want %q", waiting.Message, tt.message)
			}
		})
	}
}

// testNoCommand checks what is said of a program that is not in the image.
func (s suite) testNoCommand(t *testing.T) {
	s.create(t, "no-command", `{restartPolicy: Never, containers: [{name: c, command: [absent]}]}`)
	pod := s.untilPhase(t, "no-command", corev1.PodFailed)
	ended := statusOf(pod, "c").State.Terminated
	if ended == nil || ended.Reason != "StartError" || ended.ExitCode != 128 || !regexp.MustCompile(`exec: "absent": executable file not found in \$PATH`).MatchString(ended.Message) {
		t.Errorf("it ended with %+v", ended)
	}
	s.untilEvent(t, "no-command", "Warning Failed Error: ")
}

// testRecovers checks that a pod starts as soon as what it misses is there.
func (s suite) testRecovers(t *testing.T) {
	s.create(t, "recovers", `
restartPolicy: Never
volumes: [{name: v, configMap: {name: comes-later}}]
containers: [{name: c, command: [cat, /v/k], volumeMounts: [{name: v, mountPath: /v}]}]
`)
	s.untilEvent(t, "recovers", `configmap "comes-later" not found`)
	s.Kubectl(t, "create", "configmap", "comes-later", "--from-literal=k=here now")
	s.untilPhase(t, "recovers", corev1.PodSucceeded)
	if log := s.log(t, "recovers", corev1.PodLogOptions{}); log != "here now" {
		t.Errorf("it wrote %q", log)
	}
}

package pods_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testReadiness checks that each kind of handler finds a container ready, and
// not ready.
func (s suite) testReadiness(t *testing.T) {
	const serve = `'while [ ! -e /tmp/go ]; do sleep 0.1; done; touch /www/ok; exec httpd -f -p 8080 -h /www'`
	tests := []struct{ name, probe, event string }{
		{"ready-exec", `exec: {command: [test, -e, /www/ok]}`, "Readiness probe failed: "},
		{"ready-http", `httpGet: {path: /ok, port: web}`, "connection refused"},
		{"ready-tcp", `tcpSocket: {port: 8080}`, "connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.create(t, tt.name, `
containers:
- name: c
  command: [sh, -c, `+serve+`]
  ports: [{name: web, containerPort: 8080}]
  readinessProbe: {`+tt.probe+`, periodSeconds: 1}
`)
			s.untilEvent(t, tt.name, "Warning Unhealthy Readiness probe failed: ")
			s.untilEvent(t, tt.name, tt.event)
			pod := s.untilPhase(t, tt.name, corev1.PodRunning)
			if c := conditionOf(pod, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Message != "containers with unready status: [c]" {
				t.Errorf("before: %+v", c)
			}
			s.exec(t, tt.name, "touch", "/tmp/go")
			s.untilReady(t, tt.name)
		})
	}
}

// testReadinessLost checks that a container that is no longer ready is said
// so, and is not restarted.
func (s suite) testReadinessLost(t *testing.T) {
	s.create(t, "ready-lost", `
containers:
- name: c
  command: [httpd, -f, -p, "8080", -h, /www]
  readinessProbe: {httpGet: {path: /f, port: 8080}, periodSeconds: 1, failureThreshold: 1}
  lifecycle: {postStart: {exec: {command: [touch, /www/f]}}}
`)
	s.untilReady(t, "ready-lost")
	s.exec(t, "ready-lost", "rm", "/www/f")
	pod := s.until(t, "ready-lost", "is not ready", func(p *corev1.Pod) error {
		if conditionOf(p, corev1.PodReady).Status != corev1.ConditionFalse {
			return errors.New("it is")
		}
		return nil
	})
	if cs := statusOf(pod, "c"); cs.Ready || cs.RestartCount != 0 || cs.State.Running == nil {
		t.Errorf("its container: %+v", cs)
	}
	s.untilEvent(t, "ready-lost", "Warning Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 404")
}

// testLiveness checks that a container that fails its probe is restarted.
func (s suite) testLiveness(t *testing.T) {
	tests := []struct{ name, kind string }{{"live", "livenessProbe"}, {"startup", "startupProbe"}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.create(t, tt.name, `
volumes: [{name: v, emptyDir: {}}]
containers:
- name: c
  command: [sh, -c, 'test -e /v/again && touch /tmp/fine; touch /v/again; exec sleep 1000']
  `+tt.kind+`: {exec: {command: [sh, -c, 'test -e /tmp/fine || { echo unwell; exit 1; }']}, periodSeconds: 1, failureThreshold: 1}
  volumeMounts: [{name: v, mountPath: /v}]
`)
			pod := s.until(t, tt.name, "is restarted and runs", func(p *corev1.Pod) error {
				// Twice if a probe came before the shell had got as far as touch.
				if cs := statusOf(p, "c"); cs.RestartCount == 0 || !cs.Ready {
					return errors.New("it is not")
				}
				return nil
			})
			if last := statusOf(pod, "c").LastTerminationState.Terminated; last == nil || last.ExitCode != 137 && last.ExitCode != 143 {
				t.Errorf("it ended with %+v", last)
			}
			word := map[string]string{"live": "Liveness", "startup": "Startup"}[tt.name]
			s.untilEvent(t, tt.name, "Warning Unhealthy "+word+" probe failed: unwell")
			word = map[string]string{"live": "liveness", "startup": "startup"}[tt.name]
			s.untilEvent(t, tt.name, "Normal Killing Container c failed "+word+" probe, will be restarted")
		})
	}
}

// testStartupHolds checks that other probes wait for the startup probe.
func (s suite) testStartupHolds(t *testing.T) {
	s.create(t, "startup-holds", `
containers:
- name: c
  command: [sleep, "1000"]
  startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 1000}
  livenessProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 1}
`)
	s.untilEvent(t, "startup-holds", "Warning Unhealthy Startup probe failed")
	if cs := statusOf(s.untilPhase(t, "startup-holds", corev1.PodRunning), "c"); cs.Started == nil || *cs.Started || cs.Ready {
		t.Errorf("before it has started: %+v", cs)
	}
	s.exec(t, "startup-holds", "touch", "/tmp/up")
	if cs := statusOf(s.untilReady(t, "startup-holds"), "c"); cs.RestartCount != 0 || !*cs.Started {
		t.Errorf("after: %+v", cs)
	}
}

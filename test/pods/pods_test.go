package pods_test

import "testing"

func TestPods(t *testing.T) {
	r := newRegistry(t)
	t.Setenv("NAVARCH_INSECURE_REGISTRY", r.host)
	t.Setenv("NAVARCH_CONTAINER_LOG_MAX_BYTES", "65536")
	static := t.TempDir()
	t.Setenv("NAVARCH_STATIC_POD_DIR", static)
	s := newSuite(t)
	t.Run("all", func(t *testing.T) {
		// Everything at once: the tests share nothing but the node.
		for _, tt := range []struct {
			name string
			test func(*testing.T)
		}{
			{"what containers see", s.testSeen},
			{"what keeps containers waiting", s.testWaiting},
			{"no command", s.testNoCommand},
			{"a pod recovers", s.testRecovers},
			{"volumes follow their sources", s.testVolumesFollow},
			{"certificates", s.testCertificates},
			{"init containers", s.testInitOrder},
			{"a failing init container", s.testInitFails},
			{"a sidecar", s.testSidecar},
			{"restarts", s.testRestarts},
			{"a restart of all containers", s.testRestartAll},
			{"out of memory", s.testOutOfMemory},
			{"termination messages", s.testTerminationMessage},
			{"signals", s.testSignals},
			{"hooks", s.testHooks},
			{"deadline", s.testDeadline},
			{"readiness", s.testReadiness},
			{"readiness lost", s.testReadinessLost},
			{"liveness", s.testLiveness},
			{"startup holds", s.testStartupHolds},
			{"grpc probes", s.testProbeGRPC},
			{"the API from a pod", s.testAPIFromPod},
			{"static pods", func(t *testing.T) { s.testStatic(t, static) }},
			{"host ports", s.testHostPort},
			{"an ephemeral container", s.testEphemeral},
			{"logs", s.testLogs},
			{"describe", s.testDescribe},
			{"pulls", func(t *testing.T) { s.testPulls(t, r) }},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				tt.test(t)
			})
		}
	})
}

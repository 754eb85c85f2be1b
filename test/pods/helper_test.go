package pods_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	corev1 "k8s.io/api/core/v1"
)

// helperVariable makes the test's program be a container's: its value says
// which one. The program comes into the container by a hostPath volume, with
// the host's libraries.
const helperVariable = "PODS_TEST_HELPER"

func TestMain(m *testing.M) {
	helpers := map[string]func() error{"whoami": whoAmI, "grpc": serveHealth}
	helper, ok := helpers[os.Getenv(helperVariable)]
	if !ok {
		// The tests wait for pods, and use no CPU meanwhile.
		flag.Parse()
		if err := flag.Set("test.parallel", "12"); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		os.Exit(m.Run())
	}
	if err := helper(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// helperSpec is a pod's spec that runs a helper in the container "c"; more is
// added to the container.
func helperSpec(helper, more string) string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return fmt.Sprintf(`
volumes:
- {name: program, hostPath: {path: %s, type: File}}
- {name: lib, hostPath: {path: /lib, type: Directory}}
- {name: lib64, hostPath: {path: /lib64}}
containers:
- name: c
  command: [/program]
  env: [{name: %s, value: %s}]
  volumeMounts:
  - {name: program, mountPath: /program, readOnly: true}
  - {name: lib, mountPath: /lib, readOnly: true}
  - {name: lib64, mountPath: /lib64, readOnly: true}
%s`, self, helperVariable, helper, more)
}

// whoAmI asks the API who it takes this container for.
func whoAmI() error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	config.Host = "https://kubernetes.default.svc"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	review, err := client.AuthenticationV1().SelfSubjectReviews().Create(context.Background(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	fmt.Println(review.Status.UserInfo.Username, review.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"])
	_, err = client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	fmt.Println(err)
	return nil
}

// serveHealth answers gRPC health checks: the service "named" is serving, the
// service "bad" is not.
func serveHealth() error {
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	status := health.NewServer()
	status.SetServingStatus("named", healthv1.HealthCheckResponse_SERVING)
	status.SetServingStatus("bad", healthv1.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, status)
	return server.Serve(l)
}

// testAPIFromPod calls the API by its name, with the token and the certificate
// that every pod gets.
func (s suite) testAPIFromPod(t *testing.T) {
	s.create(t, "whoami", "restartPolicy: Never"+helperSpec("whoami", ""))
	s.untilPhase(t, "whoami", corev1.PodSucceeded)
	want := "system:serviceaccount:default:default [whoami]\n" +
		`pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" in the namespace "default"` + "\n"
	if got := s.log(t, "whoami", corev1.PodLogOptions{}); got != want {
		t.Errorf("it wrote\n%s\nwant\n%s", got, want)
	}
}

// testProbeGRPC probes a gRPC server.
func (s suite) testProbeGRPC(t *testing.T) {
	s.create(t, "grpc-good", helperSpec("grpc", "  readinessProbe: {grpc: {port: 9000, service: named}, periodSeconds: 1}\n"))
	s.create(t, "grpc-bad", helperSpec("grpc", "  readinessProbe: {grpc: {port: 9000, service: bad}, periodSeconds: 1}\n"))
	s.untilReady(t, "grpc-good")
	s.untilEvent(t, "grpc-bad", `Warning Unhealthy Readiness probe failed: service unhealthy (responded with "NOT_SERVING")`)
}

package clients_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// release is the name of the release of testdata/fleet.
const release = "fleet"

// testHelm takes a chart of more than twenty kinds, with hooks and a test,
// through its life.
func (s suite) testHelm(t *testing.T) {
	values := func(greeting string, more ...string) []string {
		return append([]string{"--namespace", release, "--wait", "--wait-for-jobs", "--timeout", "2m",
			"--set", "image=" + testcluster.BusyboxImage, "--set", "greeting=" + greeting}, more...)
	}
	out := s.client(t, "helm", append([]string{"install", release, "testdata/fleet", "--create-namespace"}, values("one")...)...)
	testcluster.Contains(t, "helm install", out, "STATUS: deployed", "The fleet fleet says one.")
	s.greets(t, "one")
	s.hooked(t, "pre-install", 1)
	testcluster.Contains(t, "helm test", s.client(t, "helm", "test", release, "--namespace", release, "--logs"), "Phase:          Succeeded", "got one")

	out = s.client(t, "helm", append([]string{"upgrade", release, "testdata/fleet"}, values("two", "--set", "replicas=3")...)...)
	testcluster.Contains(t, "helm upgrade", out, "STATUS: deployed", "REVISION: 2")
	s.greets(t, "two")
	s.hooked(t, "post-upgrade", 2)
	if ready := s.Kubectl(t, "get", "deployment", release, "-n", release, "-o", "jsonpath={.status.readyReplicas}"); ready != "3" {
		t.Errorf("after an upgrade with --wait %s replicas are ready, want 3", ready)
	}

	s.client(t, "helm", "rollback", release, "1", "--namespace", release, "--wait", "--timeout", "2m")
	s.greets(t, "one")
	s.hooked(t, "post-rollback", 1) // what revision 1 had is run, not made anew

	var history []struct {
		Revision int    `json:"revision"`
		Status   string `json:"status"`
	}
	decode(t, s.client(t, "helm", "history", release, "--namespace", release, "-o", "json"), &history)
	if len(history) != 3 || history[0].Status != "superseded" || history[2].Status != "deployed" {
		t.Errorf("helm history: %+v", history)
	}
	testcluster.Contains(t, "helm list", s.client(t, "helm", "list", "--all-namespaces"), release, "deployed")

	s.client(t, "helm", "uninstall", release, "--namespace", release, "--wait", "--cascade", "foreground", "--timeout", "2m")
	s.hooked(t, "pre-delete", 1)
	left := s.Kubectl(t, "get", "-A", "-o", "name", "-l", "app.kubernetes.io/instance="+release, everything)
	if left != "" {
		t.Errorf("after uninstall there still are:\n%s", left)
	}
	s.Kubectl(t, "delete", "namespace", release)
}

// everything are the kinds of the chart, but for those that hooks make.
var everything = strings.Join([]string{
	"serviceaccount", "role", "rolebinding", "clusterrole", "clusterrolebinding", "configmap", "secret", "limitrange", "resourcequota",
	"priorityclass", "storageclass", "persistentvolumeclaim", "service", "ingressclass", "ingress", "networkpolicy", "deployment",
	"horizontalpodautoscaler", "poddisruptionbudget", "statefulset", "daemonset", "job", "cronjob", "pod",
}, ",")

// greets checks that the release's ConfigMap holds the greeting and that its
// Service serves it.
func (s suite) greets(t *testing.T, want string) {
	t.Helper()
	if got := s.Kubectl(t, "get", "configmap", release, "-n", release, "-o", "jsonpath={.data.greeting}"); got != want {
		t.Errorf("the configuration says %q, want %q", got, want)
	}
	testcluster.Eventually(t, "the release greets with "+want, func() error {
		got := s.Kubectl(t, "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/services/%s:http/proxy/", release, release))
		if got != want {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}

// hooked checks that a hook's Job has run, of the revision.
func (s suite) hooked(t *testing.T, event string, revision int) {
	t.Helper()
	got := s.Kubectl(t, "logs", "-n", release, "job/"+release+"-"+event)
	if want := fmt.Sprintf("%s of revision %d\n", event, revision); got != want {
		t.Errorf("the hook %s printed %q, want %q", event, got, want)
	}
}

// testHelmFailure upgrades to a version that never gets ready: helm must see
// that, and put back what was there.
func (s suite) testHelmFailure(t *testing.T) {
	args := func(greeting string, more ...string) []string {
		return append([]string{"flotilla", "testdata/fleet", "--namespace", "flotilla", "--set", "image=" + testcluster.BusyboxImage, "--set", "greeting=" + greeting}, more...)
	}
	s.client(t, "helm", append([]string{"install"}, args("one", "--create-namespace", "--wait")...)...)
	t.Cleanup(func() {
		s.client(t, "helm", "uninstall", "flotilla", "--namespace", "flotilla", "--no-hooks", "--wait")
		s.Kubectl(t, "delete", "namespace", "flotilla")
	})

	_, refused, err := s.try(t, "helm", append([]string{"upgrade"}, args("two", "--set", "replicas=0")...)...)
	if err == nil {
		t.Error("helm upgrade took values that the chart's schema refuses")
	}
	testcluster.Contains(t, "helm upgrade with bad values", refused, "replicas", "minimum")

	_, failed, err := s.try(t, "helm", append([]string{"upgrade"}, args("two", "--set", "image=missing.invalid/none:1", "--wait", "--rollback-on-failure", "--timeout", "5s")...)...)
	if err == nil {
		t.Error("helm upgrade --wait ended well although no pod can run")
	}
	testcluster.Contains(t, "helm upgrade to a missing image", failed, "flotilla")
	if got := s.Kubectl(t, "get", "configmap", "flotilla", "-n", "flotilla", "-o", "jsonpath={.data.greeting}"); got != "one" {
		t.Errorf("after the rollback the configuration says %q, want one", got)
	}
}

// testOwnChart installs this project's own chart. Its images are nowhere to be
// pulled from, so that its pods stay Pending is all that is to be expected.
func (s suite) testOwnChart(t *testing.T) {
	s.client(t, "helm", "install", "navarch", "../../charts/navarch", "--namespace", "navarch", "--create-namespace",
		"--set", "etcd.endpoints={https://etcd.example.com:2379}", "--set", "image.pullPolicy=Never")
	t.Cleanup(func() {
		s.client(t, "helm", "uninstall", "navarch", "--namespace", "navarch", "--wait")
		s.Kubectl(t, "delete", "namespace", "navarch")
	})
	got := s.Kubectl(t, "get", "deployment,daemonset,service", "-n", "navarch", "-o", "name")
	for _, service := range []string{"store", "scheduler", "controller", "gateway"} {
		testcluster.Contains(t, "the chart's objects", got, "deployment.apps/navarch-"+service)
	}
	testcluster.Contains(t, "the chart's objects", got, "daemonset.apps/navarch-")
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("decode %s: %v", text, err)
	}
}

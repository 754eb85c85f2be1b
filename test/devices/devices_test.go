package devices

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
	"navarch.dev/navarch/test/devices/driver"
)

const base = `
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec: {selectors: [{cel: {expression: 'device.driver == "driver.example.com"'}}], extendedResourceName: example.com/gpu}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: one}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu}}]}}}
`

// pod has a device in its first container and none in its second.
const pod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  resourceClaims: [{name: mine, resourceClaimTemplateName: one}]
  containers:
  - name: with
    image: IMAGE
    command: [sh, -c, 'env | grep ^DEVICE_; cat /devices/*; exec sleep 1000000']
    resources: {claims: [{name: mine}]}
  - {name: without, image: IMAGE, command: [sh, -c, 'env | grep ^DEVICE_; ls /devices; exec sleep 1000000']}
`

// asking has a device for an extended resource.
const asking = `
apiVersion: v1
kind: Pod
metadata: {name: fifth}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: with, image: IMAGE, command: [sh, -c, 'cat /devices/*; exec sleep 1000000'], resources: {limits: {example.com/gpu: 1}}}
`

// broken evicts those who use devices of the driver.
const broken = `
apiVersion: resource.k8s.io/v1
kind: DeviceTaintRule
metadata: {name: broken}
spec: {deviceSelector: {driver: driver.example.com}, taint: {key: example.com/broken, effect: NoExecute}}
`

func manifest(name string) string {
	return strings.NewReplacer("NAME", name, "IMAGE", testcluster.BusyboxImage).Replace(pod)
}

// startDriver runs a driver of the cluster's only node.
func startDriver(t *testing.T, c *testcluster.Cluster) *driver.Driver {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Dir, "nodes", "*", "plugins_registry"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the folders in which drivers register are %v (%v)", found, err)
	}
	const cdi = "/var/run/cdi"
	if err := os.MkdirAll(cdi, 0o755); err != nil {
		t.Fatal(err)
	}
	d, err := driver.Start(driver.Config{
		Name: "driver.example.com", Node: filepath.Base(filepath.Dir(found[0])), RegistryDir: found[0], CDIDir: cdi, Client: c.Clientset(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	testcluster.Eventually(t, "the driver's registration", func() error {
		if s := d.Status(); s == nil || !s.GetPluginRegistered() {
			return fmt.Errorf("the status is %v", s)
		}
		return nil
	})
	return d
}

// specifications returns the files in the machine's folder that the driver writes.
func specifications(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/var/run/cdi/driver.example.com-*.json")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func prints(t *testing.T, c *testcluster.Cluster, pod, container string, wants ...string) {
	t.Helper()
	testcluster.Eventually(t, "what "+pod+" prints", func() error {
		printed := c.Kubectl(t, "logs", pod, "-c", container)
		for _, want := range wants {
			if !strings.Contains(printed, want) {
				return fmt.Errorf("%q is not in %q", want, printed)
			}
		}
		return nil
	})
}

func prepared(t *testing.T, d *driver.Driver, want int) {
	t.Helper()
	testcluster.Eventually(t, fmt.Sprintf("%d prepared claims", want), func() error {
		if uids, _ := d.Prepared(); len(uids) != want {
			return fmt.Errorf("prepared are %v", uids)
		}
		return nil
	})
}

// TestDevices gives pods devices from a driver that registers, prepares and
// unprepares, while the agent and the driver are killed and come back; it says how
// they are, and a taint takes them away.
func TestDevices(t *testing.T) {
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	stale := specifications(t) // of tests that were killed
	d := startDriver(t, c)
	defer func() { d.Stop() }()
	if err := d.Publish(t.Context(), "dev-0", "dev-1"); err != nil {
		t.Fatal(err)
	}
	c.KubectlInput(t, base+"---"+manifest("first")+"---"+manifest("second"), "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/first", "pod/second", "--timeout=120s")
	device := map[bool]string{}
	for _, name := range []string{"first", "second"} {
		zero := strings.Contains(c.Kubectl(t, "logs", name, "-c", "with"), "dev-0")
		which := map[bool]string{true: "0", false: "1"}[zero]
		device[zero] = name
		prints(t, c, name, "with", "DEVICE_DEV_"+which+"=gpu", "this is dev-"+which)
		if got := c.Kubectl(t, "logs", name, "-c", "without"); strings.Contains(got, "DEVICE_") {
			t.Errorf("the container without a claim has %s", got)
		}
	}
	if len(device) != 2 {
		t.Fatalf("both pods have one device: %v", device)
	}
	testcluster.Contains(t, "the claims", c.Kubectl(t, "get", "resourceclaims"), "allocated,reserved")
	c.KubectlInput(t, manifest("third"), "apply", "-f", "-")
	testcluster.Eventually(t, "why the third pod waits", func() error {
		if got := c.Kubectl(t, "get", "pod", "third", "-o", "jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}"); !strings.Contains(got, "cannot allocate all claims") {
			return errors.New(got)
		}
		return nil
	})
	// What is prepared stays so while the agent and the driver come back.
	_, before := d.Prepared()
	c.Kill(t, "agent-"+d.Node())
	d.Stop()
	c.Kubectl(t, "delete", "pod", "first", "--wait=false")
	d = startDriver(t, c)
	c.Kubectl(t, "wait", "--for=delete", "pod/first", "--timeout=120s")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/third", "--timeout=120s")
	prints(t, c, "third", "with", "this is dev-")
	if _, calls := d.Prepared(); calls != 1 {
		t.Errorf("after the restart %d claims were prepared, of the third pod and others (%d before)", calls, before)
	}
	c.Kubectl(t, "delete", "pod", "second", "third")
	prepared(t, d, 0)
	testcluster.Eventually(t, "the end of the claims", func() error {
		if got := c.Kubectl(t, "get", "resourceclaims", "-o", "name"); got != "" {
			return errors.New(got)
		}
		return nil
	})
	if left := specifications(t); !slices.Equal(left, stale) {
		t.Errorf("specifications of devices are left: %v, before there were %v", left, stale)
	}
	// A driver that fails is named, and the pod starts once it works.
	d.Fail("the device is on fire")
	c.KubectlInput(t, manifest("fourth"), "apply", "-f", "-")
	testcluster.Eventually(t, "the driver's words in an event", func() error {
		if got := c.Kubectl(t, "get", "events", "--field-selector=reason=FailedPrepareDynamicResources", "-o", "jsonpath={.items[*].message}"); !strings.Contains(got, "the device is on fire") {
			return errors.New(got)
		}
		return nil
	})
	d.Fail("")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/fourth", "--timeout=120s")
	d.Say("the device is hot", "dev-0", "dev-1")
	testcluster.Eventually(t, "the health of the device in the pod's status", func() error {
		const health = "jsonpath={.status.containerStatuses[?(@.name==\"with\")].allocatedResourcesStatus[?(@.name==\"claim:mine\")].resources[*].message}"
		if got := c.Kubectl(t, "get", "pod", "fourth", "-o", health); got != "the device is hot" {
			return errors.New(got)
		}
		return nil
	})
	c.Kubectl(t, "delete", "pod", "fourth")
	// A pod that asks for an extended resource has a device too, until a taint evicts
	// it.
	c.KubectlInput(t, strings.ReplaceAll(asking, "IMAGE", testcluster.BusyboxImage), "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=condition=Ready", "pod/fifth", "--timeout=120s")
	prints(t, c, "fifth", "with", "this is dev-")
	c.KubectlInput(t, broken, "apply", "-f", "-")
	c.Kubectl(t, "wait", "--for=delete", "pod/fifth", "--timeout=120s")
	prepared(t, d, 0) // which takes its files out of the machine's folder
}

package storage

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/looptest"
	"navarch.dev/navarch/internal/testcluster"
)

// devices are two local volumes that are devices of node-1: RAW is given to
// containers as it is, EMPTY has to be made into a filesystem.
const devices = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: raw}
spec:
  capacity: {storage: 32Mi}
  accessModes: [ReadWriteOnce]
  volumeMode: Block
  storageClassName: devices
  local: {path: RAW}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: raw}
spec: {accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: devices, volumeName: raw, resources: {requests: {storage: 32Mi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: empty}
spec:
  capacity: {storage: 32Mi}
  accessModes: [ReadWriteOnce]
  storageClassName: devices
  local: {path: EMPTY}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node-1]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: empty}
spec: {accessModes: [ReadWriteOnce], storageClassName: devices, volumeName: empty, resources: {requests: {storage: 32Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: raw}
spec:
  restartPolicy: Never
  containers:
  - name: writes
    image: IMAGE
    command: [sh, -c, 'test -b /raw && printf "written raw" | dd of=/raw conv=notrunc 2>/dev/null && dd if=/raw bs=11 count=1 2>/dev/null']
    volumeDevices: [{name: v, devicePath: /raw}]
  - name: reads
    image: IMAGE
    command: [sh, -c, 'echo x 2>/dev/null > /readonly || echo refused']
    volumeDevices: [{name: readonly, devicePath: /readonly}]
  volumes:
  - {name: v, persistentVolumeClaim: {claimName: raw}}
  - {name: readonly, persistentVolumeClaim: {claimName: raw, readOnly: true}}
`

// writer is a pod that adds a line to what is on the formatted device and shows
// how it finds it.
const writer = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1000, fsGroup: 2000}
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, 'echo NAME >> /data/file; cat /data/file; grep " /data " /proc/mounts | cut -d " " -f 3']
    volumeMounts: [{name: v, mountPath: /data}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: empty}}]
`

// useDevices has pods use local volumes that are devices.
func useDevices(t *testing.T, c *testcluster.Cluster) {
	raw, _ := looptest.New(t, 32<<20)
	empty, _ := looptest.New(t, 32<<20)
	c.KubectlInput(t, strings.NewReplacer("RAW", raw, "EMPTY", empty).Replace(manifest(devices)), "apply", "-f", "-")
	succeeds(t, c, "raw")
	if got := c.Kubectl(t, "logs", "raw", "-c", "writes"); got != "written raw" {
		t.Errorf("the container reads %q from its device", got)
	}
	if got := c.Kubectl(t, "logs", "raw", "-c", "reads"); strings.TrimSpace(got) != "refused" {
		t.Errorf("the container that may read wrote to the device: %q", got)
	}
	if content, err := os.ReadFile(raw); err != nil || !strings.HasPrefix(string(content), "written raw") {
		t.Errorf("the device holds %.11q, %v", content, err)
	}
	lines := ""
	for _, name := range []string{"first", "second"} {
		c.KubectlInput(t, strings.ReplaceAll(manifest(writer), "NAME", name), "apply", "-f", "-")
		succeeds(t, c, name)
		lines += name + "\n"
		if got := c.Kubectl(t, "logs", name); strings.TrimSpace(got) != lines+"ext4" {
			t.Errorf("pod %s finds %q", name, got)
		}
	}
	c.Kubectl(t, "delete", "pod", "raw", "first", "second", "--wait", "--timeout=60s")
	testcluster.Eventually(t, "the device is unmounted", func() error {
		mounts, err := os.ReadFile("/proc/mounts")
		if err == nil && strings.Contains(string(mounts), empty+" ") {
			err = fmt.Errorf("%s is still mounted", empty)
		}
		return err
	})
	c.Kubectl(t, "delete", "pvc", "raw", "empty", "--timeout=60s")
	c.Kubectl(t, "delete", "pv", "raw", "empty", "--timeout=60s")
}

func succeeds(t *testing.T, c *testcluster.Cluster, pod string) {
	t.Helper()
	c.Kubectl(t, "wait", "pod/"+pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
}

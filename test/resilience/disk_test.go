package resilience_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/testcluster"
)

// smallDisk mounts a file system of its own, until the test ends.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all of a disk but some bytes.
func fill(t *testing.T, dir string, left uint64) (file string) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "filled"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bfree*uint64(fs.Bsize)-left)); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// A pod that fills its node's disk is evicted, though the Store on the same disk
// takes no writes meanwhile. Others run on, and no new pods come for a while.
func TestPodThatFillsTheDiskIsEvicted(t *testing.T) {
	t.Setenv("TMPDIR", smallDisk(t, "512m"))
	c := testcluster.Start(t, testcluster.Options{})
	c.LoadBusybox(t)
	c.KubectlInput(t, deployment("bystander", 1, "0"), "apply", "-f", "-")
	c.Kubectl(t, "rollout", "status", "deployment/bystander", "--timeout=120s")
	before := containerIDs(pods(t, c, "app=bystander"))
	c.KubectlInput(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: greedy, labels: {app: greedy}}
spec:
  containers:
  - name: main
    image: %s
    command: ["sh", "-c", "cat /dev/zero > /data/file; sleep 1000000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
`, testcluster.BusyboxImage), "apply", "-f", "-")
	// The API may be away for a moment: who fills a disk faster than etcd looks has
	// it started again.
	is := func(want string, args ...string) func() error {
		return func() error {
			out, err := c.KubectlCommand(t.Context(), append([]string{"get"}, args...)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if string(out) != want {
				return fmt.Errorf("it is %q, not %q", out, want)
			}
			return nil
		}
	}
	testcluster.Eventually(t, "the pod is evicted", is("Failed Evicted", "pod", "greedy", "-o", "jsonpath={.status.phase} {.status.reason}"))
	testcluster.Eventually(t, "the node says that it is short",
		is("True", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="DiskPressure")].status}`))
	if after := containerIDs(pods(t, c, "app=bystander")); after != before {
		t.Errorf("containers of a bystander changed:\n%s\nto\n%s", before, after)
	}
}

// A Store whose disk fills up refuses writes and serves what it has, also after it
// was killed, and takes writes again when there is room.
func TestFullDisk(t *testing.T) {
	s := newStores(t)
	disk := smallDisk(t, "320m")
	address := unusedAddress(t)
	start := func() {
		s.start(t, "store", "store", "--etcd-data-dir", filepath.Join(disk, "etcd"), "--listen", address,
			"--service-account-key-file", filepath.Join(s.dir, "service-account.key"))
	}
	start()
	c := client.New(s.dial(t, "admin", []string{address}), "test")
	object := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	testcluster.Eventually(t, "the Store serves", func() error {
		if err := c.Create(t.Context(), object("before")); !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	})

	filled := fill(t, disk, 1<<20)
	refused := func() {
		t.Helper()
		var status *apierrors.StatusError
		if err := c.Create(t.Context(), object("during")); !errors.As(err, &status) || status.ErrStatus.Code != http.StatusInsufficientStorage {
			t.Errorf("with a full disk, a creation ends with %v, want 507", err)
		}
		if err := c.Get(t.Context(), "default", "during", object("")); !apierrors.IsNotFound(err) {
			t.Errorf("what was refused is told with %v", err)
		}
	}
	refused()
	s.signal(t, "store", syscall.SIGKILL)
	_ = s.processes["store"].Wait()
	start()
	testcluster.Eventually(t, "the Store serves what it has", func() error { return c.Get(t.Context(), "default", "before", object("")) })
	refused()
	if err := c.Delete(t.Context(), object("before"), client.DeleteOptions{}); err != nil {
		t.Errorf("with a full disk, nothing can be deleted: %v", err)
	}
	if err := os.Remove(filled); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), object("after")); err != nil {
		t.Errorf("with room again, a creation fails with %v", err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/cmd/navarch/localcluster"
)

// runcReference runs the container of a pod of the cluster by runc alone.
type runcReference struct {
	program, root, bundle string
	runs                  int
}

// newRuncReference makes a bundle like that of a running pod's container: the
// same root filesystem, mounts, capabilities and system call filter, but
// namespaces and a cgroup of its own.
func newRuncReference(ctx context.Context, c *cluster, podName string) (*runcReference, error) {
	pod, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, podName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("find the model pod: %w", err)
	}
	node := localcluster.Layout{Dir: c.dir}.Node(pod.Spec.NodeName)
	found, err := filepath.Glob(filepath.Join(node, "run", "runtime", "pods", string(pod.UID), "containers", "*", "config.json"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("find the model pod's container: %d found, %w", len(found), err)
	}
	spec, err := standaloneSpec(found[0], filepath.Base(c.dir))
	if err != nil {
		return nil, err
	}
	bundle, err := os.MkdirTemp(c.bench.work, "bundle-")
	if err != nil {
		return nil, err
	}
	r := &runcReference{program: c.bench.program("runc"), root: filepath.Join(bundle, "runc"), bundle: bundle}
	return r, os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o600)
}

// standaloneSpec reads an OCI spec and makes it independent of its pod.
func standaloneSpec(path, cgroup string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the model pod's container: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("read the model pod's container: %w", err)
	}
	for i := range spec.Linux.Namespaces {
		spec.Linux.Namespaces[i].Path = ""
	}
	// At the top: runc removes the group itself but not what is above it.
	spec.Linux.CgroupsPath = "/navarch-bench-" + cgroup
	return json.Marshal(spec)
}

// run starts the container, returns how long that took, and removes it.
func (r *runcReference) run(ctx context.Context) (time.Duration, error) {
	r.runs++
	id := fmt.Sprintf("%s-%d", filepath.Base(r.bundle), r.runs)
	took, err := timed(func() error {
		return command(ctx, r.program, "--root", r.root, "run", "--detach", "--bundle", r.bundle, id)
	})
	return took, errors.Join(err, r.remove(ctx, id))
}

// remove ends the container. On a busy machine runc gives up on its cgroup before
// the killed process has left it.
func (r *runcReference) remove(ctx context.Context, id string) error {
	var err error
	for range 10 {
		if err = command(ctx, r.program, "--root", r.root, "delete", "--force", id); err == nil {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

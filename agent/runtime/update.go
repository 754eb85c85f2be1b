package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"

	"navarch.dev/navarch/agent/shim"
)

// UpdateContainerResources implements Runtime.
func (r *Runc) UpdateContainerResources(ctx context.Context, containerID string, resources Resources, annotations map[string]string) error {
	c, err := r.container(containerID)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(r.cgroups.oci(resources))
	if err != nil {
		return fmt.Errorf("update container %s: %w", c.spec.Name, err)
	}
	if err := c.pod.client.Update(ctx, containerID, encoded); err != nil {
		return fmt.Errorf("update container %s: %w", c.spec.Name, c.pod.shimError(err))
	}
	if err := c.saveSpec(resources, annotations); err != nil {
		return fmt.Errorf("update container %s: %w", c.spec.Name, err)
	}
	return nil
}

// AnnotateContainer implements Runtime.
func (r *Runc) AnnotateContainer(_ context.Context, containerID string, annotations map[string]string) error {
	c, err := r.container(containerID)
	if err != nil {
		return err
	}
	if err := c.saveSpec(Resources{}, annotations); err != nil {
		return fmt.Errorf("annotate container %s: %w", c.spec.Name, err)
	}
	return nil
}

// saveSpec remembers what a container has been changed to.
func (c *container) saveSpec(resources Resources, annotations map[string]string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	spec := c.spec
	spec.Resources = spec.Resources.Updated(resources)
	if spec.Annotations = maps.Clone(spec.Annotations); spec.Annotations == nil {
		spec.Annotations = make(map[string]string, len(annotations))
	}
	maps.Copy(spec.Annotations, annotations)
	if err := shim.WriteFileAtomic(filepath.Join(c.pod.bundle(spec.ID), containerFile), spec); err != nil {
		return err
	}
	c.spec.Resources, c.spec.Annotations = spec.Resources, spec.Annotations
	return nil
}

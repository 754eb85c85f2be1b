// Package guestbook_test checks the example's manifests.
package guestbook_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestManifests decodes every object strictly and checks that each container
// runs an image that the example makes.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(data, []byte("\n---\n")) {
			var kind struct{ Kind string }
			if err := yaml.Unmarshal(document, &kind); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			objects := map[string]any{"ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{}, "Deployment": &appsv1.Deployment{}}
			object, ok := objects[kind.Kind]
			if !ok {
				t.Errorf("%s: an unexpected %s", file, kind.Kind)
				continue
			}
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			if d, ok := object.(*appsv1.Deployment); ok {
				checkImages(t, d)
			}
		}
	}
}

func checkImages(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	made := []string{"localhost:5000/guestbook/web:v1", "localhost:5000/guestbook/store:v1"}
	for _, c := range d.Spec.Template.Spec.Containers {
		if !slices.Contains(made, c.Image) {
			t.Errorf("container %s runs %s, which nobody makes", c.Name, c.Image)
		}
	}
}

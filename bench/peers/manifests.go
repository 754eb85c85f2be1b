package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// manifest is an object and the file that it is from.
type manifest struct {
	file   string
	object *unstructured.Unstructured
}

func (m manifest) isDefinition() bool {
	return m.object.GetKind() == "CustomResourceDefinition" && m.object.GetAPIVersion() == "apiextensions.k8s.io/v1"
}

// readManifests returns the objects of all YAML files below some folders, each
// once. Templates and what is no object are passed over.
func readManifests(folders []string) ([]manifest, error) {
	var all []manifest
	seen := make(map[string]bool)
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			extension := filepath.Ext(path)
			if err != nil || entry.IsDir() || extension != ".yaml" && extension != ".yml" {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil || bytes.Contains(content, []byte("{{")) {
				return err
			}
			for _, object := range objectsIn(content) {
				if key, err := object.MarshalJSON(); err == nil && !seen[string(key)] {
					seen[string(key)] = true
					all = append(all, manifest{path, object})
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the manifests of %s: %w", folder, err)
		}
	}
	return all, nil
}

// objectsIn returns the objects of a file's documents, and those of their lists.
func objectsIn(content []byte) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) || err != nil {
			return out
		}
		text, err := yaml.YAMLToJSON(document)
		object := &unstructured.Unstructured{}
		if err != nil || json.Unmarshal(text, &object.Object) != nil || object.Object == nil {
			continue
		}
		if !strings.HasSuffix(object.GetKind(), "List") || !object.IsList() {
			out = append(out, named(object)...)
			continue
		}
		_ = object.EachListItem(func(item runtime.Object) error {
			if item, ok := item.(*unstructured.Unstructured); ok {
				out = append(out, named(item)...)
			}
			return nil
		})
	}
}

// named returns an object that can be sent, or none.
func named(object *unstructured.Unstructured) []*unstructured.Unstructured {
	_, ok := object.Object["metadata"].(map[string]any)
	if !ok || object.GetAPIVersion() == "" || object.GetKind() == "" || object.GetName() == "" && object.GetGenerateName() == "" {
		return nil
	}
	return []*unstructured.Unstructured{object}
}

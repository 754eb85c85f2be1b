// Package charts_test renders the chart, with the functions of Helm that it
// uses, and checks what comes out against the Kubernetes types and the flags of
// the services.
package charts_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const chart = "navarch"

// functions are those of Helm's that the templates call.
func functions(t *template.Template) template.FuncMap {
	indent := func(n int, s string) string {
		return "\n" + strings.Repeat(" ", n) + strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", n))
	}
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := t.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"required": func(message string, value any) (any, error) {
			if value == nil || value == "" {
				return nil, errors.New(message)
			}
			return value, nil
		},
		"dict": func(pairs ...any) map[string]any {
			m := make(map[string]any)
			for pair := range slices.Chunk(pairs, 2) {
				m[pair[0].(string)] = pair[1]
			}
			return m
		},
		"join": func(separator string, list []any) string {
			var texts []string
			for _, v := range list {
				texts = append(texts, v.(string))
			}
			return strings.Join(texts, separator)
		},
		"default": func(fallback string, value any) any {
			if s, ok := value.(string); ok && s != "" {
				return s
			}
			return fallback
		},
		"toYaml": func(v any) (string, error) {
			data, err := yaml.Marshal(v)
			return strings.TrimSuffix(string(data), "\n"), err
		},
		"list":      func(all ...any) []any { return all },
		"concat":    func(lists ...[]any) []any { return slices.Concat(lists...) },
		"quote":     func(s string) string { return strconv.Quote(s) },
		"hasSuffix": func(suffix, s string) bool { return strings.HasSuffix(s, suffix) },
		"nindent":   indent,
		"trim":      strings.TrimSpace,
		"ternary": func(yes, no any, condition bool) any {
			if condition {
				return yes
			}
			return no
		},
	}
}

// render returns what the templates print for values set over the chart's own.
func render(t *testing.T, set func(values map[string]any)) (string, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	set(values)
	templates := template.New(chart).Option("missingkey=zero")
	templates.Funcs(functions(templates))
	if _, err := templates.ParseGlob(filepath.Join(chart, "templates", "*")); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, file := range []string{"controlplane.yaml", "node.yaml"} {
		out.WriteString("\n---\n")
		release := map[string]any{"Name": "fleet", "Namespace": "harbour"}
		if err := templates.ExecuteTemplate(&out, file, map[string]any{"Values": values, "Release": release}); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

func TestChart(t *testing.T) {
	text, err := render(t, func(values map[string]any) {
		values["etcd"] = map[string]any{"endpoints": []any{"https://etcd-0:2379", "https://etcd-1:2379"}}
		values["otlpEndpoint"] = "http://collector:4317"
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for document := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		var header struct{ Kind string }
		if err := yaml.Unmarshal([]byte(document), &header); err != nil {
			t.Fatalf("%v:\n%s", err, document)
		}
		kinds[header.Kind]++
		objects := map[string]any{"Deployment": &appsv1.Deployment{}, "DaemonSet": &appsv1.DaemonSet{}, "Service": &corev1.Service{}}
		object, ok := objects[header.Kind]
		if !ok {
			t.Fatalf("unexpected %q:\n%s", header.Kind, document)
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Errorf("%v:\n%s", err, document)
		}
		switch object := object.(type) {
		case *appsv1.Deployment:
			checkPod(t, object.Spec.Selector.MatchLabels, object.Spec.Template)
		case *appsv1.DaemonSet:
			checkPod(t, object.Spec.Selector.MatchLabels, object.Spec.Template)
		}
	}
	if want := map[string]int{"Deployment": 4, "Service": 4, "DaemonSet": 1}; !maps.Equal(kinds, want) {
		t.Errorf("objects %v, want %v", kinds, want)
	}
	if !strings.Contains(text, `"--etcd-endpoints=https://etcd-0:2379,https://etcd-1:2379"`) {
		t.Error("the Store is not told all of etcd's endpoints")
	}
}

func checkPod(t *testing.T, selector map[string]string, pod corev1.PodTemplateSpec) {
	t.Helper()
	for key, value := range selector {
		if pod.Labels[key] != value {
			t.Errorf("the selector's %s=%s is not among the pod's labels %v", key, value, pod.Labels)
		}
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range pod.Spec.Containers {
		if c.Image == "" || len(c.Env) == 0 {
			t.Errorf("container %s: image %q, environment %v", c.Name, c.Image, c.Env)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("container %s mounts %s, which the pod lacks", c.Name, m.Name)
			}
		}
	}
}

func TestChartNeedsEtcd(t *testing.T) {
	if _, err := render(t, func(map[string]any) {}); err == nil || !strings.Contains(err.Error(), "etcd.endpoints") {
		t.Errorf("error %v does not name etcd.endpoints", err)
	}
}

package kinds

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// parse makes an object of YAML as it is.
func parse(t *testing.T, gvk schema.GroupVersionKind, text string) (*Kind, Object) {
	t.Helper()
	kind, ok := Default().ForGVK(gvk)
	if !ok {
		t.Fatalf("no kind %v", gvk)
	}
	obj := kind.New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	return kind, obj
}

// read makes a defaulted object of YAML.
func read(t *testing.T, gvk schema.GroupVersionKind, text string) (*Kind, Object) {
	t.Helper()
	kind, obj := parse(t, gvk, text)
	run1(kind.Strategy.PrepareForCreate, obj)
	run1(kind.Strategy.Default, obj)
	return kind, obj
}

// readStored makes an object of YAML as it is stored: with its status.
func readStored(t *testing.T, gvk schema.GroupVersionKind, text string) (*Kind, Object) {
	t.Helper()
	kind, obj := parse(t, gvk, text)
	run1(kind.Strategy.Default, obj)
	return kind, obj
}

// The messages that users meet, with the field they are about.
func TestValidate(t *testing.T) {
	pod := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	service := schema.GroupVersionKind{Version: "v1", Kind: "Service"}
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	cronJob := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "CronJob"}
	const template = `template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, image: i}]}}`
	for _, c := range []struct {
		name string
		gvk  schema.GroupVersionKind
		text string
		want string
	}{
		{"a pod", pod, `spec: {containers: [{name: c, image: i}]}`, ""},
		{"no containers", pod, `spec: {}`, "spec.containers: Required value"},
		{"no image", pod, `spec: {containers: [{name: c}]}`, "spec.containers[0].image: Required value"},
		{"bad name", pod, `spec: {containers: [{name: C_, image: i}]}`, `spec.containers[0].name: Invalid value: "C_"`},
		{"twice the name", pod, `spec: {containers: [{name: c, image: i}, {name: c, image: i}]}`, `spec.containers[1].name: Duplicate value: "c"`},
		{"pull policy", pod, `spec: {containers: [{name: c, image: i, imagePullPolicy: Sometimes}]}`,
			`imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"`},
		{"unknown volume", pod, `spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}`,
			`spec.containers[0].volumeMounts[0].name: Not found: "v"`},
		{"requests over limits", pod, `spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}`,
			`must be less than or equal to cpu limit of 1`},
		{"two handlers", pod, `spec: {containers: [{name: c, image: i, livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}}]}`,
			"may not specify more than 1 handler type"},
		{"toleration", pod, `spec: {containers: [{name: c, image: i}], tolerations: [{operator: Equal}]}`, "operator must be Exists when `key` is empty"},

		{"a service", service, `spec: {ports: [{port: 80}]}`, ""},
		{"no ports", service, `spec: {}`, "spec.ports: Required value"},
		{"unnamed ports", service, `spec: {ports: [{port: 80}, {port: 81}]}`, "spec.ports[0].name: Required value"},
		{"node port", service, `spec: {ports: [{port: 80, nodePort: 30000}]}`, "may not be used when `type` is 'ClusterIP'"},
		{"external name", service, `spec: {type: ExternalName}`, "spec.externalName: Required value"},

		{"a deployment", deployment, "spec: {selector: {matchLabels: {app: a}}, " + template + "}", ""},
		{"no selector", deployment, "spec: {" + template + "}", "spec.selector: Required value"},
		{"another's labels", deployment, "spec: {selector: {matchLabels: {app: b}}, " + template + "}", "`selector` does not match template `labels`"},
		{"no progress", deployment, "spec: {strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, selector: {matchLabels: {app: a}}, " + template + "}",
			"may not be 0 when `maxSurge` is 0"},

		{"a cron job", cronJob, `spec: {schedule: "*/5 1-3 * jan mon-fri", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}`, ""},
		{"a bad schedule", cronJob, `spec: {schedule: "61 * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}`,
			"spec.schedule: Invalid value"},
		{"always restarting", cronJob, `spec: {schedule: "@daily", jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: i}]}}}}}`,
			`valid values: "OnFailure", "Never"`},
		{"a secret", schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, `{type: kubernetes.io/tls, stringData: {tls.crt: a}}`, "data[tls.key]: Required value"},
		{"a role", schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, `rules: [{verbs: [get]}]`,
			"resource rules must supply at least one api group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, obj := read(t, c.gvk, c.text)
			errs := kind.Strategy.Validate(obj).ToAggregate()
			switch {
			case c.want == "" && errs != nil:
				t.Errorf("refused: %v", errs)
			case c.want != "" && (errs == nil || !strings.Contains(errs.Error(), c.want)):
				t.Errorf("got %v, want %q", errs, c.want)
			}
		})
	}
}

// What may not change is refused, what may is not.
func TestValidateUpdate(t *testing.T) {
	pod := schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	deployment := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	config := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	for _, c := range []struct {
		name     string
		gvk      schema.GroupVersionKind
		old, now string
		want     string
	}{
		{"a pod's image", pod, `spec: {containers: [{name: c, image: "i:1"}]}`, `spec: {containers: [{name: c, image: "i:2"}]}`, ""},
		{"a pod's command", pod, `spec: {containers: [{name: c, image: "i:1"}]}`, `spec: {containers: [{name: c, image: "i:1", command: [x]}]}`,
			"pod updates may not change fields other than"},
		{"a pod's containers", pod, `spec: {containers: [{name: c, image: i}]}`, `spec: {containers: [{name: c, image: i}, {name: d, image: i}]}`,
			"pod updates may not add or remove containers"},
		{"a selector", deployment, `spec: {selector: {matchLabels: {a: b}}}`, `spec: {selector: {matchLabels: {a: c}}}`, "field is immutable"},
		{"replicas", deployment, `spec: {selector: {matchLabels: {a: b}}}`, `spec: {replicas: 3, selector: {matchLabels: {a: b}}}`, ""},
		{"frozen data", config, `{immutable: true, data: {a: b}}`, `{immutable: true, data: {a: c}}`, "field is immutable when `immutable` is set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, old := read(t, c.gvk, c.old)
			_, now := read(t, c.gvk, c.now)
			errs := kind.Strategy.ValidateUpdate(now, old).ToAggregate()
			switch {
			case c.want == "" && errs != nil:
				t.Errorf("refused: %v", errs)
			case c.want != "" && (errs == nil || !strings.Contains(errs.Error(), c.want)):
				t.Errorf("got %v, want %q", errs, c.want)
			}
		})
	}
}

func FuzzCheckCron(f *testing.F) {
	f.Add("*/5 1-3 * jan mon-fri")
	f.Add("@every 1h")
	f.Fuzz(func(_ *testing.T, schedule string) { _ = checkCron(schedule) })
}

package podenv

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Objects gives the ConfigMaps and Secrets that variables come from.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Files opens a file of one of the pod's volumes. The error is fs.ErrNotExist if
// there is no such file.
type Files func(volume, path string) (io.ReadCloser, error)

// Source is what an environment is made from.
type Source struct {
	Objects Objects
	// Files is nil where pods have no files; variables from files are left out then.
	Files       Files
	Allocatable corev1.ResourceList
	// Services are those of the pod's namespace, and default/kubernetes.
	Services []*corev1.Service
}

// Env is an ordered environment.
type Env struct {
	names  []string
	values map[string]string
}

// Set sets a variable.
func (e *Env) Set(name, value string) {
	if e.values == nil {
		e.values = make(map[string]string)
	}
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// Lookup returns a variable's value.
func (e *Env) Lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// List returns the variables as NAME=value, in the order of their definition.
func (e *Env) List() []string {
	out := make([]string, 0, len(e.names))
	for _, n := range e.names {
		out = append(out, n+"="+e.values[n])
	}
	return out
}

// Make returns a container's environment as its spec defines it: Services'
// variables, then envFrom, then env, later ones winning.
func Make(ctx context.Context, pod *corev1.Pod, c *corev1.Container, src Source) (*Env, error) {
	env := &Env{}
	addServices(env, pod, src.Services)
	for _, from := range c.EnvFrom {
		if err := addFrom(ctx, env, pod, from, src.Objects); err != nil {
			return nil, err
		}
	}
	for _, v := range c.Env {
		value, ok, err := valueOf(ctx, env, pod, c, v, src)
		if err != nil {
			return nil, err
		}
		if ok {
			env.Set(v.Name, value)
		}
	}
	return env, nil
}

func addFrom(ctx context.Context, env *Env, pod *corev1.Pod, from corev1.EnvFromSource, objects Objects) error {
	data := make(map[string]string)
	switch {
	case from.ConfigMapRef != nil:
		cm, err := objects.ConfigMap(ctx, pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			return absent(err, from.ConfigMapRef.Optional, "configmap", from.ConfigMapRef.Name)
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := objects.Secret(ctx, pod.Namespace, from.SecretRef.Name)
		if err != nil {
			return absent(err, from.SecretRef.Optional, "secret", from.SecretRef.Name)
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		env.Set(from.Prefix+k, data[k])
	}
	return nil
}

// absent turns the error of a reference into nil if the reference is optional.
func absent(err error, optional *bool, kind, name string) error {
	if apierrors.IsNotFound(err) {
		if optional != nil && *optional {
			return nil
		}
		return fmt.Errorf("%s %q not found", kind, name)
	}
	return fmt.Errorf("read %s %q: %w", kind, name, err)
}

func valueOf(ctx context.Context, env *Env, pod *corev1.Pod, c *corev1.Container, v corev1.EnvVar, src Source) (string, bool, error) {
	from := v.ValueFrom
	if from == nil {
		return Expand(v.Value, env.Lookup), true, nil
	}
	switch {
	case from.FieldRef != nil:
		value, err := Field(pod, from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := Resource(pod, c, from.ResourceFieldRef, src.Allocatable)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := src.Objects.ConfigMap(ctx, pod.Namespace, ref.Name)
		if err != nil {
			return "", false, absent(err, ref.Optional, "configmap", ref.Name)
		}
		value, ok := cm.Data[ref.Key]
		return keyed(value, ok, ref.Optional, "ConfigMap", pod.Namespace, ref.Name, ref.Key)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := src.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			return "", false, absent(err, ref.Optional, "secret", ref.Name)
		}
		value, ok := s.Data[ref.Key]
		return keyed(string(value), ok, ref.Optional, "Secret", pod.Namespace, ref.Name, ref.Key)
	case from.FileKeyRef != nil && src.Files == nil:
		return "", false, nil
	case from.FileKeyRef != nil:
		return fromFile(from.FileKeyRef, src.Files)
	}
	return "", false, fmt.Errorf("variable %q: its source is not supported", v.Name)
}

func keyed(value string, ok bool, optional *bool, kind, namespace, name, key string) (string, bool, error) {
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
	}
	return value, ok, nil
}

// addServices adds the variables of Services: always those of the API server,
// and those of the pod's namespace unless the pod does not want them.
func addServices(env *Env, pod *corev1.Pod, services []*corev1.Service) {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	sorted := slices.SortedFunc(slices.Values(services), func(a, b *corev1.Service) int {
		return strings.Compare(a.Name, b.Name)
	})
	for _, s := range sorted {
		api := s.Namespace == "default" && s.Name == "kubernetes"
		if api || links && s.Namespace == pod.Namespace {
			addService(env, s)
		}
	}
}

func addService(env *Env, s *corev1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := variable(s.Name)
	first := s.Spec.Ports[0]
	env.Set(name+"_SERVICE_HOST", s.Spec.ClusterIP)
	env.Set(name+"_SERVICE_PORT", fmt.Sprint(first.Port))
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			env.Set(name+"_SERVICE_PORT_"+variable(p.Name), fmt.Sprint(p.Port))
		}
	}
	host := s.Spec.ClusterIP
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	for i, p := range s.Spec.Ports {
		protocol := strings.ToLower(string(p.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		url := fmt.Sprintf("%s://%s:%d", protocol, host, p.Port)
		if i == 0 {
			env.Set(name+"_PORT", url)
		}
		prefix := fmt.Sprintf("%s_PORT_%d_%s", name, p.Port, strings.ToUpper(protocol))
		env.Set(prefix, url)
		env.Set(prefix+"_PROTO", protocol)
		env.Set(prefix+"_PORT", fmt.Sprint(p.Port))
		env.Set(prefix+"_ADDR", s.Spec.ClusterIP)
	}
}

func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

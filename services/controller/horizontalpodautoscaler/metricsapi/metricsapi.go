// Package metricsapi asks the API servers that are registered for metrics:
// metrics.k8s.io for what pods use, custom.metrics.k8s.io for metrics of
// Kubernetes' objects, and external.metrics.k8s.io for everything else.
package metricsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/quantities"
)

const (
	resourceGroup = "metrics.k8s.io"
	customGroup   = "custom.metrics.k8s.io"
	externalGroup = "external.metrics.k8s.io"
	// patience is how long a server may take to answer.
	patience = 10 * time.Second
	// maxAnswer is the most that an answer may hold.
	maxAnswer = 32 << 20
	// instant is the time that a value without a window is about.
	instant = time.Minute
)

// autoscaler is who asks. Servers of metrics let in Kubernetes' autoscaler by
// this name.
var autoscaler = identity.Identity{
	Name:   "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
	Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", identity.GroupAuthenticated},
}

// Value is what a server says of something.
type Value struct {
	// Of is the name of the object that it is about.
	Of     string
	At     time.Time
	Window time.Duration
	Value  resource.Quantity
}

// APIs knows which servers are registered, and asks them.
type APIs struct {
	services  *client.Informer[*registrationv1.APIService]
	connector extension.Connector
	kinds     *kinds.Registry

	mu sync.Mutex // guards transports
	// transports are those to the servers of APIServices, by the versions of these.
	transports map[schema.GroupVersion]connected
}

// connected is a transport that was made of a specification.
type connected struct {
	spec      string
	transport *http.Transport
}

// New returns APIs that are found in an informer. registry has the kinds whose
// metrics may be asked for.
func New(services *client.Informer[*registrationv1.APIService], registry *kinds.Registry, connector extension.Connector) *APIs {
	return &APIs{services: services, connector: connector, kinds: registry, transports: make(map[schema.GroupVersion]connected)}
}

// find returns the first of some versions that another server serves.
func (a *APIs) find(group string, versions ...string) (*registrationv1.APIService, bool) {
	for _, version := range versions {
		if s, ok := a.services.GetByKey(version + "." + group); ok && s.Spec.Service != nil && s.DeletionTimestamp == nil {
			return s, true
		}
	}
	return nil, false
}

// HasUsage says whether another server tells what pods use.
func (a *APIs) HasUsage() bool { return a.has(resourceGroup, "v1beta1") }

// HasCustom says whether a server tells of metrics of objects.
func (a *APIs) HasCustom() bool { return a.has(customGroup, customVersions...) }

// HasExternal says whether a server tells of other metrics.
func (a *APIs) HasExternal() bool { return a.has(externalGroup, "v1beta1") }

// customVersions are those that are understood, the preferred one first.
var customVersions = []string{"v1beta2", "v1beta1"}

func (a *APIs) has(group string, versions ...string) bool {
	if a == nil {
		return false
	}
	_, ok := a.find(group, versions...)
	return ok
}

// Usage returns what the pods of a namespace use, by their names.
func (a *APIs) Usage(ctx context.Context, namespace string) (map[string]*metricsv1beta1.PodMetrics, error) {
	list := &metricsv1beta1.PodMetricsList{}
	if err := a.get(ctx, resourceGroup, []string{"v1beta1"}, []string{"namespaces", namespace, "pods"}, nil, list); err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
	}
	all := make(map[string]*metricsv1beta1.PodMetrics, len(list.Items))
	for i := range list.Items {
		all[list.Items[i].Name] = &list.Items[i]
	}
	return all, nil
}

// values is a list of custom or external metrics, of any version.
type values struct {
	Items []struct {
		DescribedObject struct{ Name string }
		Timestamp       metav1.Time
		Window          *int64
		WindowSeconds   *int64
		Value           resource.Quantity
	}
}

func (l *values) all() []Value {
	out := make([]Value, len(l.Items))
	for i := range l.Items {
		item := &l.Items[i]
		v := Value{Of: item.DescribedObject.Name, At: item.Timestamp.Time, Window: instant, Value: item.Value}
		for _, seconds := range []*int64{item.Window, item.WindowSeconds} {
			if seconds != nil {
				v.Window = time.Duration(*seconds) * time.Second
			}
		}
		out[i] = v
	}
	return out
}

// OfPods returns a metric of those pods of a namespace that a selector selects.
func (a *APIs) OfPods(ctx context.Context, namespace, metric, selector, metricSelector string) ([]Value, error) {
	query := url.Values{"labelSelector": {selector}}
	if metricSelector != "" {
		query.Set("metricLabelSelector", metricSelector)
	}
	list := &values{}
	err := a.get(ctx, customGroup, customVersions, []string{"namespaces", namespace, "pods", "*", metric}, query, list)
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from custom metrics API")
	}
	return list.all(), nil
}

// OfObject returns a metric of one object.
func (a *APIs) OfObject(ctx context.Context, namespace string, of autoscalingv2.CrossVersionObjectReference, metric, metricSelector string) (Value, error) {
	path := []string{"namespaces", of.Name, "metrics", metric}
	if of.Kind != "Namespace" || of.APIVersion != "" && of.APIVersion != "v1" {
		name, err := a.resource(of)
		if err != nil {
			return Value{}, err
		}
		path = []string{"namespaces", namespace, name, of.Name, metric}
	}
	query := url.Values{}
	if metricSelector != "" {
		query.Set("metricLabelSelector", metricSelector)
	}
	list := &values{}
	if err := a.get(ctx, customGroup, customVersions, path, query, list); err != nil {
		return Value{}, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	if n := len(list.Items); n != 1 {
		return Value{}, fmt.Errorf("the custom metrics API server returned %d results when we asked for exactly one", n)
	}
	return list.all()[0], nil
}

// resource returns the resource of a kind with its group, "deployments.apps".
func (a *APIs) resource(of autoscalingv2.CrossVersionObjectReference) (string, error) {
	gvk := schema.FromAPIVersionAndKind(of.APIVersion, of.Kind)
	for _, k := range a.kinds.All() {
		if k.Group == gvk.Group && k.Kind == gvk.Kind {
			return k.GroupResource().String(), nil
		}
	}
	return "", fmt.Errorf("unable to map kind %s to resource: no kind of that name is served", gvk.GroupKind())
}

// External returns the values of a metric of something outside.
func (a *APIs) External(ctx context.Context, namespace, metric, selector string) ([]Value, error) {
	query := url.Values{}
	if selector != "" {
		query.Set("labelSelector", selector)
	}
	list := &values{}
	if err := a.get(ctx, externalGroup, []string{"v1beta1"}, []string{"namespaces", namespace, metric}, query, list); err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from external metrics API")
	}
	return list.all(), nil
}

// get asks the server of one of a group's versions for what is at a path of it.
func (a *APIs) get(ctx context.Context, group string, versions, path []string, query url.Values, into any) error {
	api, ok := a.find(group, versions...)
	if !ok {
		return fmt.Errorf("no API %s is registered", group)
	}
	transport, err := a.transport(api)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	base := extension.Path(schema.GroupVersion{Group: api.Spec.Group, Version: api.Spec.Version})
	request, err := extension.NewRequest(ctx, &api.Spec, base)
	if err != nil {
		return err
	}
	request.URL = request.URL.JoinPath(path...)
	request.URL.RawQuery = query.Encode()
	request.Header.Set("Accept", "application/json")
	extension.Identify(request, autoscaler)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case len(body) > maxAnswer:
		return fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case response.StatusCode != http.StatusOK:
		return refusal(response, body)
	}
	if err := quantities.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// refusal is what a server says instead of what it was asked for.
func refusal(response *http.Response, body []byte) error {
	status := metav1.Status{}
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Message != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	return fmt.Errorf("the server answered %s", response.Status)
}

// transport returns the transport to an API's server, a kept one if what it was
// made of is as it was.
func (a *APIs) transport(api *registrationv1.APIService) (*http.Transport, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gv := schema.GroupVersion{Group: api.Spec.Group, Version: api.Spec.Version}
	spec, err := json.Marshal(api.Spec)
	if err != nil {
		return nil, err
	}
	have := a.transports[gv]
	if have.transport != nil && have.spec == string(spec) {
		return have.transport, nil
	}
	made, err := a.connector.Transport(&api.Spec)
	if err != nil {
		return nil, err
	}
	if have.transport != nil {
		have.transport.CloseIdleConnections()
	}
	a.transports[gv] = connected{string(spec), made}
	return made, nil
}

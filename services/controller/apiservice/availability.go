package apiservice

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// lookAgain is how soon a server that serves is asked again: that it is cut
	// off shows in no object.
	lookAgain = 30 * time.Second
	// attempts are made at once. One that succeeds is enough: some of a Service's
	// endpoints may fail.
	attempts = 5
	// patience is how long an attempt may take.
	patience = 5 * time.Second
)

type availability struct {
	client    *client.Client
	apis      *client.Informer[*registrationv1.APIService]
	services  *client.Informer[*corev1.Service]
	slices    *client.Informer[*discoveryv1.EndpointSlice]
	connector extension.Connector
	now       func() time.Time
}

// NewAvailability returns the controller that asks the servers of APIServices
// whether they serve. Its keys name APIServices.
func NewAvailability(deps runner.Deps, connector extension.Connector) (*runner.Controller, error) {
	apis, err := client.InformerFor[*registrationv1.APIService](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	services, err := client.InformerFor[*corev1.Service](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	endpoints, err := client.InformerFor[*discoveryv1.EndpointSlice](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &availability{client: deps.Client, apis: apis, services: services, slices: endpoints, connector: connector, now: time.Now}
	c := runner.New("apiserviceavailability", r, deps, runner.Options{Trace: apis.TraceContext})
	runner.Watch(c, apis, runner.Input[*registrationv1.APIService]{
		Keys: runner.Self[*registrationv1.APIService],
		Changed: func(old, now *registrationv1.APIService) bool {
			return !equality.Semantic.DeepEqual(old.Spec, now.Spec)
		},
	})
	runner.Watch(c, services, runner.Input[*corev1.Service]{Keys: func(s *corev1.Service) []string { return r.servedBy(s.Namespace, s.Name) }})
	runner.Watch(c, endpoints, runner.Input[*discoveryv1.EndpointSlice]{Keys: func(s *discoveryv1.EndpointSlice) []string {
		return r.servedBy(s.Namespace, s.Labels[discoveryv1.LabelServiceName])
	}})
	return c, nil
}

// servedBy returns the names of the APIServices of a Service.
func (r *availability) servedBy(namespace, name string) []string {
	var keys []string
	for _, a := range r.apis.List() {
		if s := a.Spec.Service; s != nil && s.Namespace == namespace && s.Name == name {
			keys = append(keys, a.Name)
		}
	}
	return keys
}

// Reconcile says of one API whether it is available.
func (r *availability) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	api, ok := r.apis.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	condition, outcome := r.judge(ctx, &api.Spec)
	if ctx.Err() != nil {
		return runner.Done(), ctx.Err()
	}
	condition.Type, condition.LastTransitionTime = registrationv1.Available, metav1.NewTime(r.now())
	changed := api.DeepCopy()
	setCondition(&changed.Status, condition)
	if equality.Semantic.DeepEqual(api.Status, changed.Status) {
		return outcome, nil
	}
	if err := r.client.UpdateStatus(ctx, changed); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("say whether the API %s is available: %w", key, err)
	}
	return outcome, nil
}

// judge says whether an API is available, and when to look again.
func (r *availability) judge(ctx context.Context, spec *registrationv1.APIServiceSpec) (registrationv1.APIServiceCondition, runner.Outcome) {
	if spec.Service == nil {
		return kinds.LocalAPIService(), runner.Done()
	}
	if condition, blocked := r.blocked(spec.Service); blocked {
		return condition, runner.Done()
	}
	return r.ask(ctx, spec), runner.RequeueAfter(lookAgain)
}

// setCondition sets the condition of a type. Its time is that since which its
// status is what it is.
func setCondition(s *registrationv1.APIServiceStatus, c registrationv1.APIServiceCondition) {
	for i := range s.Conditions {
		have := &s.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

// blocked returns why a Service cannot be asked, false if it can.
func (r *availability) blocked(ref *registrationv1.ServiceReference) (registrationv1.APIServiceCondition, bool) {
	no := func(reason, format string, args ...any) (registrationv1.APIServiceCondition, bool) {
		return registrationv1.APIServiceCondition{Status: registrationv1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}, true
	}
	service, ok := r.services.Get(ref.Namespace, ref.Name)
	if !ok {
		return no("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if service.Spec.Type != corev1.ServiceTypeClusterIP {
		return registrationv1.APIServiceCondition{}, false
	}
	port := ptr.Deref(ref.Port, 443)
	at := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if at < 0 {
		return no("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, port)
	}
	found, ready := r.endpoints(service, service.Spec.Ports[at].Name)
	switch {
	case !found:
		return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	case !ready:
		return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, service.Spec.Ports[at].Name)
	}
	return registrationv1.APIServiceCondition{}, false
}

// endpoints says whether a Service has slices, and in them a ready endpoint of a
// port.
func (r *availability) endpoints(service *corev1.Service, port string) (found, ready bool) {
	for _, s := range r.slices.InNamespace(service.Namespace) {
		if s.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		found = true
		hasPort := slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool { return ptr.Deref(p.Name, "") == port && p.Port != nil })
		isReady := func(e discoveryv1.Endpoint) bool { return ptr.Deref(e.Conditions.Ready, true) }
		if hasPort && slices.ContainsFunc(s.Endpoints, isReady) {
			return true, true
		}
	}
	return found, false
}

// ask asks a server for what it must serve.
func (r *availability) ask(ctx context.Context, spec *registrationv1.APIServiceSpec) registrationv1.APIServiceCondition {
	if err := r.probe(ctx, spec); err != nil {
		return registrationv1.APIServiceCondition{Status: registrationv1.ConditionFalse, Reason: "FailedDiscoveryCheck", Message: err.Error()}
	}
	return registrationv1.APIServiceCondition{Status: registrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed"}
}

func (r *availability) probe(ctx context.Context, spec *registrationv1.APIServiceSpec) error {
	transport, err := r.connector.Transport(spec)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	// Each attempt is to meet an endpoint of its own.
	transport.DisableKeepAlives = true
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	results := make(chan error, attempts)
	for range attempts {
		go func() { results <- probeOnce(ctx, transport, spec) }()
	}
	for range attempts {
		if err = <-results; err == nil {
			return nil
		}
	}
	return err
}

func probeOnce(ctx context.Context, transport http.RoundTripper, spec *registrationv1.APIServiceSpec) error {
	request, err := extension.NewRequest(ctx, spec, extension.Path(schema.GroupVersion{Group: spec.Group, Version: spec.Version}))
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("failing or missing response from %s: %w", request.URL, err)
	}
	_ = response.Body.Close() // nothing of it is wanted
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("failing or missing response from %s: bad status from %s: %d", request.URL, request.URL, response.StatusCode)
	}
	return nil
}

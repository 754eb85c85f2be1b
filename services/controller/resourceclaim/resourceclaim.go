// Package resourceclaim makes the ResourceClaims of pods that name a template,
// and takes claims back from pods that need them no longer.
//
// New returns the controller that makes claims; its keys name pods. A claim is
// owned by its pod, whose status names it, and bears the name that the pod gives
// it as an annotation, so that a claim whose name was not written to the status
// in time is found again.
//
// NewRelease returns the one that takes claims back; its keys name claims.
package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	// byOwner is the index of claims by the UID of the pod that they were made
	// for.
	byOwner = "resourceclaim/owner"
	// byTemplate and byClaim are the indices of pods by the templates that they
	// name, and by the claims that they have, as "namespace/name".
	byTemplate = "resourceclaim/template"
	byClaim    = "resourceclaim/claim"
	// longestBase is how much of a generated name is not its suffix.
	longestBase = 57
)

type maker struct {
	client    *client.Client
	events    runner.EventRecorder
	pods      *client.Informer[*corev1.Pod]
	claims    *client.Informer[*resourcev1.ResourceClaim]
	templates *client.Informer[*resourcev1.ResourceClaimTemplate]
	made      *made
}

// New returns the controller that makes claims. Its keys name pods.
func New(deps runner.Deps) (*runner.Controller, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, cache.Indexers{byTemplate: indexByTemplate, byClaim: indexByClaim})
	if err != nil {
		return nil, err
	}
	claims, err := client.InformerFor[*resourcev1.ResourceClaim](deps.Informers, cache.Indexers{byOwner: indexByOwner})
	if err != nil {
		return nil, err
	}
	templates, err := client.InformerFor[*resourcev1.ResourceClaimTemplate](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	m := &maker{client: deps.Client, events: deps.Events("resource_claim"), pods: pods, claims: claims, templates: templates, made: &made{names: map[types.UID]map[string]string{}}}
	c := runner.New("resourceclaim", m, deps, runner.Options{Trace: pods.TraceContext})
	runner.Watch(c, pods, runner.Input[*corev1.Pod]{Keys: withClaims, Changed: changed})
	pods.AddHandler(client.Handler[*corev1.Pod]{OnDelete: m.made.forget})
	runner.Watch(c, claims, runner.Input[*resourcev1.ResourceClaim]{Keys: m.usersOf})
	runner.Watch(c, templates, runner.Input[*resourcev1.ResourceClaimTemplate]{Keys: func(t *resourcev1.ResourceClaimTemplate) []string {
		return podKeys(pods, byTemplate, t.Namespace+"/"+t.Name)
	}})
	return c, nil
}

// changed says whether a pod's claims may need work: it came to a node, or the
// names of its claims changed.
func changed(old, pod *corev1.Pod) bool {
	return old.Spec.NodeName != pod.Spec.NodeName || !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses)
}

func indexByTemplate(v any) ([]string, error) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Pod", v)
	}
	var keys []string
	for _, ref := range deviceclaim.Of(pod) {
		if ref.Template != "" {
			keys = append(keys, pod.Namespace+"/"+ref.Template)
		}
	}
	return keys, nil
}

func indexByClaim(v any) ([]string, error) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a Pod", v)
	}
	return claimKeys(pod), nil
}

func claimKeys(pod *corev1.Pod) []string {
	var keys []string
	for _, name := range deviceclaim.Names(pod) {
		keys = append(keys, pod.Namespace+"/"+name)
	}
	return keys
}

func indexByOwner(v any) ([]string, error) {
	claim, ok := v.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, fmt.Errorf("index a %T: not a ResourceClaim", v)
	}
	if ref := owningPod(claim); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return nil, nil
}

// owningPod is the pod that a claim was made for, nil if it was for none.
func owningPod(claim *resourcev1.ResourceClaim) *metav1.OwnerReference {
	ref := metav1.GetControllerOfNoCopy(claim)
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" {
		return nil
	}
	return ref
}

// withClaims returns the pod's key if it has claims.
func withClaims(pod *corev1.Pod) []string {
	if len(pod.Spec.ResourceClaims) == 0 {
		return nil
	}
	return runner.Self(pod)
}

func podKeys(pods *client.Informer[*corev1.Pod], index, value string) []string {
	var keys []string
	found, _ := pods.ByIndex(index, value) // there is such an index
	for _, pod := range found {
		keys = append(keys, cache.MetaObjectToName(pod).String())
	}
	return keys
}

// usersOf returns the pods that a claim concerns.
func (m *maker) usersOf(claim *resourcev1.ResourceClaim) []string {
	keys := podKeys(m.pods, byClaim, claim.Namespace+"/"+claim.Name)
	if ref := owningPod(claim); ref != nil {
		keys = append(keys, claim.Namespace+"/"+ref.Name)
	}
	return keys
}

// Reconcile makes the claims that a pod lacks, writes their names to its status
// and, where somebody has put the pod on a node, reserves claims that are
// allocated.
func (m *maker) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := m.pods.GetByKey(key)
	if !ok || pod.DeletionTimestamp != nil || deviceclaim.IsDone(pod) {
		return runner.Done(), nil
	}
	names := map[string]string{}
	for _, ref := range deviceclaim.Of(pod) {
		name, err := m.ensure(ctx, pod, ref)
		if err != nil {
			err = fmt.Errorf("PodResourceClaim %s: %w", ref.Name, err)
			m.events.Event(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", err.Error())
			return runner.Done(), err
		}
		if name != ref.Claim {
			names[ref.Name] = name
		}
	}
	if len(names) > 0 {
		return runner.Done(), m.writeNames(ctx, pod, names) // its event brings the pod back
	}
	if pod.Spec.NodeName == "" {
		return runner.Done(), nil // reserving is the Scheduler's
	}
	return runner.Done(), m.reserve(ctx, pod)
}

// ensure returns the name of one of a pod's claims, after making the claim if
// that is missing.
func (m *maker) ensure(ctx context.Context, pod *corev1.Pod, ref deviceclaim.Ref) (string, error) {
	if ref.Template == "" || ref.Claim == "" && !ref.Pending {
		return ref.Claim, nil
	}
	if claim, ok := m.claims.Get(pod.Namespace, ref.Claim); ok && deviceclaim.CheckOwner(pod, claim) == nil {
		return ref.Claim, nil
	}
	claim, err := m.find(ctx, pod, ref)
	if err != nil || claim != nil {
		return nameOf(claim), err
	}
	template, ok := m.templates.Get(pod.Namespace, ref.Template)
	if !ok {
		return "", fmt.Errorf("resource claim template %q: not found", ref.Template)
	}
	claim = newClaim(pod, ref.Name, template)
	if err := m.client.Create(ctx, claim); err != nil {
		return "", fmt.Errorf("create ResourceClaim: %w", err)
	}
	m.made.add(pod.UID, ref.Name, claim.Name)
	return claim.Name, nil
}

func nameOf(claim *resourcev1.ResourceClaim) string {
	if claim == nil {
		return ""
	}
	return claim.Name
}

// find returns the claim that was made for a pod before, also where the informer
// does not show it yet: a second claim would take devices that nobody uses.
func (m *maker) find(ctx context.Context, pod *corev1.Pod, ref deviceclaim.Ref) (*resourcev1.ResourceClaim, error) {
	fits := func(claim *resourcev1.ResourceClaim) bool {
		return claim.Annotations[resourcev1.PodResourceClaimAnnotation] == ref.Name && metav1.IsControlledBy(claim, pod)
	}
	known, err := m.claims.ByIndex(byOwner, string(pod.UID))
	if err != nil {
		return nil, err
	}
	for _, claim := range known {
		if fits(claim) {
			return claim, nil
		}
	}
	for _, name := range []string{ref.Claim, m.made.name(pod.UID, ref.Name)} {
		if name == "" {
			continue
		}
		claim := &resourcev1.ResourceClaim{}
		err := m.client.Get(ctx, pod.Namespace, name, claim)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("look for the claim %s that was made before: %w", name, err)
		}
		if err == nil && fits(claim) {
			return claim, nil
		}
	}
	return nil, nil
}

// made remembers the names of the claims that were made for pods.
type made struct {
	mu    sync.Mutex
	names map[types.UID]map[string]string // by pod, and by what the pod calls the claim
}

func (m *made) name(pod types.UID, claim string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names[pod][claim]
}

func (m *made) add(pod types.UID, claim, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[pod] == nil {
		m.names[pod] = map[string]string{}
	}
	m.names[pod][claim] = name
}

func (m *made) forget(pod *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.names, pod.UID)
}

func newClaim(pod *corev1.Pod, name string, template *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	annotations := maps.Clone(template.Spec.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[resourcev1.PodResourceClaimAnnotation] = name
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: baseName(pod.Name, name), Labels: maps.Clone(template.Spec.Labels), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}},
		},
		Spec: *template.Spec.Spec.DeepCopy(),
	}
}

// baseName shortens both names alike where they are too long together.
func baseName(pod, claim string) string {
	base := pod + "-" + claim + "-"
	if len(base) <= longestBase {
		return base
	}
	return pod[:len(pod)*longestBase/len(base)] + "-" + claim[:len(claim)*longestBase/len(base)]
}

// writeNames adds the names of claims to a pod's status.
func (m *maker) writeNames(ctx context.Context, pod *corev1.Pod, names map[string]string) error {
	current := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	err := m.client.RetryOnConflict(ctx, current, func() bool {
		if current.UID != pod.UID {
			return false
		}
		for _, ref := range deviceclaim.Of(current) {
			if name, ok := names[ref.Name]; ok && name != ref.Claim {
				setName(&current.Status, ref.Name, name)
			}
		}
		return true
	}, m.client.UpdateStatus)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update pod %s/%s ResourceClaimStatuses: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func setName(s *corev1.PodStatus, name, claim string) {
	for i := range s.ResourceClaimStatuses {
		if s.ResourceClaimStatuses[i].Name == name {
			s.ResourceClaimStatuses[i].ResourceClaimName = &claim
			return
		}
	}
	s.ResourceClaimStatuses = append(s.ResourceClaimStatuses, corev1.PodResourceClaimStatus{Name: name, ResourceClaimName: &claim})
}

// reserve reserves the allocated claims of a pod that somebody else than the
// Scheduler has put on a node.
func (m *maker) reserve(ctx context.Context, pod *corev1.Pod) error {
	var errs []error
	for _, ref := range deviceclaim.Of(pod) {
		claim, ok := m.claims.Get(pod.Namespace, ref.Claim)
		if !ok || ref.Own && deviceclaim.CheckOwner(pod, claim) != nil {
			continue
		}
		if claim.Status.Allocation == nil || claim.DeletionTimestamp != nil || deviceclaim.IsReserved(claim, pod) || !deviceclaim.HasRoom(claim) {
			continue
		}
		claim = claim.DeepCopy()
		claim.Status.ReservedFor = append(claim.Status.ReservedFor, deviceclaim.Consumer(pod))
		if err := m.client.UpdateStatus(ctx, claim); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("reserve claim %s: %w", claim.Name, err))
		}
	}
	return errors.Join(errs...)
}

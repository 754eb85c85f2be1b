// Package node decides what agents may do. An agent acts for the pods that are
// bound to its node: it reads those and the secrets, config maps, volumes and
// service accounts that they refer to; it writes its own Node and Lease and
// its own pods' status. A node that falls into wrong hands gives away its own
// pods' secrets and no others.
package node

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/store/access"
)

// Authorizer implements access.Authorizer for agents; it allows nothing to
// anybody else.
type Authorizer struct {
	reader access.Reader
	// base decides what every agent may do, whatever its pods.
	base access.Authorizer
}

// New returns an Authorizer that looks up pods through reader and asks base
// about what does not depend on pods.
func New(reader access.Reader, base access.Authorizer) *Authorizer {
	return &Authorizer{reader: reader, base: base}
}

// request is one call of an agent.
type request struct {
	access.Attributes
	node string
}

// Authorize implements access.Authorizer.
func (z *Authorizer) Authorize(ctx context.Context, a access.Attributes) (access.Decision, error) {
	name, ok := a.User.NodeName()
	if !ok {
		return access.Decision{}, nil
	}
	r := request{Attributes: a, node: name}
	decide := z.deciderOf(r)
	if decide == nil {
		return z.base.Authorize(ctx, a)
	}
	d, err := decide(ctx, r)
	if apierrors.IsNotFound(err) {
		return no(r), nil
	}
	return d, err
}

type decider func(context.Context, request) (access.Decision, error)

// deciderOf returns what decides about a kind that depends on the node, nil
// for the others.
func (z *Authorizer) deciderOf(r request) decider {
	switch r.Group + "/" + r.Resource {
	case "/pods":
		return z.pods
	case "/nodes":
		if r.Subresource != "" && r.Subresource != "status" {
			return nil // it is no agent's to ask another, nor itself
		}
		if slices.Contains([]string{"get", "list", "watch", "create"}, r.Verb) && r.Subresource == "" {
			return nil
		}
		return ownNode
	case "/secrets":
		return z.referenced(refersToSecret)
	case "/configmaps":
		return z.referenced(refersToConfigMap)
	case "/persistentvolumeclaims":
		return z.claims
	case "/persistentvolumes":
		return z.volumes
	case "/serviceaccounts":
		return z.serviceAccounts
	case "coordination.k8s.io/leases":
		return ownLease
	case "storage.k8s.io/csinodes":
		return ownNode
	case "storage.k8s.io/volumeattachments":
		return z.attachments
	case "certificates.k8s.io/podcertificaterequests":
		return z.certificates
	case "resource.k8s.io/resourceclaims":
		return z.referenced(refersToDevices)
	case "resource.k8s.io/resourceslices":
		return z.slices
	}
	return nil
}

func yes() access.Decision {
	return access.Decision{Allowed: true, Reason: "the node needs it"}
}

func no(r request) access.Decision {
	return access.Decision{Reason: fmt.Sprintf("no relationship found between node '%s' and this object", r.node)}
}

func when(ok bool, r request) (access.Decision, error) {
	if ok {
		return yes(), nil
	}
	return no(r), nil
}

func refuse(format string, args ...any) (access.Decision, error) {
	return access.Decision{Reason: fmt.Sprintf(format, args...)}, nil
}

// selected returns the value that the call's field selector demands of a
// field.
func (r request) selected(name string) string {
	selector, err := fields.ParseSelector(r.FieldSelector)
	if err != nil {
		return ""
	}
	value, _ := selector.RequiresExactMatch(name)
	return value
}

// labelled returns the value that the call's label selector demands of a label.
func (r request) labelled(key string) string {
	selector, err := labels.Parse(r.LabelSelector)
	if err != nil {
		return ""
	}
	value, _ := selector.RequiresExactMatch(key)
	return value
}

// objectName is the one object that a read is about, by name or by selector.
func (r request) objectName() string {
	if r.Name != "" {
		return r.Name
	}
	return r.selected("metadata.name")
}

// pods: an agent sees and ends the pods of its node, reports their status and
// shows its static pods.
func (z *Authorizer) pods(ctx context.Context, r request) (access.Decision, error) {
	switch {
	case r.Verb == "create" && r.Subresource == "":
		// Only mirror pods, which the Guard checks.
		return yes(), nil
	case r.Verb == "list" || r.Verb == "watch":
		if r.selected("spec.nodeName") == r.node {
			return yes(), nil
		}
		return refuse("can only list/watch pods with spec.nodeName field selector")
	case r.Verb == "get" && r.Subresource == "",
		r.Verb == "delete" && r.Subresource == "",
		slices.Contains([]string{"get", "update", "patch"}, r.Verb) && r.Subresource == "status",
		r.Verb == "create" && r.Subresource == "eviction":
		return z.ownPod(ctx, r)
	}
	return refuse("agents may not %s pods/%s", r.Verb, r.Subresource)
}

func (z *Authorizer) ownPod(ctx context.Context, r request) (access.Decision, error) {
	obj, err := z.reader.Get(ctx, core("pods"), r.Namespace, r.Name)
	if apierrors.IsNotFound(err) && r.Verb != "create" {
		// Whose a pod was that is gone does no harm to tell: the answer is
		// NotFound, which an agent needs to hear.
		return yes(), nil
	}
	if err != nil {
		return access.Decision{}, err
	}
	pod, ok := obj.(*corev1.Pod)
	return when(ok && pod.Spec.NodeName == r.node, r)
}

// ownNode: nodes and csinodes are named for the node.
func ownNode(_ context.Context, r request) (access.Decision, error) {
	if r.Verb == "create" && r.Name == "" {
		return yes(), nil
	}
	return when(r.objectName() == r.node && r.Verb != "deletecollection", r)
}

func ownLease(_ context.Context, r request) (access.Decision, error) {
	if r.Namespace != corev1.NamespaceNodeLease {
		return refuse("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if r.Verb == "create" && r.Name == "" {
		return yes(), nil
	}
	return when(r.objectName() == r.node && slices.Contains([]string{"get", "list", "watch", "create", "update", "patch", "delete"}, r.Verb), r)
}

// onNode says whether a pod of the node in a namespace satisfies f.
func (z *Authorizer) onNode(ctx context.Context, node, namespace string, f func(*corev1.Pod) bool) (bool, error) {
	objs, err := z.reader.ListOnly(ctx, core("pods"), namespace, node)
	if err != nil {
		return false, fmt.Errorf("look up the pods of node %s: %w", node, err)
	}
	return slices.ContainsFunc(objs, func(obj kinds.Object) bool {
		pod, ok := obj.(*corev1.Pod)
		return ok && pod.Spec.NodeName == node && f(pod)
	}), nil
}

// referenced allows the reading of one object that a pod of the node refers
// to.
func (z *Authorizer) referenced(refers func(*corev1.Pod, string) bool) decider {
	return func(ctx context.Context, r request) (access.Decision, error) {
		name := r.objectName()
		if !r.reads() || name == "" || r.Namespace == "" {
			return refuse("can only read resources of this type by name")
		}
		ok, err := z.onNode(ctx, r.node, r.Namespace, func(p *corev1.Pod) bool { return refers(p, name) })
		if err != nil {
			return access.Decision{}, err
		}
		return when(ok, r)
	}
}

func (r request) reads() bool {
	return r.Subresource == "" && slices.Contains([]string{"get", "list", "watch"}, r.Verb)
}

// claims are read as what pods refer to; their status tells of a finished
// resize.
func (z *Authorizer) claims(ctx context.Context, r request) (access.Decision, error) {
	if r.Subresource == "status" && slices.Contains([]string{"get", "update", "patch"}, r.Verb) {
		r.Verb, r.Subresource = "get", ""
	}
	return z.referenced(refersToClaim)(ctx, r)
}

// volumes: a volume is the node's business if it is kept on the node, or if a
// pod of the node refers to the claim that it is bound to. Those that it keeps
// it also lets go, once their data are removed; the Guard checks that it
// changes nothing else of them.
func (z *Authorizer) volumes(ctx context.Context, r request) (access.Decision, error) {
	name := r.objectName()
	if name == "" && (r.Verb == "list" || r.Verb == "watch") && r.labelled(localpath.NodeLabel) == r.node {
		return yes(), nil
	}
	writes := r.Subresource == "" && (r.Verb == "update" || r.Verb == "patch")
	if !(r.reads() || writes) || name == "" {
		return refuse("can only read resources of this type by name")
	}
	obj, err := z.reader.Get(ctx, core("persistentvolumes"), "", name)
	if err != nil {
		return access.Decision{}, err
	}
	volume, ok := obj.(*corev1.PersistentVolume)
	switch {
	case ok && keeps(r.node, volume):
		return yes(), nil
	case !ok || writes || volume.Spec.ClaimRef == nil:
		return no(r), nil
	}
	claim := volume.Spec.ClaimRef
	found, err := z.onNode(ctx, r.node, claim.Namespace, func(p *corev1.Pod) bool { return refersToClaim(p, claim.Name) })
	if err != nil {
		return access.Decision{}, err
	}
	return when(found, r)
}

// serviceAccounts: an agent reads the accounts that its pods run as and gets
// tokens for them.
func (z *Authorizer) serviceAccounts(ctx context.Context, r request) (access.Decision, error) {
	name := r.objectName()
	token := r.Verb == "create" && r.Subresource == "token"
	if !(r.reads() || token) || name == "" {
		return refuse("can only read service accounts by name and create tokens for them")
	}
	ok, err := z.onNode(ctx, r.node, r.Namespace, func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == name })
	if err != nil {
		return access.Decision{}, err
	}
	return when(ok, r)
}

func core(resource string) schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource(resource)
}

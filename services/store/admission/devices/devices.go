// Package devices decides who may write what about claims of devices, beyond
// what the permission to write claims says.
//
// Access to devices that are in use, as administrators have it, is given only in
// namespaces that are labelled for it. And the status of a claim has several
// writers: who binds claims (the scheduler, controllers that reserve them) needs
// the permission to write resourceclaims/binding, a driver the permission to
// write resourceclaims/driver of its name, which can be limited to claims that
// are allocated on the writer's own node.
package devices

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
)

// nodeNameKey is where a service account's token says which node its pod is on.
const nodeNameKey = "authentication.kubernetes.io/node-name"

// New returns the rules for claims. reader shows the namespaces, authorizer what
// users may do.
func New(reader access.Reader, authorizer access.Authorizer) admission.Plugin {
	return rules{reader: reader, authorizer: authorizer}
}

type rules struct {
	reader     access.Reader
	authorizer access.Authorizer
}

// Mutate implements admission.Plugin.
func (rules) Mutate(context.Context, *admission.Request) error { return nil }

// Validate implements admission.Plugin.
func (p rules) Validate(ctx context.Context, r *admission.Request) error {
	if r.Kind.Group != resourcev1.GroupName || r.Object == nil || r.User.Name == identity.Store {
		return nil
	}
	var errs field.ErrorList
	var err error
	switch o := r.Object.(type) {
	case *resourcev1.ResourceClaim:
		old, _ := r.Old.(*resourcev1.ResourceClaim)
		switch {
		case old == nil:
			errs, err = p.checkRequests(ctx, r.Namespace, &o.Spec, field.NewPath("spec"))
		case r.Subresource == "status":
			errs, err = p.checkStatus(ctx, r, &o.Status, &old.Status, field.NewPath("status"))
		}
	case *resourcev1.ResourceClaimTemplate:
		if r.Old == nil {
			errs, err = p.checkRequests(ctx, r.Namespace, &o.Spec.Spec, field.NewPath("spec", "spec"))
		}
	}
	if err != nil || len(errs) == 0 {
		return err
	}
	return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Title(), errs)
}

// checkRequests: only in a namespace that is labelled for it can a claim ask for
// what others use.
func (p rules) checkRequests(ctx context.Context, namespace string, s *resourcev1.ResourceClaimSpec, at *field.Path) (field.ErrorList, error) {
	for i, request := range s.Devices.Requests {
		if request.Exactly != nil && isTrue(request.Exactly.AdminAccess) {
			return p.checkNamespace(ctx, namespace, at.Child("devices", "requests").Index(i).Child("exactly", "adminAccess"))
		}
	}
	return nil, nil
}

func (p rules) checkNamespace(ctx context.Context, name string, at *field.Path) (field.ErrorList, error) {
	obj, err := p.reader.Get(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", name)
	if err != nil {
		return nil, err
	}
	if obj.GetLabels()[resourcev1.DRAAdminNamespaceLabelKey] == "true" {
		return nil, nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace",
		resourcev1.DRAAdminNamespaceLabelKey))}, nil
}

func (p rules) checkStatus(ctx context.Context, r *admission.Request, s, old *resourcev1.ResourceClaimStatus, at *field.Path) (field.ErrorList, error) {
	var errs field.ErrorList
	if i := grantsAdmin(s.Allocation); i >= 0 && grantsAdmin(old.Allocation) < 0 {
		refused, err := p.checkNamespace(ctx, r.Namespace, at.Child("allocation", "devices", "results").Index(i).Child("adminAccess"))
		if err != nil {
			return nil, err
		}
		errs = append(errs, refused...)
	}
	if !equality.Semantic.DeepEqual(s.Allocation, old.Allocation) || !equality.Semantic.DeepEqual(s.ReservedFor, old.ReservedFor) {
		refused, err := p.checkBinding(ctx, r, at.Child("allocation"))
		if err != nil {
			return nil, err
		}
		errs = append(errs, refused...)
	}
	if s.Allocation == nil { // what drivers said goes with the devices
		return errs, nil
	}
	refused, err := p.checkDrivers(ctx, r, s, old, at.Child("devices"))
	return append(errs, refused...), err
}

// grantsAdmin returns the first result that grants access to what others use,
// -1 for none.
func grantsAdmin(a *resourcev1.AllocationResult) int {
	if a == nil {
		return -1
	}
	return slices.IndexFunc(a.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return isTrue(r.AdminAccess) })
}

func (p rules) checkBinding(ctx context.Context, r *admission.Request, at *field.Path) (field.ErrorList, error) {
	a := p.attributes(r, resourcev1.SubresourceBinding)
	allowed, reason, err := p.ask(ctx, a)
	if err != nil || allowed {
		return nil, err
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf(
		`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="%s" permission: %s`, a.Verb, reason))}, nil
}

// checkDrivers: whoever changes what a driver says of its devices must be
// allowed to speak for it, anywhere or on the writer's node.
func (p rules) checkDrivers(ctx context.Context, r *admission.Request, s, old *resourcev1.ResourceClaimStatus, at *field.Path) (field.ErrorList, error) {
	var errs field.ErrorList
	for _, driver := range changedDrivers(s.Devices, old.Devices) {
		verb := p.attributes(r, "").Verb
		verbs := []string{resourcev1.VerbPrefixArbitraryNode + verb}
		if node := nodeOf(s.Allocation); node != "" && runsOn(r.User, node) {
			verbs = append([]string{resourcev1.VerbPrefixAssociatedNode + verb}, verbs...)
		}
		allowed, reason := false, ""
		for _, verb := range verbs {
			a := p.attributes(r, resourcev1.SubresourceDriver)
			a.Verb, a.Namespace, a.Name = verb, r.Namespace, driver
			ok, why, err := p.ask(ctx, a)
			if err != nil {
				return nil, err
			}
			if allowed = ok; allowed {
				break
			}
			reason = why
		}
		if !allowed {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf(
				`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: %s`, verbs, reason)))
		}
	}
	return errs, nil
}

// attributes are those of the write, for a subresource that there is only to be
// asked about.
func (p rules) attributes(r *admission.Request, subresource string) access.Attributes {
	verb := r.Verb
	if verb == "apply" {
		verb = "patch"
	}
	return access.Attributes{User: r.User, Verb: verb, Group: r.Kind.Group, Version: r.Kind.Version, Resource: r.Kind.Resource, Subresource: subresource}
}

func (p rules) ask(ctx context.Context, a access.Attributes) (allowed bool, reason string, err error) {
	d, err := p.authorizer.Authorize(ctx, a)
	if err != nil {
		return false, "", apierrors.NewInternalError(err)
	}
	if d.Allowed && !d.Denied {
		return true, "", nil
	}
	reason = fmt.Sprintf("User %q cannot %s resource \"%s/%s\" in API group %q", a.User.Name, a.Verb, a.Resource, a.Subresource, a.Group)
	if d.Reason != "" {
		reason += ": " + d.Reason
	}
	return false, reason, nil
}

// changedDrivers returns whose words about devices are not what they were, in
// order.
func changedDrivers(devices, before []resourcev1.AllocatedDeviceStatus) []string {
	same := func(a resourcev1.AllocatedDeviceStatus) func(resourcev1.AllocatedDeviceStatus) bool {
		return func(b resourcev1.AllocatedDeviceStatus) bool { return equality.Semantic.DeepEqual(a, b) }
	}
	var drivers []string
	for _, pair := range [][2][]resourcev1.AllocatedDeviceStatus{{devices, before}, {before, devices}} {
		for _, d := range pair[0] {
			if !slices.ContainsFunc(pair[1], same(d)) {
				drivers = append(drivers, d.Driver)
			}
		}
	}
	slices.Sort(drivers)
	return slices.Compact(drivers)
}

// nodeOf returns the one node on which an allocation can be used, "" if there
// are others.
func nodeOf(a *resourcev1.AllocationResult) string {
	if a == nil || a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return ""
	}
	term := a.NodeSelector.NodeSelectorTerms[0]
	if len(term.MatchExpressions) != 0 || len(term.MatchFields) != 1 {
		return ""
	}
	f := term.MatchFields[0]
	if f.Key != "metadata.name" || f.Operator != corev1.NodeSelectorOpIn || len(f.Values) != 1 {
		return ""
	}
	return f.Values[0]
}

// runsOn says whether a user is a service account whose pod is on a node.
func runsOn(user identity.Identity, node string) bool {
	nodes := user.Extra[nodeNameKey]
	return strings.HasPrefix(user.Name, "system:serviceaccount:") && len(nodes) == 1 && nodes[0] == node
}

func isTrue(b *bool) bool { return b != nil && *b }

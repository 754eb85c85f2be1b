package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	reviewv1 "k8s.io/api/admission/v1"
	reviewv1beta1 "k8s.io/api/admission/v1beta1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
	"navarch.dev/navarch/services/store/admission/subject"
)

// invocation is a request as a hook sees it: as one about kind, which may be
// another version of the resource than the request's.
type invocation struct {
	hook    *hook
	request *admission.Request
	kind    *kinds.Kind
	log     *slog.Logger
}

// objectKind returns the kind of what is written.
func (i *invocation) objectKind() schema.GroupVersionKind {
	return subject.ObjectKind(i.request, i.kind)
}

// view returns an object of the request as the hook sees it.
func (i *invocation) view(obj kinds.Object) (kinds.Object, error) {
	return subject.View(i.request, i.kind, obj)
}

// review is a question to a hook, with what its answer must have.
type review struct {
	body    []byte
	uid     types.UID
	version schema.GroupVersion
}

// ask makes the question of an invocation.
func (i *invocation) ask(uid types.UID) (*review, error) {
	version, err := reviewVersion(i.hook.spec.AdmissionReviewVersions)
	if err != nil {
		return nil, err
	}
	request, err := i.question(uid)
	if err != nil {
		return nil, err
	}
	// The versions differ in nothing but their name.
	body, err := json.Marshal(&reviewv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: version.String(), Kind: "AdmissionReview"}, Request: request,
	})
	return &review{body: body, uid: uid, version: version}, err
}

// reviewVersion returns the first version that both sides know.
func reviewVersion(accepted []string) (schema.GroupVersion, error) {
	for _, version := range accepted {
		for _, known := range []schema.GroupVersion{reviewv1.SchemeGroupVersion, reviewv1beta1.SchemeGroupVersion} {
			if version == known.Version {
				return known, nil
			}
		}
	}
	return schema.GroupVersion{}, errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}

func (i *invocation) question(uid types.UID) (*reviewv1.AdmissionRequest, error) {
	r := i.request
	q := &reviewv1.AdmissionRequest{
		UID: uid, Kind: metav1.GroupVersionKind(i.objectKind()), Resource: metav1.GroupVersionResource(i.kind.GVR()), SubResource: r.Subresource,
		RequestKind:     ptr.To(metav1.GroupVersionKind(subject.ObjectKind(r, r.Kind))),
		RequestResource: ptr.To(metav1.GroupVersionResource(r.Kind.GVR())), RequestSubResource: r.Subresource,
		Name: r.Name, Namespace: matching.NamespaceOf(r), Operation: reviewv1.Operation(r.Operation),
		UserInfo: userInfo(r.User), DryRun: ptr.To(r.DryRun), Options: runtime.RawExtension{Object: r.Options},
	}
	object, err := i.view(r.Object)
	if err != nil {
		return nil, err
	}
	old, err := i.view(r.Old)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Stream != nil:
		q.Object.Object = r.Stream
	case object != nil:
		q.Object.Object = object
	}
	if old != nil {
		q.OldObject.Object = old
	}
	return q, nil
}

func userInfo(id identity.Identity) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: id.Name, UID: id.UID, Groups: slices.Clone(id.Groups)}
	for key, values := range id.Extra {
		if info.Extra == nil {
			info.Extra = make(map[string]authenticationv1.ExtraValue)
		}
		info.Extra[key] = values
	}
	return info
}

// verdict returns a hook's answer to a question.
func (q *review) verdict(answer *reviewv1.AdmissionReview, mutates bool) (*reviewv1.AdmissionResponse, error) {
	response := answer.Response
	if response == nil {
		return nil, errors.New("webhook response was absent")
	}
	if response.UID != q.uid {
		return nil, fmt.Errorf("expected response.uid=%q, got %q", q.uid, response.UID)
	}
	if want, got := q.version.WithKind("AdmissionReview"), answer.GroupVersionKind(); got != want {
		return nil, fmt.Errorf("expected webhook response of %s, got %s", want, got)
	}
	if q.version == reviewv1beta1.SchemeGroupVersion {
		laxPatch(response, mutates)
		return response, nil
	}
	if mutates {
		return response, checkPatch(response)
	}
	switch {
	case len(response.Patch) > 0:
		return nil, errors.New("validating webhook may not return response.patch")
	case response.PatchType != nil:
		return nil, errors.New("validating webhook may not return response.patchType")
	}
	return response, nil
}

// laxPatch takes what v1beta1 allowed: a patch needs no type, and those of
// validating hooks mean nothing.
func laxPatch(response *reviewv1.AdmissionResponse, mutates bool) {
	if !mutates {
		response.Patch = nil
	}
	response.PatchType = ptr.To(reviewv1.PatchTypeJSONPatch)
}

func checkPatch(response *reviewv1.AdmissionResponse) error {
	switch {
	case len(response.Patch) > 0 && response.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(response.Patch) == 0 && response.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case response.PatchType != nil && *response.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *response.PatchType)
	}
	return nil
}

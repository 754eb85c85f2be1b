package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

// scalable is what a kind's scale subresource shows and sets.
type scalable struct {
	replicas int32
	status   int32
	selector string
	// set makes the object have a number of replicas.
	set func(replicas int32) error
}

func typedScale(spec **int32, status int32) scalable {
	s := scalable{status: status, set: func(replicas int32) error {
		*spec = &replicas
		return nil
	}}
	if *spec != nil {
		s.replicas = **spec
	}
	return s
}

// scalableOf returns the parts of an object that its scale is made of.
func scalableOf(kind *kinds.Kind, obj kinds.Object) (scalable, error) {
	var s scalable
	var selector *metav1.LabelSelector
	switch o := obj.(type) {
	case *appsv1.Deployment:
		s, selector = typedScale(&o.Spec.Replicas, o.Status.Replicas), o.Spec.Selector
	case *appsv1.ReplicaSet:
		s, selector = typedScale(&o.Spec.Replicas, o.Status.Replicas), o.Spec.Selector
	case *appsv1.StatefulSet:
		s, selector = typedScale(&o.Spec.Replicas, o.Status.Replicas), o.Spec.Selector
	case *corev1.ReplicationController:
		s = typedScale(&o.Spec.Replicas, o.Status.Replicas)
		s.selector = labels.Set(o.Spec.Selector).String()
		return s, nil
	case *unstructured.Unstructured:
		return customScale(kind, o)
	default:
		return s, fmt.Errorf("%T has no scale", obj)
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return s, fmt.Errorf("read the selector of %s: %w", obj.GetName(), err)
	}
	s.selector = parsed.String()
	return s, nil
}

// customScale is scalableOf for an object of a custom kind.
func customScale(kind *kinds.Kind, u *unstructured.Unstructured) (scalable, error) {
	paths := kind.Custom.Scale
	if paths == nil {
		return scalable{}, fmt.Errorf("%s has no scale", kind.Kind)
	}
	s := scalable{set: func(replicas int32) error {
		return unstructured.SetNestedField(u.Object, int64(replicas), pathNames(paths.SpecReplicasPath)...)
	}}
	for path, to := range map[string]*int32{paths.SpecReplicasPath: &s.replicas, paths.StatusReplicasPath: &s.status} {
		n, _, err := unstructured.NestedInt64(u.Object, pathNames(path)...)
		if err != nil {
			return s, apierrors.NewInternalError(fmt.Errorf("read %s of %s: %w", path, u.GetName(), err))
		}
		*to = int32(max(0, min(n, math.MaxInt32)))
	}
	if paths.LabelSelectorPath == nil || *paths.LabelSelectorPath == "" {
		return s, nil
	}
	var err error
	if s.selector, _, err = unstructured.NestedString(u.Object, pathNames(*paths.LabelSelectorPath)...); err != nil {
		return s, apierrors.NewInternalError(fmt.Errorf("read %s of %s: %w", *paths.LabelSelectorPath, u.GetName(), err))
	}
	return s, nil
}

// pathNames returns the names in a path such as ".spec.replicas".
func pathNames(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// ScaleOf returns the scale of an object of a kind.
func ScaleOf(kind *kinds.Kind, obj kinds.Object) (*autoscalingv1.Scale, error) {
	s, err := scalableOf(kind, obj)
	if err != nil {
		return nil, err
	}
	scale := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: s.replicas},
		Status: autoscalingv1.ScaleStatus{Replicas: s.status, Selector: s.selector},
	}
	return scale, nil
}

// scaleGVK is the form in which every kind's scale is shown.
func scaleGVK() schema.GroupVersionKind { return autoscalingv1.SchemeGroupVersion.WithKind("Scale") }

// UpdateScale sets an object's replicas from a scale.
func (r *Registry) UpdateScale(ctx context.Context, w Write, scale *autoscalingv1.Scale) (*cache.Version, error) {
	return r.changeScale(ctx, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		return r.tracker.trackScale(w, scale.DeepCopy(), cur)
	})
}

// PatchScale changes an object's scale by a patch.
func (r *Registry) PatchScale(ctx context.Context, w Write, opts PatchOptions) (v *cache.Version, warnings []string, err error) {
	if opts.Type == storev1.PatchType_PATCH_TYPE_APPLY {
		return r.applyScale(ctx, w, opts)
	}
	repeated, err := checkPatch(opts)
	if err != nil {
		return nil, nil, err
	}
	v, err = r.changeScale(ctx, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		before, err := json.Marshal(cur)
		if err != nil {
			return nil, fmt.Errorf("encode the scale of %s: %w", w.Name, err)
		}
		scale := &autoscalingv1.Scale{}
		if warnings, err = patchInto(before, opts, scale, scaleGVK()); err != nil {
			return nil, err
		}
		return r.tracker.trackScale(w, scale, cur)
	})
	return v, append(repeated, warnings...), err
}

func (r *Registry) applyScale(ctx context.Context, w Write, opts PatchOptions) (*cache.Version, []string, error) {
	patch, warnings, err := parseApplied(w, opts, scaleGVK())
	if err != nil {
		return nil, nil, err
	}
	if err := checkScale(patch); err != nil {
		return nil, nil, err
	}
	m, err := r.tracker.scaleManager()
	if err != nil {
		return nil, nil, err
	}
	v, err := r.changeScale(ctx, w, func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		return merge(m, w, cur, patch, opts.Force)
	})
	return v, warnings, err
}

// checkScale refuses fields that a scale does not have.
func checkScale(patch *unstructured.Unstructured) error {
	body, err := json.Marshal(patch.Object)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("the applied scale: %v", err))
	}
	_, err = codec.DecodeJSON(body, &autoscalingv1.Scale{}, scaleGVK(), storev1.FieldValidation_FIELD_VALIDATION_STRICT)
	return err
}

// trackScale records whose the replicas are that a write other than an apply
// changed.
func (t *tracker) trackScale(w Write, scale, cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	if len(cur.ManagedFields) == 0 && !w.FromUser {
		return scale, nil
	}
	m, err := t.scaleManager()
	if err != nil {
		return nil, err
	}
	scale.SetGroupVersionKind(scaleGVK())
	if tracked, ok := m.UpdateNoErrors(cur, scale, managerName(w)).(*autoscalingv1.Scale); ok {
		scale.ManagedFields = tracked.ManagedFields
	}
	return scale, nil
}

// changeScale changes an object by what compute makes of its present scale.
// The managed fields of the scale are those of the object that concern its
// replicas.
func (r *Registry) changeScale(ctx context.Context, w Write, compute func(cur *autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*cache.Version, error) {
	sent := w
	w.Subresource, w.applied, w.judged = "", true, true
	return r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		obj := cur.Object().DeepCopyObject().(kinds.Object)
		if len(obj.GetManagedFields()) == 0 && w.FromUser {
			if err := r.tracker.begin(w.Kind, obj); err != nil {
				return nil, err
			}
		}
		have, err := ScaleOf(w.Kind, obj)
		if err != nil {
			return nil, err
		}
		fields := scaleFields(w.Kind, obj)
		if have.ManagedFields, err = fields.ToSubresource(); err != nil {
			return nil, fmt.Errorf("read the managed fields of %s: %w", w.Name, err)
		}
		have.SetGroupVersionKind(scaleGVK())
		scale, err := compute(have)
		if err != nil {
			return nil, err
		}
		if err := placeNamed(sent, scale); err != nil {
			return nil, err
		}
		if scale, err = r.judgeScale(ctx, sent, scale, have); err != nil {
			return nil, err
		}
		return obj, setScale(w.Kind, obj, scale, fields)
	})
}

// scaleFields translates managed fields between an object and its scale.
func scaleFields(kind *kinds.Kind, obj kinds.Object) *managedfields.ScaleHandler {
	path := fieldpath.MakePathOrDie("spec", "replicas")
	if kind.Custom != nil && kind.Custom.Scale != nil {
		path = nil
		for _, name := range pathNames(kind.Custom.Scale.SpecReplicasPath) {
			path = append(path, fieldpath.PathElement{FieldName: &name})
		}
	}
	return managedfields.NewScaleHandler(obj.GetManagedFields(), kind.GVK().GroupVersion(), managedfields.ResourcePathMappings{
		kind.APIVersion(): path,
	})
}

// setScale makes an object what its scale says.
func setScale(kind *kinds.Kind, obj kinds.Object, scale *autoscalingv1.Scale, fields *managedfields.ScaleHandler) error {
	s, err := scalableOf(kind, obj)
	if err != nil {
		return err
	}
	if err := s.set(scale.Spec.Replicas); err != nil {
		return fmt.Errorf("set the replicas of %s: %w", obj.GetName(), err)
	}
	obj.SetResourceVersion(scale.ResourceVersion)
	if scale.UID != "" {
		obj.SetUID(scale.UID)
	}
	if len(scale.ManagedFields) == 0 && len(obj.GetManagedFields()) == 0 {
		return nil
	}
	managed, err := fields.ToParent(scale.ManagedFields)
	if err != nil {
		return fmt.Errorf("write the managed fields of %s: %w", obj.GetName(), err)
	}
	obj.SetManagedFields(managed)
	return nil
}

// judgeScale takes a scale through webhooks and policies, and checks it.
func (r *Registry) judgeScale(ctx context.Context, w Write, scale, old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	request := w.request(admission.Update, scale, old)
	request.ObjectKind, request.Options = scaleGVK(), w.updating()
	if err := r.made.Mutate(ctx, request); err != nil {
		return nil, err
	}
	scale = request.Object.(*autoscalingv1.Scale)
	if err := validateScale(w, scale); err != nil {
		return nil, err
	}
	return scale, r.made.Validate(ctx, request)
}

func validateScale(w Write, scale *autoscalingv1.Scale) error {
	if scale.Spec.Replicas >= 0 {
		return nil
	}
	return invalid(&kinds.Kind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, w.Name, field.ErrorList{
		field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0"),
	})
}

package store

import (
	"context"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/client"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

// createSubresource serves what is posted to a subresource.
func (s *Store) createSubresource(ctx context.Context, sc scope, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	if err := sc.named(); err != nil {
		return nil, err
	}
	switch sc.subresource {
	case "binding":
		return s.createBinding(ctx, sc, req)
	case "eviction":
		return s.createEviction(ctx, sc, req)
	case "token":
		return s.createToken(ctx, sc, req)
	}
	return nil, sc.only("create")
}

func (s *Store) createBinding(ctx context.Context, sc scope, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	binding := &corev1.Binding{}
	if _, err := codec.Decode(req.GetObject(), binding, corev1.SchemeGroupVersion.WithKind("Binding"), req.GetOptions().GetFieldValidation()); err != nil {
		return nil, err
	}
	if binding.Name != "" && binding.Name != sc.name {
		return nil, apierrors.NewBadRequest("the name of the binding does not match the pod's")
	}
	one := registry.Binding{Binding: &storev1.Binding{
		Namespace: sc.namespace, Name: sc.name, Uid: string(binding.UID), NodeName: binding.Target.Name, Trace: client.TraceOf(ctx),
	}}
	w := sc.write(req.GetOptions())
	if err := s.registry.Bind(ctx, w, []registry.Binding{one})[0]; err != nil {
		return nil, err
	}
	return s.success(w, req.GetOptions())
}

func (s *Store) createEviction(ctx context.Context, sc scope, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	eviction := &policyv1.Eviction{}
	if _, err := codec.Decode(req.GetObject(), eviction, policyv1.SchemeGroupVersion.WithKind("Eviction"), req.GetOptions().GetFieldValidation()); err != nil {
		return nil, err
	}
	if eviction.Name != "" && eviction.Name != sc.name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	w := sc.write(req.GetOptions())
	if err := s.registry.Evict(ctx, w, eviction); err != nil {
		return nil, err
	}
	return s.success(w, req.GetOptions())
}

func (s *Store) createToken(ctx context.Context, sc scope, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	if s.control.TokenIssuer == nil {
		return nil, apierrors.NewMethodNotSupported(sc.kind.GroupResource(), "create")
	}
	gvk := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	request := &authenticationv1.TokenRequest{}
	warnings, err := codec.Decode(req.GetObject(), request, gvk, req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	account, err := s.find(ctx, sc, "")
	if err != nil {
		return nil, err
	}
	w := sc.write(req.GetOptions())
	if request, err = s.registry.JudgeToken(ctx, w, request); err != nil {
		return nil, err
	}
	if s.control.Guard != nil {
		err := s.control.Guard.CheckWrite(ctx, access.Write{
			User: sc.user, Kind: sc.kind, Namespace: sc.namespace, Subresource: sc.subresource, Object: request,
		})
		if err != nil {
			return nil, err
		}
	}
	more, err := s.control.TokenIssuer.IssueToken(ctx, account.Object(), request)
	if err != nil {
		return nil, err
	}
	warnings = slices.Concat(warnings, w.Warnings.All(), more)
	obj, err := cache.EncodeUnstored(request, gvk, form(req.GetOptions()))
	return &storev1.CreateResponse{Object: obj, Warnings: warnings}, err
}

// review answers a kind that is evaluated and not stored.
func (s *Store) review(ctx context.Context, sc scope, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	if s.control.Reviewer == nil {
		return nil, apierrors.NewMethodNotSupported(sc.kind.GroupResource(), "create")
	}
	obj := sc.kind.New()
	warnings, err := codec.Decode(req.GetObject(), obj, sc.kind.GVK(), req.GetOptions().GetFieldValidation())
	if err != nil {
		return nil, err
	}
	registry.WipeNew(obj)
	obj.SetManagedFields(nil) // it is not stored
	if err := s.control.Reviewer.Review(ctx, sc.user, sc.kind, sc.namespace, obj); err != nil {
		return nil, err
	}
	answer, err := cache.EncodeUnstored(obj, sc.kind.GVK(), form(req.GetOptions()))
	return &storev1.CreateResponse{Object: answer, Warnings: warnings}, err
}

// success is the answer of what has no object to return.
func (s *Store) success(w registry.Write, opts *storev1.WriteOptions) (*storev1.CreateResponse, error) {
	status := &metav1.Status{Status: metav1.StatusSuccess, Code: 201}
	obj, err := cache.EncodeUnstored(status, schema.GroupVersionKind{Version: "v1", Kind: "Status"}, form(opts))
	return &storev1.CreateResponse{Object: obj, Warnings: w.Warnings.All()}, err
}

package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
)

// generatedAttempts is how many names are tried for one generateName.
const generatedAttempts = 8

// Create stores a new object, which it takes over, and returns what was
// stored.
func (r *Registry) Create(ctx context.Context, w Write, obj kinds.Object) (*cache.Version, error) {
	if err := placeNew(w, obj); err != nil {
		return nil, err
	}
	if obj.GetName() != "" || obj.GetGenerateName() == "" {
		return r.createNamed(ctx, w, obj, obj.GetName())
	}
	base := obj.GetGenerateName()
	for range generatedAttempts {
		v, err := r.createNamed(ctx, w, obj.DeepCopyObject().(kinds.Object), generateName(base))
		if !apierrors.IsAlreadyExists(err) {
			return v, err
		}
	}
	return nil, apierrors.NewGenerateNameConflict(w.Kind.GroupResource(), base, 1)
}

// createNamed is Create for an object whose name is settled, or will be name
// unless those who may change the object give it another one.
func (r *Registry) createNamed(ctx context.Context, w Write, obj kinds.Object, name string) (*cache.Version, error) {
	sent := obj.GetResourceVersion()
	obj, err := r.readyNew(ctx, &w, obj, name)
	switch {
	case err != nil:
		return nil, err
	case sent != "" && sent != "0" && !w.DryRun: // a dry run stores nothing that could have had another version
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	return r.storeNew(ctx, w, obj)
}

// readyNew returns what those make of a new object who may change it, with what
// every object has, if all rules allow that. Who changes it comes first, and sees
// what its creator sent and left to defaults, as in Kubernetes: not its uid and
// time, a name that was not given, or what its kind makes of these.
func (r *Registry) readyNew(ctx context.Context, w *Write, obj kinds.Object, name string) (kinds.Object, error) {
	w.Name = name
	WipeNew(obj)
	runDefault(w.Kind, obj)
	if err := r.tracker.trackNew(*w, obj); err != nil {
		return nil, err
	}
	request := w.request(admission.Create, obj, nil)
	request.Options, request.Name = w.creation(), obj.GetName()
	if err := r.admission.Mutate(ctx, request); err != nil {
		return nil, err
	}
	if err := takeNew(w, request, obj.GetManagedFields()); err != nil {
		return nil, err
	}
	obj = request.Object
	errs := append(validateMetadata(w.Kind, obj), runValidateCreate(w.Kind, obj)...)
	if err := invalid(w.Kind, w.Name, errs); err != nil {
		return nil, err
	}
	runCanonicalize(w.Kind, obj)
	tell(ctx, *w, obj, nil)
	if err := r.admission.Validate(ctx, request); err != nil {
		return nil, err
	}
	return obj, nil
}

// takeNew gives a new object, whom nobody changes any more, what only the Store and
// its kind give it. Webhooks and policies may have named it, but not placed it
// elsewhere, nor spoiled its managed fields, which were tracked before.
func takeNew(w *Write, request *admission.Request, tracked []metav1.ManagedFieldsEntry) error {
	obj := request.Object
	if request.Rounds.Changed() {
		soundManagedFields(*w, obj, tracked)
		if err := place(*w, obj); err != nil {
			return err
		}
	}
	if obj.GetName() == "" {
		obj.SetName(w.Name)
	}
	prepareNew(w.Kind, obj, time.Now())
	runPrepareForCreate(w.Kind, obj)
	w.Name = obj.GetName()
	runDefault(w.Kind, obj) // some depend on the name, or on what was prepared
	return nil
}

// claimAttempts is how often a new object that loses addresses or quota to
// others is tried again. Writers of one Store take turns, so that only those of
// other Stores are in the way.
const claimAttempts = 100

// storeNew commits a new object. What it costs of the namespace's quotas, and
// the addresses it needs if it is a Service, are taken in the same transaction.
func (r *Registry) storeNew(ctx context.Context, w Write, obj kinds.Object) (*cache.Version, error) {
	for range claimAttempts {
		charge, err := r.quotas.charge(ctx, w, obj, nil)
		if err != nil {
			return nil, err
		}
		v, err := r.storeCharged(ctx, w, obj, charge)
		if !errors.Is(err, errClaimLost) {
			return v, err
		}
	}
	return nil, apierrors.NewServerTimeout(w.Kind.GroupResource(), "create", 1)
}

// storeCharged is one try of storeNew.
func (r *Registry) storeCharged(ctx context.Context, w Write, obj kinds.Object, charge *charge) (*cache.Version, error) {
	defer charge.release()
	_, isService := obj.(*corev1.Service)
	if !isService && charge == nil {
		return r.commitNew(ctx, w, obj, nil, nil)
	}
	attempt := obj.DeepCopyObject().(kinds.Object)
	var claims []backend.Op
	if isService {
		var err error
		if claims, err = r.claims(ctx, w, attempt, nil); err != nil {
			return nil, err
		}
	}
	return r.commitNew(ctx, w, attempt, claims, charge)
}

// errClaimLost says that somebody else took an address or quota meanwhile.
var errClaimLost = errors.New("an address or quota was taken meanwhile")

func (r *Registry) commitNew(ctx context.Context, w Write, obj kinds.Object, claims []backend.Op, charge *charge) (*cache.Version, error) {
	kind := r.stored(w.Kind)
	draft, put, err := r.draftNew(ctx, w, obj)
	if err != nil {
		return nil, err
	}
	if w.DryRun {
		return r.dryCreate(ctx, w, draft, put.Key)
	}
	result, v, err := r.commit(ctx, kind, draft, charge, append([]backend.Op{put}, claims...)...)
	switch {
	case err != nil:
		return nil, err
	case result.Committed:
		return v.As(w.Kind)
	case result.Current[0] != nil:
		return nil, apierrors.NewAlreadyExists(w.Kind.GroupResource(), w.Name)
	}
	return nil, errClaimLost
}

// draftNew returns a new object as it is to be stored, and the operation that
// stores it where there is none.
func (r *Registry) draftNew(ctx context.Context, w Write, obj kinds.Object) (*cache.Draft, backend.Op, error) {
	kind := r.stored(w.Kind)
	key := r.Key(w.Kind, obj.GetNamespace(), obj.GetName())
	obj, err := r.toStored(w.Kind, obj)
	if err != nil {
		return nil, backend.Op{}, err
	}
	draft, err := cache.NewDraft(kind, key, obj, cache.Envelope{Trace: client.TraceOf(ctx), Writer: w.writer(time.Now())})
	if err != nil {
		return nil, backend.Op{}, err
	}
	return draft, backend.Op{Type: backend.Put, Key: key, Value: draft.Value(), TTL: r.ttl(kind)}, nil
}

func (r *Registry) dryCreate(ctx context.Context, w Write, draft *cache.Draft, key string) (*cache.Version, error) {
	have, err := r.read(ctx, w.Kind, key)
	if err != nil {
		return nil, err
	}
	if have != nil {
		return nil, apierrors.NewAlreadyExists(w.Kind.GroupResource(), w.Name)
	}
	return draft.Unstored(0).As(w.Kind)
}

// commit writes a draft, with what it costs, and hands it to the cache.
func (r *Registry) commit(ctx context.Context, kind *kinds.Kind, draft *cache.Draft, charge *charge, ops ...backend.Op) (backend.Result, *cache.Version, error) {
	c := r.Cache(kind)
	if err := r.remember(ctx, kind, c); err != nil {
		return backend.Result{}, nil, err
	}
	c.Expect(draft)
	defer c.Settle(draft)
	ops = append(ops, charge.operations()...)
	result, err := r.Backend.Commit(ctx, ops...)
	charge.settle(ctx, ops, result, err)
	if err != nil || !result.Committed {
		return result, nil, BackendError(err)
	}
	c.Wrote(result.Revision)
	if v := draft.At(result.Revision); v != nil {
		return result, v, nil
	}
	// An identical value of another writer was taken for this one.
	v, err := cache.Decode(kind, backend.KeyValue{Key: ops[0].Key, Value: draft.Value(), Revision: result.Revision})
	return result, v, err
}

// remember makes sure that the cache is there before an object is written:
// whoever writes may watch from the version that was written, also where
// nobody has read the kind before. Kinds that are not kept are left to those
// who read them; there are too many of their objects.
func (r *Registry) remember(ctx context.Context, kind *kinds.Kind, c *cache.Cache) error {
	if r.ttl(kind) > 0 {
		return nil
	}
	if err := c.Reach(ctx, 0); err != nil {
		return fmt.Errorf("begin to follow %s: %w", kind.Resource, err)
	}
	return nil
}

// toStored converts an object to the kind it is stored as.
func (r *Registry) toStored(kind *kinds.Kind, obj kinds.Object) (kinds.Object, error) {
	if kind.StoredAs == nil {
		return obj, nil
	}
	stored, err := kind.StoredAs.Encode(obj)
	if err != nil {
		return nil, fmt.Errorf("store %s %s: %w", kind.Kind, obj.GetName(), err)
	}
	return stored, nil
}

// ttl returns how long objects of a kind are kept; 0 is for ever.
func (r *Registry) ttl(kind *kinds.Kind) time.Duration {
	if kind.Group == "" && kind.Resource == "events" {
		return r.EventTTL
	}
	return 0
}

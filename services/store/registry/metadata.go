package registry

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corevalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/rule"
)

// maxGeneratedBase leaves room for the random suffix in a name of 63
// characters.
const (
	randomSuffix     = 5
	maxGeneratedBase = 63 - randomSuffix
)

// generateName returns a name that begins with base.
func generateName(base string) string {
	if len(base) > maxGeneratedBase {
		base = base[:maxGeneratedBase]
	}
	return base + utilrand.String(randomSuffix)
}

// WipeNew drops metadata that nobody may choose for a new object.
func WipeNew(obj kinds.Object) {
	obj.SetUID("")
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

// prepareNew sets the metadata that is the Store's on a new object.
func prepareNew(kind *kinds.Kind, obj kinds.Object, now time.Time) {
	WipeNew(obj)
	obj.SetUID(types.UID(uuid.NewString()))
	obj.SetCreationTimestamp(metav1.NewTime(now.Truncate(time.Second)))
	obj.SetGeneration(0)
	if kind.Strategy.SpecChanged != nil {
		obj.SetGeneration(1)
	}
}

// placeNew checks the namespace and the name that a creator sent and fills the
// namespace in.
func placeNew(w Write, obj kinds.Object) error {
	if w.Name == "" {
		return place(w, obj)
	}
	return placeNamed(w, obj)
}

// placeNamed is placeNew for an object whose name the request has.
func placeNamed(w Write, obj kinds.Object) error {
	if err := place(w, obj); err != nil {
		return err
	}
	return checkName(obj, w.Name)
}

// checkName checks an object's name against the request's.
func checkName(obj kinds.Object, name string) error {
	switch obj.GetName() {
	case name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", name))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), name))
}

// place checks an object's namespace against the request's.
func place(w Write, obj kinds.Object) error {
	if !w.Kind.Namespaced {
		obj.SetNamespace("")
		return nil
	}
	switch {
	case w.Namespace == "":
		return apierrors.NewBadRequest("an empty namespace may not be set during creation")
	case obj.GetNamespace() == "":
		obj.SetNamespace(w.Namespace)
	case obj.GetNamespace() != w.Namespace:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// prepareChanged checks the metadata of a changed object against the stored
// one and restores what is the Store's.
func prepareChanged(w Write, obj, old kinds.Object) error {
	if err := placeNamed(w, obj); err != nil {
		return err
	}
	name := w.Name
	switch rv := obj.GetResourceVersion(); {
	case obj.GetUID() != "" && obj.GetUID() != old.GetUID():
		return otherUID(w, obj.GetUID(), old.GetUID())
	case rv == "" && conditionalOnly(w.Kind):
		return apierrors.NewInvalid(w.Kind.GVK().GroupKind(), name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), uint64(0), "must be specified for an update"),
		})
	case rv != "" && rv != "0" && rv != old.GetResourceVersion():
		return conflict(w.Kind, name)
	}
	restoreSystemMetadata(obj, old)
	return nil
}

// otherUID is the error of a write that means an object of another uid than the
// stored one, or one where there is none.
func otherUID(w Write, meant, stored types.UID) error {
	return apierrors.NewConflict(w.Kind.GroupResource(), w.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", meant, stored))
}

// restoreSystemMetadata keeps what only the Store sets. What a writer changed
// rather than left out is left for validation to refuse.
func restoreSystemMetadata(obj, old kinds.Object) {
	obj.SetUID(old.GetUID())
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	if old.GetDeletionTimestamp() != nil {
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
}

// conditionalOnly says whether a kind's updates must name a resourceVersion:
// those kinds that several writers compete for, where a blind write is a bug.
func conditionalOnly(kind *kinds.Kind) bool {
	if kind.Custom != nil {
		return true
	}
	switch kind.Group + "/" + kind.Resource {
	case "admissionregistration.k8s.io/mutatingadmissionpolicies",
		"admissionregistration.k8s.io/mutatingadmissionpolicybindings",
		"admissionregistration.k8s.io/mutatingwebhookconfigurations",
		"admissionregistration.k8s.io/validatingadmissionpolicies",
		"admissionregistration.k8s.io/validatingadmissionpolicybindings",
		"admissionregistration.k8s.io/validatingwebhookconfigurations",
		"certificates.k8s.io/clustertrustbundles",
		"certificates.k8s.io/podcertificaterequests",
		"coordination.k8s.io/leases",
		"policy/poddisruptionbudgets",
		"apiextensions.k8s.io/customresourcedefinitions",
		"node.k8s.io/runtimeclasses",
		"storage.k8s.io/csidrivers",
		"storage.k8s.io/csinodes",
		"storage.k8s.io/csistoragecapacities",
		"storage.k8s.io/volumeattachments",
		"storagemigration.k8s.io/storageversionmigrations":
		return true
	}
	return false
}

// validateMetadata returns the metadata rules that a new object breaks.
func validateMetadata(kind *kinds.Kind, obj kinds.Object) field.ErrorList {
	at := field.NewPath("metadata")
	errs := corevalidation.ValidateObjectMetaAccessor(obj, kind.Namespaced, kind.NameRule, at)
	return append(errs, validateFinalizers(kind, obj, at)...)
}

// validateMetadataUpdate returns the metadata rules that a change breaks.
func validateMetadataUpdate(kind *kinds.Kind, obj, old kinds.Object) field.ErrorList {
	at := field.NewPath("metadata")
	names := kind.NameRule
	if kind.NamedOnce {
		names = kinds.PathSegment
	}
	errs := corevalidation.ValidateObjectMetaAccessor(obj, kind.Namespaced, names, at)
	errs = append(errs, rule.Unchanged(validateFinalizers(kind, obj, at), validateFinalizers(kind, old, at))...)
	return append(errs, corevalidation.ValidateObjectMetaAccessorUpdate(obj, old, at)...)
}

// validateFinalizers returns the finalizers of an object that are not named after
// whoever removes them, which Kubernetes wants of those kinds that its API server
// does not define beside others.
func validateFinalizers(kind *kinds.Kind, obj kinds.Object, at *field.Path) field.ErrorList {
	switch {
	case kind.Custom != nil:
		return nil
	case slices.Contains([]string{"admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "coordination.k8s.io", "node.k8s.io", "policy"}, kind.Group):
		return nil
	case kind.Group == "" && kind.Resource == "events":
		return nil
	}
	return kinds.ValidateFinalizers(obj.GetFinalizers(), at.Child("finalizers"))
}

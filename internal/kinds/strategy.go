package kinds

import (
	"context"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Strategy is a kind's own behaviour on writes. Every field may be nil. What
// holds for all kinds (metadata, resourceVersion, uid, generation, deletion)
// is the Store's and not repeated here.
//
// The Store calls, on create: Default, after those who may change the object
// PrepareForCreate and Default again, Validate, ValidateCreate; on update:
// PrepareForUpdate, Default, Validate, ValidateUpdate, and at the end of both
// Canonicalize; on a write to the status subresource:
// PrepareForStatusUpdate, Default, ValidateStatusUpdate; on a write to one of
// Parts: its Prepare, Default, Validate, its Validate.
type Strategy struct {
	// PrepareForCreate drops what a creator may not set (usually the status), and
	// sets what follows from the rest, such as from the uid.
	PrepareForCreate func(obj Object)
	// PrepareForUpdate restores what a plain update may not change (usually
	// the status) from the stored object.
	PrepareForUpdate func(obj, old Object)
	// PrepareForStatusUpdate restores what a status update may not change
	// (usually the spec and most metadata) from the stored object.
	PrepareForStatusUpdate func(obj, old Object)
	// Default fills what the user left out. It must be idempotent.
	Default func(obj Object)
	// Validate returns every rule that obj breaks.
	Validate func(obj Object) field.ErrorList
	// ValidateCreate returns the rules that hold for new objects only.
	ValidateCreate func(obj Object) field.ErrorList
	// ValidateUpdate returns the rules that the change breaks: immutable
	// fields and the like.
	ValidateUpdate func(obj, old Object) field.ErrorList
	// ValidateStatusUpdate is ValidateUpdate for the status subresource.
	ValidateStatusUpdate func(obj, old Object) field.ErrorList
	// Parts are the subresources, other than status, that write a part of the
	// object, by name.
	Parts map[string]Part
	// SpecChanged says whether metadata.generation must rise. Nil means that
	// the kind has no generation.
	SpecChanged func(obj, old Object) bool
	// Canonicalize gives an object that follows all rules the form in which it is
	// stored. Fields that it takes away are still their writers'.
	Canonicalize func(obj Object)
	// Warnings returns what a user should be told about an accepted object.
	Warnings func(ctx context.Context, obj Object) []string
	// UpdateWarnings is Warnings for updates of kinds of which it depends on the
	// change what is told.
	UpdateWarnings func(obj, old Object) []string
	// StatusWarnings is Warnings for writes of the status.
	StatusWarnings func(obj Object) []string
	// MarkDeleted notes on an object whose deletion is asked for, for the first
	// time, what that brings about beside the marks that all kinds have.
	MarkDeleted func(obj Object)
	// GracePeriod returns the seconds an object lingers on deletion when the
	// request does not say. Where it or its result is nil the object goes at once,
	// whatever the request says.
	GracePeriod func(obj Object) *int64
}

// Part is how a subresource writes a part of its object.
type Part struct {
	// Prepare restores everything but the part from the stored object.
	Prepare func(obj, old Object)
	// Validate returns the rules that the change breaks; it may be nil.
	Validate func(obj, old Object) field.ErrorList
}

package kinds

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
)

const (
	maxParameters      = 512
	maxParametersBytes = 256 * 1024
)

func validateReclaim(p corev1.PersistentVolumeReclaimPolicy, at *field.Path) field.ErrorList {
	if p == "" {
		return nil
	}
	return rule.Supported(p, at, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
}

// validateParameters: what is handed to a driver is the driver's to judge, as
// long as there is not too much of it.
func validateParameters(parameters map[string]string, none bool, at *field.Path) field.ErrorList {
	if len(parameters) > maxParameters {
		return field.ErrorList{field.TooLong(at, "", maxParameters)}
	}
	var errs field.ErrorList
	size := 0
	for key, value := range parameters {
		if key == "" {
			errs = append(errs, field.Invalid(at, key, "field can not be empty."))
		}
		size += len(key) + len(value)
	}
	if size > maxParametersBytes {
		errs = append(errs, field.TooLong(at, "", maxParametersBytes))
	}
	if !none && len(parameters) == 0 {
		errs = append(errs, field.Required(at, "must contain at least one key/value pair"))
	}
	return errs
}

// validateTopologies: terms are alternatives, so that none may come twice, and one
// that asks for nothing is refused in the same words.
func validateTopologies(terms []corev1.TopologySelectorTerm, at *field.Path) field.ErrorList {
	var before []map[string]map[string]bool
	return rule.Each(terms, at, func(term *corev1.TopologySelectorTerm, at *field.Path) field.ErrorList {
		keys, raw := rule.Seen[string]{}, map[string]map[string]bool{}
		errs := rule.Each(term.MatchLabelExpressions, at.Child("matchLabelExpressions"), func(r *corev1.TopologySelectorLabelRequirement, at *field.Path) field.ErrorList {
			var errs field.ErrorList
			values, seen := map[string]bool{}, rule.Seen[string]{}
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), ""))
			}
			errs = append(errs, rule.Each(r.Values, at.Child("values"), func(value *string, at *field.Path) field.ErrorList {
				values[*value] = true
				return seen.Once(*value, at)
			})...)
			raw[r.Key] = values
			return rule.Join(errs, metavalidation.ValidateLabelName(r.Key, at.Child("key")), keys.Once(r.Key, at.Child("key")))
		})
		if len(term.MatchLabelExpressions) == 0 {
			errs = append(errs, field.Duplicate(at.Child("matchLabelExpressions"), ""))
		}
		for _, other := range before {
			if equality.Semantic.DeepEqual(other, raw) {
				errs = append(errs, field.Duplicate(at.Child("matchLabelExpressions"), ""))
			}
		}
		before = append(before, raw)
		return errs
	})
}

func validateAttachmentSource(s *storagev1.VolumeAttachmentSource, at *field.Path) field.ErrorList {
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	name := at.Child("persistentVolumeName")
	errs := rule.Optional(s.PersistentVolumeName, name, validSubdomain)
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		errs = append(errs, field.Required(at, one))
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		errs = append(errs, field.Forbidden(at, one))
	case s.InlineVolumeSpec != nil:
		errs = append(errs, validateInlineVolume(s.InlineVolumeSpec, at.Child("inlineVolumeSpec"))...)
	case *s.PersistentVolumeName == "":
		errs = append(errs, field.Required(name, "must specify non empty persistentVolumeName"))
	}
	return errs
}

func validSubdomain(name string, at *field.Path) field.ErrorList {
	return rule.Form(name, at, validation.IsDNS1123Subdomain)
}

// How much a driver may say of an attachment.
const (
	maxAttachmentMetadata = 256 * 1024
	maxVolumeErrorMessage = 1024
)

func validateAttachmentStatus(s *storagev1.VolumeAttachmentStatus, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range s.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxAttachmentMetadata {
		errs = append(errs, field.TooLong(at.Child("attachmentMetadata"), "", maxAttachmentMetadata))
	}
	return rule.Join(errs, validateVolumeError(s.AttachError, at.Child("attachError")), validateVolumeError(s.DetachError, at.Child("detachError")))
}

func validateVolumeError(e *storagev1.VolumeError, at *field.Path) field.ErrorList {
	if e == nil {
		return nil
	}
	var errs field.ErrorList
	if len(e.Message) > maxVolumeErrorMessage {
		errs = append(errs, field.TooLong(at.Child("message"), "", maxVolumeErrorMessage))
	}
	if e.ErrorCode != nil {
		errs = append(errs, rule.Between(*e.ErrorCode, 0, math.MaxInt32, at.Child("errorCode"))...)
	}
	return errs
}

// shortestAllocatablePeriod is in seconds.
const shortestAllocatablePeriod = 10

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	s := &d.Spec
	var errs field.ErrorList
	if p := s.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < shortestAllocatablePeriod {
		errs = append(errs, field.Invalid(specPath("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds"))
	}
	if s.ServiceAccountTokenInSecrets != nil && len(s.TokenRequests) == 0 {
		errs = append(errs, field.Invalid(specPath("serviceAccountTokenInSecrets"), *s.ServiceAccountTokenInSecrets,
			"serviceAccountTokenInSecrets is set but no tokenRequests are specified"))
	}
	audiences := rule.Seen[string]{}
	return rule.Join(errs,
		rule.OptionalOf(s.FSGroupPolicy, specPath("fsGroupPolicy"), storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy),
		rule.Each(s.TokenRequests, specPath("tokenRequests"), func(r *storagev1.TokenRequest, at *field.Path) field.ErrorList {
			errs := audiences.Once(r.Audience, at.Child("audience"))
			switch seconds, at := r.ExpirationSeconds, at.Child("expirationSeconds"); {
			case seconds == nil:
			case *seconds < 10*60:
				errs = append(errs, field.Invalid(at, *seconds, "may not specify a duration less than 10 minutes"))
			case *seconds > 1<<32:
				errs = append(errs, field.Invalid(at, *seconds, "may not specify a duration larger than 2^32 seconds"))
			}
			return errs
		}),
		rule.Each(s.VolumeLifecycleModes, specPath("volumeLifecycleModes"), func(m *storagev1.VolumeLifecycleMode, _ *field.Path) field.ErrorList {
			if *m == storagev1.VolumeLifecyclePersistent || *m == storagev1.VolumeLifecycleEphemeral {
				return nil
			}
			return field.ErrorList{field.NotSupported(specPath("volumeLifecycleModes"), *m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral})}
		}))
}

// validateCSIDriverUpdate: how a driver's volumes are attached cannot change
// under them.
func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	return rule.Join(
		rule.Immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, specPath("attachedRequired")),
		rule.Immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, specPath("volumeLifecycleModes")),
	)
}

// warnOfTokens tells of tokens that are handed to a driver where others can read
// them, to who first asks for tokens or asks for others.
func warnOfTokens(d, old *storagev1.CSIDriver) []string {
	asked := d.Spec.TokenRequests
	if len(asked) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil || old != nil && equality.Semantic.DeepEqual(asked, old.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

func csiNodeStrategy() Strategy {
	return statusOnly(
		func(n *storagev1.CSINode) *storagev1.CSINodeSpec { return &n.Spec },
		func(n *storagev1.CSINode) *storagev1.CSINodeStatus { return &n.Status },
		rules[*storagev1.CSINode]{
			statusUpdate: func(n, old *storagev1.CSINode) { n.Annotations = old.Annotations },
			canonicalize: func(n *storagev1.CSINode) {
				noneIfEmpty(&n.Spec.Drivers)
				for i := range n.Spec.Drivers {
					noneIfEmpty(&n.Spec.Drivers[i].TopologyKeys)
				}
			},
			validate: func(n *storagev1.CSINode) field.ErrorList {
				names := rule.Seen[string]{}
				return rule.Each(n.Spec.Drivers, specPath("drivers"), func(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
					return rule.Join(validateNodeDriver(d, at), names.Once(d.Name, at.Child("name")))
				})
			},
			validateUpdate: validateCSINodeUpdate,
		})
}

// longestNodeID is more than the 192 of older versions of the CSI specification.
const longestNodeID = 256

func validateNodeDriver(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
	errs := rule.Join(volumespec.ValidateDriverName(d.Name, at.Child("name")), rule.Needs(at, "nodeID", d.NodeID))
	if len(d.NodeID) > longestNodeID {
		errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", longestNodeID)))
	}
	if d.Allocatable != nil {
		errs = append(errs, rule.NonNegative(d.Allocatable.Count, at.Child("allocatable", "count"))...)
	}
	// Keys are reported at their driver.
	keys := rule.Seen[string]{}
	for _, key := range d.TopologyKeys {
		errs = rule.Join(errs, rule.Required(key, at), keys.Once(key, at), rule.Qualified(key, at))
	}
	return errs
}

// validateCSINodeUpdate: drivers come and go, but do not change.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	return rule.Each(n.Spec.Drivers, specPath("drivers"), func(d *storagev1.CSINodeDriver, _ *field.Path) field.ErrorList {
		for i := range old.Spec.Drivers {
			was := old.Spec.Drivers[i].DeepCopy()
			if was.Name != d.Name {
				continue
			}
			// How many volumes a node takes may be found out later.
			was.Allocatable = d.Allocatable
			return rule.Immutable(*d, *was, specPath("drivers"))
		}
		return nil
	})
}

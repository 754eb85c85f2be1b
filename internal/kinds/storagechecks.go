package kinds

import (
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

// validateTopologies: terms are alternatives, so that none may come twice.
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
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		return field.ErrorList{field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")}
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		return field.ErrorList{field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")}
	case s.PersistentVolumeName != nil:
		return rule.Given(*s.PersistentVolumeName, at.Child("persistentVolumeName"), validation.IsDNS1123Subdomain)
	}
	return nil
}

func validateCSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	s := &d.Spec
	errs := volumespec.ValidateDriverName(d.Name, field.NewPath("name"))
	for _, needed := range []rule.Flag{
		rule.Set("attachRequired", s.AttachRequired != nil), rule.Set("podInfoOnMount", s.PodInfoOnMount != nil),
		rule.Set("storageCapacity", s.StorageCapacity != nil), rule.Set("seLinuxMount", s.SELinuxMount != nil),
	} {
		if !needed.Set {
			errs = append(errs, field.Required(specPath(needed.Field), ""))
		}
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
			return rule.Supported(*m, specPath("volumeLifecycleModes"), storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)
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

func csiNodeStrategy() Strategy {
	return plain(rules[*storagev1.CSINode]{
		validate: func(n *storagev1.CSINode) field.ErrorList {
			names := rule.Seen[string]{}
			return rule.Each(n.Spec.Drivers, specPath("drivers"), func(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
				return rule.Join(validateNodeDriver(d, at), names.Once(d.Name, at.Child("name")))
			})
		},
		validateUpdate: validateCSINodeUpdate,
	})
}

// longestNodeID is what the CSI specification allows.
const longestNodeID = 192

func validateNodeDriver(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
	errs := rule.Join(volumespec.ValidateDriverName(d.Name, at.Child("name")), rule.Needs(at, "nodeID", d.NodeID))
	if len(d.NodeID) > longestNodeID {
		errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, "must be 192 characters or less"))
	}
	if d.Allocatable != nil {
		errs = append(errs, rule.NonNegative(d.Allocatable.Count, at.Child("allocatable", "count"))...)
	}
	keys := rule.Seen[string]{}
	return append(errs, rule.Each(d.TopologyKeys, at.Child("topologyKeys"), func(key *string, at *field.Path) field.ErrorList {
		if *key == "" {
			return field.ErrorList{field.Required(at, "")}
		}
		return rule.Join(keys.Once(*key, at), rule.Qualified(*key, at))
	})...)
}

// validateCSINodeUpdate: drivers come and go, but do not change.
func validateCSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	return rule.Each(n.Spec.Drivers, specPath("drivers"), func(d *storagev1.CSINodeDriver, at *field.Path) field.ErrorList {
		for i := range old.Spec.Drivers {
			was := old.Spec.Drivers[i].DeepCopy()
			if was.Name != d.Name {
				continue
			}
			// How many volumes a node takes may be found out later.
			was.Allocatable = d.Allocatable
			return rule.Immutable(*d, *was, at.Child("drivers"))
		}
		return nil
	})
}

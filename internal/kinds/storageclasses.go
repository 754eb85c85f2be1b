package kinds

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
)

func storageClassColumns() []Column {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return []Column{
		named(text("Name", metaDoc("name"), func(s *storagev1.StorageClass) string {
			if s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || s.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
				return s.Name + " (default)"
			}
			return s.Name
		})),
		text("Provisioner", doc["provisioner"], func(s *storagev1.StorageClass) string { return s.Provisioner }),
		text("ReclaimPolicy", doc["reclaimPolicy"], func(s *storagev1.StorageClass) string {
			return string(pointerOr(s.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete))
		}),
		text("VolumeBindingMode", doc["volumeBindingMode"], func(s *storagev1.StorageClass) string {
			return string(pointerOr(s.VolumeBindingMode, "<unset>"))
		}),
		declared("string", truth("AllowVolumeExpansion", doc["allowVolumeExpansion"], func(s *storagev1.StorageClass) bool {
			return deref(s.AllowVolumeExpansion)
		})),
		ageColumn(),
	}
}

func storageClassStrategy() Strategy {
	return plain(rules[*storagev1.StorageClass]{
		defaults: func(s *storagev1.StorageClass) {
			setPointer(&s.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
			setPointer(&s.VolumeBindingMode, storagev1.VolumeBindingImmediate)
		},
		validate: func(s *storagev1.StorageClass) field.ErrorList {
			return rule.Join(
				validProvisioner(s.Provisioner, field.NewPath("provisioner")),
				validateParameters(s.Parameters, true, field.NewPath("parameters")),
				rule.Optional(s.ReclaimPolicy, field.NewPath("reclaimPolicy"), validateReclaim),
				rule.Supported(deref(s.VolumeBindingMode), field.NewPath("volumeBindingMode"), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer),
				validateTopologies(s.AllowedTopologies, field.NewPath("allowedTopologies")),
			)
		},
		validateUpdate: func(s, old *storagev1.StorageClass) field.ErrorList {
			return rule.Join(
				rule.Frozen(s.Parameters, old.Parameters, field.NewPath("parameters")),
				rule.Frozen(s.Provisioner, old.Provisioner, field.NewPath("provisioner")),
				rule.Frozen(s.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy")),
				rule.Frozen(s.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode")))
		},
		warnings: func(s *storagev1.StorageClass) []string {
			return deprecatedInTopologies(s.AllowedTopologies, field.NewPath("allowedTopologies"))
		},
	})
}

// deprecatedInTopologies and deprecatedInSelector warn of old labels of nodes.
func deprecatedInTopologies(terms []corev1.TopologySelectorTerm, at *field.Path) (out []string) {
	for i := range terms {
		for j := range terms[i].MatchLabelExpressions {
			if message, ok := podspec.DeprecatedNodeLabel(terms[i].MatchLabelExpressions[j].Key); ok {
				out = append(out, fmt.Sprintf("%s: %s", at.Index(i).Child("matchLabelExpressions").Index(j).Child("key"), message))
			}
		}
	}
	return out
}

func deprecatedInSelector(s *metav1.LabelSelector, at *field.Path) (out []string) {
	if s == nil {
		return nil
	}
	for i := range s.MatchExpressions {
		key := s.MatchExpressions[i].Key
		if message, ok := podspec.DeprecatedNodeLabel(key); ok {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("matchExpressions").Index(i).Child("key"), key, message))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		if message, ok := podspec.DeprecatedNodeLabel(key); ok {
			out = append(out, fmt.Sprintf("%s: %s", at.Child("matchLabels").Child(key), message))
		}
	}
	return out
}

func forbidChange(value, old any, path *field.Path) field.ErrorList {
	if len(rule.Immutable(value, old, path)) == 0 {
		return nil
	}
	return field.ErrorList{field.Forbidden(path, "updates to "+path.String()+" are forbidden.")}
}

func validProvisioner(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	name = strings.ToLower(name)
	return rule.Invalids(path, name, validation.IsQualifiedName(name))
}

func volumeAttachmentColumns() []Column {
	doc := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	return columns(
		named(text("Attacher", doc["attacher"], func(a *storagev1.VolumeAttachment) string { return a.Spec.Attacher })),
		text("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"], func(a *storagev1.VolumeAttachment) string {
			return deref(a.Spec.Source.PersistentVolumeName)
		}),
		text("Node", doc["nodeName"], func(a *storagev1.VolumeAttachment) string { return a.Spec.NodeName }),
		truth("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"], func(a *storagev1.VolumeAttachment) bool { return a.Status.Attached }),
		ageColumn(),
	)
}

func volumeAttachmentStrategy() Strategy {
	return statusOnly(
		func(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentSpec { return &a.Spec },
		func(a *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &a.Status },
		rules[*storagev1.VolumeAttachment]{
			validate: func(a *storagev1.VolumeAttachment) field.ErrorList {
				return rule.Join(
					volumespec.ValidateDriverName(a.Spec.Attacher, specPath("attacher")),
					rule.Form(a.Spec.NodeName, specPath("nodeName"), validation.IsDNS1123Subdomain),
					validateAttachmentSource(&a.Spec.Source, specPath("source")),
				)
			},
			statusUpdate: func(a, old *storagev1.VolumeAttachment) { a.Annotations = old.Annotations },
			validateStatus: func(a, _ *storagev1.VolumeAttachment) field.ErrorList {
				return validateAttachmentStatus(&a.Status, field.NewPath("status"))
			},
			validateUpdate: func(a, old *storagev1.VolumeAttachment) field.ErrorList {
				return rule.Frozen(a.Spec, old.Spec, specPath())
			},
		})
}

func csiDriverColumns() []Column {
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	flag := func(name, field string, value func(*storagev1.CSIDriverSpec) *bool) Column {
		return Column{Name: name, Type: "boolean", Description: doc[field], Value: func(o Object) any { return deref(value(&o.(*storagev1.CSIDriver).Spec)) }}
	}
	return columns(
		flag("AttachRequired", "attachRequired", func(s *storagev1.CSIDriverSpec) *bool { return s.AttachRequired }),
		flag("PodInfoOnMount", "podInfoOnMount", func(s *storagev1.CSIDriverSpec) *bool { return s.PodInfoOnMount }),
		flag("StorageCapacity", "storageCapacity", func(s *storagev1.CSIDriverSpec) *bool { return s.StorageCapacity }),
		text("TokenRequests", doc["tokenRequests"], func(d *storagev1.CSIDriver) string {
			var audiences []string
			for _, t := range d.Spec.TokenRequests {
				audiences = append(audiences, t.Audience)
			}
			if len(audiences) == 0 {
				return "<unset>"
			}
			return strings.Join(audiences, ",")
		}),
		flag("RequiresRepublish", "requiresRepublish", func(s *storagev1.CSIDriverSpec) *bool { return s.RequiresRepublish }),
		text("Modes", doc["volumeLifecycleModes"], func(d *storagev1.CSIDriver) string {
			var modes []string
			for _, m := range d.Spec.VolumeLifecycleModes {
				modes = append(modes, string(m))
			}
			return orNone(strings.Join(modes, ","))
		}),
		ageColumn(),
	)
}

func csiDriverStrategy() Strategy {
	spec := func(d *storagev1.CSIDriver) *storagev1.CSIDriverSpec { return &d.Spec }
	s := specOnly(spec, rules[*storagev1.CSIDriver]{create: uncounted, validate: validateCSIDriver, validateUpdate: validateCSIDriverUpdate, defaults: func(d *storagev1.CSIDriver) {
		setPointer(&d.Spec.AttachRequired, true)
		setPointer(&d.Spec.PodInfoOnMount, false)
		setPointer(&d.Spec.StorageCapacity, false)
		setPointer(&d.Spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
		setPointer(&d.Spec.RequiresRepublish, false)
		setPointer(&d.Spec.SELinuxMount, false)
		setPointer(&d.Spec.PreventPodSchedulingIfMissing, false)
		if len(d.Spec.VolumeLifecycleModes) == 0 {
			d.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
		}
	}})
	s.Warnings = warn(func(d *storagev1.CSIDriver) []string { return warnOfTokens(d, nil) })
	s.UpdateWarnings = func(obj, old Object) []string {
		return warnOfTokens(obj.(*storagev1.CSIDriver), old.(*storagev1.CSIDriver))
	}
	return s
}

// uncounted: a driver's generation is the number of changes of its spec.
func uncounted(d *storagev1.CSIDriver) { d.Generation = 0 }

func csiNodeColumns() []Column {
	return columns(
		number("Drivers", storagev1.CSINodeSpec{}.SwaggerDoc()["drivers"], func(n *storagev1.CSINode) int64 { return int64(len(n.Spec.Drivers)) }),
		ageColumn(),
	)
}

func csiCapacityStrategy() Strategy {
	return plain(rules[*storagev1.CSIStorageCapacity]{
		validate: func(c *storagev1.CSIStorageCapacity) field.ErrorList {
			name := field.NewPath("storageClassName")
			errs := rule.Form(c.StorageClassName, name, validation.IsDNS1123Subdomain)
			if c.Capacity != nil && c.Capacity.Sign() < 0 {
				errs = append(errs, field.Invalid(field.NewPath("capacity"), c.Capacity.String(), apivalidation.IsNegativeErrorMsg))
			}
			return append(errs, rule.Selector(c.NodeTopology, field.NewPath("nodeTopology"))...)
		},
		validateUpdate: func(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
			return rule.Join(rule.Immutable(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName")),
				rule.Immutable(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology")))
		},
		warnings: func(c *storagev1.CSIStorageCapacity) []string {
			return deprecatedInSelector(c.NodeTopology, field.NewPath("nodeTopology"))
		},
	})
}

func attributesClassColumns() []Column {
	return columns(
		text("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"], func(c *storagev1.VolumeAttributesClass) string { return c.DriverName }),
		ageColumn(),
	)
}

func attributesClassStrategy() Strategy {
	return plain(rules[*storagev1.VolumeAttributesClass]{
		validate: func(c *storagev1.VolumeAttributesClass) field.ErrorList {
			return rule.Join(validProvisioner(c.DriverName, field.NewPath("driverName")), validateParameters(c.Parameters, false, field.NewPath("parameters")))
		},
		validateUpdate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
			return rule.Join(forbidChange(c.DriverName, old.DriverName, field.NewPath("driverName")),
				forbidChange(c.Parameters, old.Parameters, field.NewPath("parameters")))
		},
	})
}

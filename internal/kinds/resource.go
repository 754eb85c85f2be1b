package kinds

import (
	"context"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/devicespec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// resourceKinds are the kinds of resource.k8s.io/v1.
func resourceKinds() []*Kind {
	return []*Kind{
		object[resourcev1.DeviceClass, resourcev1.DeviceClassList](Kind{
			Group: resourcev1.GroupName, Version: "v1", Resource: "deviceclasses", Kind: "DeviceClass", Singular: "deviceclass",
			NamedOnce: true,
			Strategy:  deviceClassStrategy(),
		}),
		object[resourcev1.DeviceTaintRule, resourcev1.DeviceTaintRuleList](Kind{
			Group: resourcev1.GroupName, Version: "v1", Resource: "devicetaintrules", Kind: "DeviceTaintRule", Singular: "devicetaintrule",
			Subresources: []string{"status"},
			Columns:      deviceTaintRuleColumns(),
			NamedOnce:    true,
			Strategy:     deviceTaintRuleStrategy(),
		}),
		object[resourcev1.ResourceClaim, resourcev1.ResourceClaimList](Kind{
			Group: resourcev1.GroupName, Version: "v1", Resource: "resourceclaims", Kind: "ResourceClaim", Singular: "resourceclaim",
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns: columns(
				text("State", "A summary of the current state (allocated, pending, reserved, etc.).", claimState),
				ageColumn(),
			),
			FieldNames: []string{claimedForField}, WatchField: claimedForField, Unselectable: true,
			Fields: fields(func(c *resourcev1.ResourceClaim) map[string]string {
				return map[string]string{claimedForField: string(ClaimedFor(c))}
			}),
			Strategy: resourceClaimStrategy(),
		}),
		object[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList](Kind{
			Group: resourcev1.GroupName, Version: "v1", Resource: "resourceclaimtemplates", Kind: "ResourceClaimTemplate", Singular: "resourceclaimtemplate",
			Namespaced: true,
			Strategy:   resourceClaimTemplateStrategy(),
		}),
		object[resourcev1.ResourceSlice, resourcev1.ResourceSliceList](Kind{
			Group: resourcev1.GroupName, Version: "v1", Resource: "resourceslices", Kind: "ResourceSlice", Singular: "resourceslice",
			Columns:      resourceSliceColumns(),
			FieldNames:   []string{resourcev1.ResourceSliceSelectorDriver, resourcev1.ResourceSliceSelectorNodeName, resourcev1.ResourceSliceSelectorPoolName},
			FieldRefusal: "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: %s",
			WatchField:   resourcev1.ResourceSliceSelectorNodeName,
			Fields: fields(func(s *resourcev1.ResourceSlice) map[string]string {
				return map[string]string{
					resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
					resourcev1.ResourceSliceSelectorNodeName: deref(s.Spec.NodeName),
					resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
				}
			}),
			NamedOnce: true,
			Strategy:  resourceSliceStrategy(),
		}),
	}
}

// claimedForField has what ClaimedFor returns.
const claimedForField = "claimedFor"

// ClaimedFor returns the uid of the pod for whose extended resources a claim says that
// it was made; "" is none. Anybody can write a claim that says so.
func ClaimedFor(c *resourcev1.ResourceClaim) types.UID {
	owner := metav1.GetControllerOfNoCopy(c)
	if c.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || owner == nil || owner.APIVersion != "v1" || owner.Kind != "Pod" {
		return ""
	}
	return owner.UID
}

func deviceClassStrategy() Strategy {
	return specOnly(
		func(c *resourcev1.DeviceClass) *resourcev1.DeviceClassSpec { return &c.Spec },
		rules[*resourcev1.DeviceClass]{
			validate: func(c *resourcev1.DeviceClass) field.ErrorList {
				return rule.Join(
					devicespec.ValidateSelectors(c.Spec.Selectors, specPath("selectors")),
					devicespec.ValidateClassConfiguration(c.Spec.Config, specPath("config")),
					validate.ExtendedResourceName(context.Background(), operation.Operation{}, specPath("extendedResourceName"), c.Spec.ExtendedResourceName, nil))
			},
		})
}

// resourceClaimStrategy: what a claim asks for is judged when it is made and
// stays as it is.
func resourceClaimStrategy() Strategy {
	return statusOnly(
		func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &c.Spec },
		func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &c.Status },
		rules[*resourcev1.ResourceClaim]{
			statusUpdate: func(c, old *resourcev1.ResourceClaim) {
				c.Annotations = old.Annotations
				devicespec.ForgetDevices(&c.Status, &old.Status)
			},
			defaults: func(c *resourcev1.ResourceClaim) {
				devicespec.DefaultClaim(&c.Spec)
				devicespec.DefaultStatus(&c.Status)
			},
			canonicalize: func(c *resourcev1.ResourceClaim) { noneIfEmpty(&c.Spec.Devices.Requests) },
			validateCreate: func(c *resourcev1.ResourceClaim) field.ErrorList {
				return devicespec.ValidateClaim(&c.Spec, specPath())
			},
			validateUpdate: func(c, old *resourcev1.ResourceClaim) field.ErrorList {
				return rule.Frozen(c.Spec, old.Spec, specPath())
			},
			validateStatus: func(c, old *resourcev1.ResourceClaim) field.ErrorList {
				return devicespec.ValidateStatus(c, old, field.NewPath("status"))
			},
		})
}

// claimState sums a claim up.
func claimState(c *resourcev1.ResourceClaim) string {
	var states []string
	if c.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
		states = append(states, "pending")
	case c.Status.Allocation != nil && len(c.Status.ReservedFor) > 0:
		states = append(states, "allocated", "reserved")
	case c.Status.Allocation != nil:
		states = append(states, "allocated")
	}
	return strings.Join(states, ",")
}

func resourceClaimTemplateStrategy() Strategy {
	return plain(rules[*resourcev1.ResourceClaimTemplate]{
		defaults:     func(t *resourcev1.ResourceClaimTemplate) { devicespec.DefaultClaim(&t.Spec.Spec) },
		canonicalize: func(t *resourcev1.ResourceClaimTemplate) { noneIfEmpty(&t.Spec.Spec.Devices.Requests) },
		validate: func(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return rule.Join(rule.TemplateMeta(&t.Spec.ObjectMeta, specPath("metadata")), devicespec.ValidateClaim(&t.Spec.Spec, specPath("spec")))
		},
		validateUpdate: func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
			return rule.Immutable(t.Spec, old.Spec, specPath())
		},
	})
}

func resourceSliceColumns() []Column {
	doc := resourcev1.ResourceSliceSpec{}.SwaggerDoc()
	return columns(
		text("Node", doc["nodeName"], func(s *resourcev1.ResourceSlice) string { return deref(s.Spec.NodeName) }),
		text("Driver", doc["driver"], func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver }),
		text("Pool", resourcev1.ResourcePool{}.SwaggerDoc()["name"], func(s *resourcev1.ResourceSlice) string { return s.Spec.Pool.Name }),
		ageColumn(),
	)
}

func resourceSliceStrategy() Strategy {
	return specOnly(
		func(s *resourcev1.ResourceSlice) *resourcev1.ResourceSliceSpec { return &s.Spec },
		rules[*resourcev1.ResourceSlice]{
			defaults: func(s *resourcev1.ResourceSlice) { devicespec.DefaultSlice(&s.Spec) },
			validate: func(s *resourcev1.ResourceSlice) field.ErrorList {
				return devicespec.ValidateSlice(&s.Spec, specPath())
			},
			validateUpdate: func(s, old *resourcev1.ResourceSlice) field.ErrorList {
				return devicespec.ValidateSliceUpdate(&s.Spec, &old.Spec, specPath())
			},
			warnings: func(s *resourcev1.ResourceSlice) []string {
				if s.Spec.Driver == strings.ToLower(s.Spec.Driver) {
					return nil
				}
				return []string{`spec.driver: driver names should be lowercase; "` + s.Spec.Driver + `" contains uppercase characters`}
			},
		})
}

func deviceTaintRuleColumns() []Column {
	doc := resourcev1.DeviceTaint{}.SwaggerDoc()
	return columns(
		text("Key", doc["key"], func(r *resourcev1.DeviceTaintRule) string { return r.Spec.Taint.Key }),
		text("Value", doc["value"], func(r *resourcev1.DeviceTaintRule) string { return r.Spec.Taint.Value }),
		text("Effect", doc["effect"], func(r *resourcev1.DeviceTaintRule) string { return string(r.Spec.Taint.Effect) }),
		text("TimeAdded", doc["timeAdded"], func(r *resourcev1.DeviceTaintRule) string {
			if r.Spec.Taint.TimeAdded == nil {
				return ""
			}
			return Since(*r.Spec.Taint.TimeAdded)
		}),
		ageColumn(),
	)
}

func deviceTaintRuleStrategy() Strategy {
	return specStatus(
		func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleSpec { return &r.Spec },
		func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleStatus { return &r.Status },
		rules[*resourcev1.DeviceTaintRule]{
			// The time is that of the effect, from which tolerations count.
			update: func(r, old *resourcev1.DeviceTaintRule) {
				taint, was := &r.Spec.Taint, &old.Spec.Taint
				if taint.Effect != was.Effect && taint.TimeAdded.Equal(was.TimeAdded) {
					taint.TimeAdded = devicespec.Now()
				}
			},
			defaults: func(r *resourcev1.DeviceTaintRule) { devicespec.DefaultTaint(&r.Spec.Taint) },
			validate: func(r *resourcev1.DeviceTaintRule) field.ErrorList {
				return rule.Join(devicespec.ValidateTaintSelector(r.Spec.DeviceSelector, specPath("deviceSelector")),
					devicespec.ValidateTaint(&r.Spec.Taint, specPath("taint")))
			},
			validateStatus: func(r, _ *resourcev1.DeviceTaintRule) field.ErrorList {
				at := field.NewPath("status", "conditions")
				return rule.Join(metavalidation.ValidateConditions(r.Status.Conditions, at),
					rule.AtMost(len(r.Status.Conditions), resourcev1.DeviceTaintRuleStatusMaxConditions, at))
			},
		})
}

package devicespec

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// shared names one share of a device, or all of a device that has no shares.
type shared struct {
	driver, pool, device string
	share                types.UID
}

// String is the name as it is shown to users.
func (s shared) String() string {
	name := s.driver + "/" + s.pool + "/" + s.device
	if s.share != "" {
		name += "/" + string(s.share)
	}
	return name
}

func sharedOf(d *resourcev1.AllocatedDeviceStatus) shared {
	id := shared{driver: d.Driver, pool: d.Pool, device: d.Device}
	if d.ShareID != nil {
		id.share = types.UID(*d.ShareID)
	}
	return id
}

// allocated returns the devices of an allocation, nil being none.
func allocated(a *resourcev1.AllocationResult) rule.Seen[shared] {
	out := rule.Seen[shared]{}
	if a == nil {
		return out
	}
	for i := range a.Devices.Results {
		r := &a.Devices.Results[i]
		id := shared{driver: r.Driver, pool: r.Pool, device: r.Device}
		if r.ShareID != nil {
			id.share = *r.ShareID
		}
		out[id] = struct{}{}
	}
	return out
}

// DefaultStatus fills what an allocation leaves out.
func DefaultStatus(s *resourcev1.ResourceClaimStatus) {
	if s.Allocation == nil {
		return
	}
	for i := range s.Allocation.Devices.Results {
		defaultTolerations(s.Allocation.Devices.Results[i].Tolerations)
	}
}

// ForgetDevices takes away from a claim's status what is said of devices that the
// claim no longer has: who frees a device need not know what its driver has written.
func ForgetDevices(s, old *resourcev1.ResourceClaimStatus) {
	before, now := allocated(old.Allocation), allocated(s.Allocation)
	s.Devices = slices.DeleteFunc(s.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
		id := sharedOf(&d)
		return before.Has(id) && !now.Has(id)
	})
	if len(s.Devices) == 0 {
		s.Devices = nil
	}
}

// ValidateStatus returns what is wrong with the status that a claim gets.
func ValidateStatus(claim, was *resourcev1.ResourceClaim, at *field.Path) field.ErrorList {
	s, old, requests := &claim.Status, &was.Status, requestNames(&claim.Spec)
	devices := allocated(s.Allocation)
	errs := rule.Join(
		set(s.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize, at.Child("reservedFor"),
			func(c *resourcev1.ResourceClaimConsumerReference) types.UID { return c.UID }, validateConsumer),
		set(s.Devices, len(s.Devices), at.Child("devices"), sharedOf, func(d *resourcev1.AllocatedDeviceStatus, at *field.Path) field.ErrorList {
			return validateDeviceStatus(d, devices, at)
		}),
		validateReserved(claim, was, at.Child("reservedFor")),
	)
	allocation := at.Child("allocation")
	switch {
	case s.Allocation == nil:
		return errs
	case old.Allocation != nil:
		return append(errs, rule.Kept(s.Allocation, old.Allocation, allocation)...)
	}
	return append(errs, requests.validateAllocation(s.Allocation, allocation)...)
}

// validateReserved: only what is allocated can be reserved, and no longer once
// the claim is being deleted.
func validateReserved(claim, was *resourcev1.ResourceClaim, at *field.Path) field.ErrorList {
	if len(claim.Status.ReservedFor) == 0 {
		return nil
	}
	if claim.Status.Allocation == nil {
		return field.ErrorList{field.Forbidden(at, "may not be specified when `allocated` is not set")}
	}
	added := slices.ContainsFunc(claim.Status.ReservedFor, func(c resourcev1.ResourceClaimConsumerReference) bool {
		return !slices.Contains(was.Status.ReservedFor, c)
	})
	if claim.DeletionTimestamp != nil && added {
		return field.ErrorList{field.Forbidden(at, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")}
	}
	return nil
}

func validateConsumer(c *resourcev1.ResourceClaimConsumerReference, at *field.Path) field.ErrorList {
	return rule.Needs(at, "resource", c.Resource, "name", c.Name, "uid", string(c.UID))
}

func (n names) validateAllocation(a *resourcev1.AllocationResult, at *field.Path) field.ErrorList {
	devices := at.Child("devices")
	errs := rule.Join(
		list(a.Devices.Results, resourcev1.AllocationResultsMaxSize, devices.Child("results"), n.validateResult),
		list(a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize, devices.Child("config"), // of the class and of the claim
			func(c *resourcev1.DeviceAllocationConfiguration, at *field.Path) field.ErrorList {
				return rule.Join(
					rule.OneOf(c.Source, at.Child("source"), resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass),
					n.validateReferences(c.Requests, at.Child("requests")),
					validateConfiguration(&c.DeviceConfiguration, at))
			}))
	if a.NodeSelector != nil {
		errs = append(errs, podspec.ValidateNodeSelector(a.NodeSelector, at.Child("nodeSelector"))...)
	}
	return errs
}

func (n names) validateResult(r *resourcev1.DeviceRequestAllocationResult, at *field.Path) field.ErrorList {
	return rule.Join(
		n.validateReference(r.Request, at.Child("request")),
		ValidateAnyDriver(r.Driver, at.Child("driver")),
		ValidatePool(r.Pool, at.Child("pool")),
		ValidateDevice(r.Device, at.Child("device")),
		bindingConditions(r.BindingConditions, r.BindingFailureConditions, at),
		rule.Each(r.Tolerations, at.Child("tolerations"), validateToleration),
		rule.Optional(r.ShareID, at.Child("shareID"), shareID[types.UID]))
}

func validateDeviceStatus(d *resourcev1.AllocatedDeviceStatus, has rule.Seen[shared], at *field.Path) field.ErrorList {
	conditions := at.Child("conditions")
	errs := rule.Join(
		ValidateDriver(d.Driver, at.Child("driver")),
		ValidatePool(d.Pool, at.Child("pool")),
		ValidateDevice(d.Device, at.Child("device")),
		rule.Optional(d.ShareID, at.Child("shareID"), shareID[string]),
		rule.AtMost(len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions, conditions),
		metavalidation.ValidateConditions(d.Conditions, conditions))
	if id := sharedOf(d); !has.Has(id) {
		errs = append(errs, field.Invalid(at, id.String(), "must be an allocated device in the claim"))
	}
	if d.Data != nil && len(d.Data.Raw) > 0 {
		errs = append(errs, jsonObject(d.Data.Raw, resourcev1.AllocatedDeviceStatusDataMaxLength, at.Child("data"))...)
	}
	if d.NetworkData != nil {
		errs = append(errs, validateNetwork(d.NetworkData, at.Child("networkData"))...)
	}
	return errs
}

func validateNetwork(n *resourcev1.NetworkDeviceData, at *field.Path) field.ErrorList {
	return rule.Join(
		tooLong(len(n.InterfaceName), resourcev1.NetworkDeviceDataInterfaceNameMaxLength, at.Child("interfaceName")),
		tooLong(len(n.HardwareAddress), resourcev1.NetworkDeviceDataHardwareAddressMaxLength, at.Child("hardwareAddress")),
		unique(n.IPs, resourcev1.NetworkDeviceDataMaxIPs, at.Child("ips"), func(ip string, at *field.Path) field.ErrorList {
			return validation.IsValidInterfaceAddress(at, ip)
		}))
}

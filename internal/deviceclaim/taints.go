package deviceclaim

import resourcev1 "k8s.io/api/resource/v1"

// Tolerates says whether a toleration is for a taint.
func Tolerates(t resourcev1.DeviceToleration, taint resourcev1.DeviceTaint) bool {
	switch {
	case t.Effect != "" && t.Effect != taint.Effect, t.Key != "" && t.Key != taint.Key:
		return false
	case t.Operator == resourcev1.DeviceTolerationOpExists:
		return true
	}
	return t.Value == taint.Value
}

// Taints says whether a rule taints a device. One that selects nothing taints
// none.
func Taints(rule *resourcev1.DeviceTaintRule, driver, pool, device string) bool {
	s := rule.Spec.DeviceSelector
	return s != nil && is(s.Driver, driver) && is(s.Pool, pool) && is(s.Device, device)
}

// is says whether a value is what is asked for; nil asks for nothing.
func is(want *string, value string) bool { return want == nil || *want == value }

package volumespec

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	longestPortal = 64
	portalTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
)

// target is what both sorts of iSCSI volumes name.
type target struct {
	portal, name string
	lun          int32
	initiator    *string
	chap, secret bool
}

func iscsi(t target, at *field.Path) field.ErrorList {
	errs := rule.Needs(at, "targetPortal", t.portal)
	if t.name == "" {
		errs = append(errs, rule.Needs(at, "iqn", "")...)
	} else {
		errs = append(errs, scsiName(t.name, at.Child("iqn"))...)
	}
	errs = append(errs, rule.Between(t.lun, 0, 255, at.Child("lun"))...)
	if t.chap && !t.secret {
		errs = append(errs, field.Required(at.Child("secretRef"), ""))
	}
	return append(errs, rule.Optional(t.initiator, at.Child("initiatorname"), scsiName)...)
}

func persistentISCSI(s *corev1.ISCSIPersistentVolumeSource, volume string, at *field.Path) field.ErrorList {
	errs := iscsi(target{s.TargetPortal, s.IQN, s.Lun, s.InitiatorName, s.DiscoveryCHAPAuth || s.SessionCHAPAuth, s.SecretRef != nil}, at)
	if s.InitiatorName != nil && len(volume+":"+s.TargetPortal) > longestPortal {
		errs = append(errs, field.Invalid(at.Child("targetportal"), s.TargetPortal, portalTooLong))
	}
	if s.SecretRef != nil {
		errs = append(errs, rule.Needs(at.Child("secretRef"), "name", s.SecretRef.Name)...)
	}
	return errs
}

// ValidatePortalLength returns what is wrong with the name of a pod's iSCSI
// volume: the initiator is told name and portal in one, and has room for so
// much only.
func ValidatePortalLength(volume string, s *corev1.ISCSIVolumeSource, at *field.Path) field.ErrorList {
	if s == nil || s.InitiatorName == nil || len(volume+":"+s.TargetPortal) <= longestPortal {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("name"), volume, portalTooLong)}
}

// scsiName says that a string must be one of the three forms of iSCSI names.
func scsiName(name string, at *field.Path) field.ErrorList {
	forms := map[string]string{
		"iqn": `iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`,
		"eui": `^eui.[[:alnum:]]{16}$`,
		"naa": `^naa.[[:alnum:]]{32}$`,
	}
	form, ok := forms[name[:min(3, len(name))]]
	switch {
	case !ok:
		return field.ErrorList{field.Invalid(at, name, "must be valid format starting with iqn, eui, or naa")}
	case !regexp.MustCompile(form).MatchString(name):
		return field.ErrorList{field.Invalid(at, name, "must be valid format")}
	}
	return nil
}

func fibreChannel(s *corev1.FCVolumeSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0:
		errs = append(errs, field.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
	case len(s.TargetWWNs) > 0 && len(s.WWIDs) > 0:
		errs = append(errs, field.Invalid(at.Child("targetWWNs"), s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
	}
	switch {
	case len(s.TargetWWNs) == 0:
	case s.Lun == nil:
		errs = append(errs, field.Required(at.Child("lun"), "lun is required if targetWWNs is specified"))
	default:
		errs = append(errs, rule.Between(*s.Lun, 0, 255, at.Child("lun"))...)
	}
	return errs
}

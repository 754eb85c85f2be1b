package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
)

// allVolumes checks the volumes that containers may mount, and remembers those
// that are sound.
func (c *podCheck) allVolumes(at *field.Path) field.ErrorList {
	c.volumes = make(map[string]corev1.VolumeSource, len(c.spec.Volumes))
	made := c.claimsMade()
	return rule.Each(c.spec.Volumes, at, func(v *corev1.Volume, at *field.Path) field.ErrorList {
		name := at.Child("name")
		errs := rule.Join(c.source(v, at), rule.Given(v.Name, name, validation.IsDNS1123Label))
		if _, taken := c.volumes[v.Name]; taken {
			errs = append(errs, field.Duplicate(name, v.Name))
		}
		if len(errs) == 0 {
			c.volumes[v.Name] = v.VolumeSource
		}
		if claim := v.PersistentVolumeClaim; claim != nil && made.Has(claim.ClaimName) {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeClaim", "claimName"), claim.ClaimName, "must not reference a PVC that gets created for an ephemeral volume"))
		}
		return errs
	})
}

// claimsMade are the claims that will be made for the pod's ephemeral volumes.
func (c *podCheck) claimsMade() rule.Seen[string] {
	made := rule.Seen[string]{}
	if c.pod == nil || c.pod.Name == "" {
		return made
	}
	for _, v := range c.spec.Volumes {
		if v.Ephemeral != nil {
			made[c.pod.Name+"-"+v.Name] = struct{}{}
		}
	}
	return made
}

func (c *podCheck) source(v *corev1.Volume, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.OneMember(rule.Members(&v.VolumeSource), at, volumespec.NoSource, volumespec.MoreSources, func(source string, in *field.Path) field.ErrorList {
			switch source {
			case "secret":
				return rule.Join(rule.Needs(in, "secretName", v.Secret.SecretName), validateFiles(v.Secret.DefaultMode, v.Secret.Items, in))
			case "configMap":
				return rule.Join(rule.Needs(in, "name", v.ConfigMap.Name), validateFiles(v.ConfigMap.DefaultMode, v.ConfigMap.Items, in))
			case "downwardAPI":
				return rule.Join(rule.Mode(v.DownwardAPI.DefaultMode, in.Child("defaultMode")), validateDownwardFiles(v.DownwardAPI.Items, in))
			case "projected":
				return validateProjected(v.Projected, in)
			case "ephemeral":
				return c.ephemeralVolume(v, at)
			case "image":
				return rule.Join(rule.Needs(in, "reference", v.Image.Reference), validatePullPolicy(v.Image.PullPolicy, in.Child("pullPolicy")))
			}
			return volumespec.ValidateSource(source, &v.VolumeSource, in)
		}),
		volumespec.ValidatePortalLength(v.Name, v.ISCSI, at),
	)
}

// ephemeralVolume: the claim that is made for it is named for the pod and the
// volume.
func (c *podCheck) ephemeralVolume(v *corev1.Volume, at *field.Path) field.ErrorList {
	template := at.Child("ephemeral", "volumeClaimTemplate")
	var errs field.ErrorList
	if v.Ephemeral.VolumeClaimTemplate == nil {
		errs = append(errs, field.Required(template, ""))
	} else {
		errs = volumespec.ValidateClaimTemplate(v.Ephemeral.VolumeClaimTemplate, template)
	}
	if c.pod == nil || c.pod.Name == "" || v.Name == "" {
		return errs
	}
	claim := c.pod.Name + "-" + v.Name
	for _, m := range validation.IsDNS1123Subdomain(claim) {
		errs = append(errs, field.Invalid(at.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, m)))
	}
	return errs
}

func validateFiles(mode *int32, items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	return rule.Join(rule.Mode(mode, at.Child("defaultMode")), rule.Each(items, at.Child("items"), validateItem))
}

func validateItem(item *corev1.KeyToPath, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Needs(at, "key", item.Key, "path", item.Path),
		rule.FilePath(item.Path, at.Child("path")),
		rule.Mode(item.Mode, at.Child("mode")),
	)
}

// validateDownwardFiles names the volume, not its item, as Kubernetes does.
func validateDownwardFiles(files []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range files {
		file := &files[i]
		errs = append(errs, rule.Needs(at, "path", file.Path)...)
		errs = append(errs, rule.FilePath(file.Path, at.Child("path"))...)
		switch {
		case file.FieldRef != nil:
			errs = append(errs, validateFieldRef(file.FieldRef, volumeFields(), at.Child("fieldRef"))...)
			if file.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case file.ResourceFieldRef != nil:
			errs = append(errs, validateResourceFieldRef(file.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, rule.Mode(file.Mode, at.Child("mode"))...)
	}
	return errs
}

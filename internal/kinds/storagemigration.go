package kinds

import (
	migrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// storageMigrationKinds are the kinds of storagemigration.k8s.io/v1 (KEP-4192).
func storageMigrationKinds() []*Kind {
	return []*Kind{
		object[migrationv1.StorageVersionMigration, migrationv1.StorageVersionMigrationList](Kind{
			Group: migrationv1.GroupName, Version: "v1", Resource: "storageversionmigrations", Kind: "StorageVersionMigration",
			Singular:     "storageversionmigration",
			Subresources: []string{"status"},
			Columns:      migrationColumns(),
			Strategy:     migrationStrategy(),
		}),
	}
}

func migrationColumns() []Column {
	return columns(
		text("Resource", migrationv1.StorageVersionMigrationSpec{}.SwaggerDoc()["resource"], func(m *migrationv1.StorageVersionMigration) string {
			return m.Spec.Resource.String()
		}),
		text("Status", "What has become of the migration.", func(m *migrationv1.StorageVersionMigration) string {
			status := "Unknown"
			for _, c := range m.Status.Conditions {
				switch known := migrationv1.MigrationConditionType(c.Type); known {
				case migrationv1.MigrationRunning, migrationv1.MigrationSucceeded, migrationv1.MigrationFailed:
					if c.Status == metav1.ConditionTrue {
						status = c.Type
					}
				}
			}
			return status
		}),
	)
}

func migrationStrategy() Strategy {
	return specStatus(
		func(m *migrationv1.StorageVersionMigration) *migrationv1.StorageVersionMigrationSpec { return &m.Spec },
		func(m *migrationv1.StorageVersionMigration) *migrationv1.StorageVersionMigrationStatus {
			return &m.Status
		},
		rules[*migrationv1.StorageVersionMigration]{
			validate: func(m *migrationv1.StorageVersionMigration) field.ErrorList {
				at, r := specPath("resource"), m.Spec.Resource
				return rule.Join(rule.Given(r.Resource, at.Child("resource"), validation.IsDNS1035Label),
					rule.FormIfSet(r.Group, at.Child("group"), validation.IsDNS1123Subdomain))
			},
			validateUpdate: func(m, old *migrationv1.StorageVersionMigration) field.ErrorList {
				return rule.Immutable(m.Spec, old.Spec, field.NewPath("spec"))
			},
			validateStatus: func(m, old *migrationv1.StorageVersionMigration) field.ErrorList {
				return validateMigrationStatus(&m.Status, &old.Status, field.NewPath("status"))
			},
		})
}

func validateMigrationStatus(s, old *migrationv1.StorageVersionMigrationStatus, at *field.Path) field.ErrorList {
	errs := metavalidation.ValidateConditions(s.Conditions, at.Child("conditions"))
	version, where := s.ResourceVersion, at.Child("resourceVersion")
	if version != "" {
		if _, err := resourceversion.CompareResourceVersion(version, version); err != nil {
			errs = append(errs, field.Invalid(where, version, err.Error()))
		}
	}
	if old.ResourceVersion != "" && version != old.ResourceVersion {
		errs = append(errs, field.Invalid(where, version, "field is immutable"))
	}
	is := func(s *migrationv1.StorageVersionMigrationStatus, t migrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(s.Conditions, string(t))
	}
	for _, t := range []migrationv1.MigrationConditionType{migrationv1.MigrationSucceeded, migrationv1.MigrationFailed} {
		if is(old, t) && !is(s, t) {
			errs = append(errs, field.Invalid(at.Child("conditions"), s.Conditions, string(t)+" condition cannot be set to false once it is true"))
		}
	}
	if is(s, migrationv1.MigrationSucceeded) && is(s, migrationv1.MigrationFailed) {
		errs = append(errs, field.Invalid(at.Child("conditions"), s.Conditions, "Both success and failed conditions cannot be true at the same time"))
	}
	return errs
}

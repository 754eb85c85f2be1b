package kinds

import (
	"crypto/tls"
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// frozen is what users are told of a ConfigMap or Secret that is immutable.
const frozen = "field is immutable when `immutable` is set"

func configMapColumns() []Column {
	return columns(
		figure("Data", corev1.ConfigMap{}.SwaggerDoc()["data"], func(c *corev1.ConfigMap) int64 { return int64(len(c.Data) + len(c.BinaryData)) }),
		ageColumn(),
	)
}

func configMapStrategy() Strategy {
	return plain(rules[*corev1.ConfigMap]{validate: validateConfigMap, validateUpdate: validateConfigMapUpdate})
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range c.Data {
		errs = append(errs, validDataKey(key, field.NewPath("data"))...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, validDataKey(key, field.NewPath("binaryData"))...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

func validDataKey(key string, path *field.Path) field.ErrorList {
	return rule.Invalids(path.Key(key), key, validation.IsConfigMapKey(key))
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	if !deref(old.Immutable) {
		return nil
	}
	var errs field.ErrorList
	if !deref(c.Immutable) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
	}
	if !maps.Equal(c.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
	}
	if !equality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), frozen))
	}
	return errs
}

func secretColumns() []Column {
	doc := corev1.Secret{}.SwaggerDoc()
	return columns(
		text("Type", doc["type"], func(s *corev1.Secret) string { return string(s.Type) }),
		figure("Data", doc["data"], func(s *corev1.Secret) int64 { return int64(len(s.Data)) }),
		ageColumn(),
	)
}

func secretFields(s *corev1.Secret) map[string]string {
	return map[string]string{"type": string(s.Type)}
}

func secretStrategy() Strategy {
	return plain(rules[*corev1.Secret]{
		defaults:       defaultSecret,
		warnings:       keysThatDoNotMatch,
		validate:       validateSecret,
		validateUpdate: validateSecretUpdate,
	})
}

// keysThatDoNotMatch says what keeps a certificate and a key from being used
// together. A Secret may be filled in later, so it is stored nevertheless.
func keysThatDoNotMatch(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// defaultSecret moves what was written as text to where secrets are read.
func defaultSecret(s *corev1.Secret) {
	setDefault(&s.Type, corev1.SecretTypeOpaque)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	path := field.NewPath("data")
	var errs field.ErrorList
	size := 0
	for key, value := range s.Data {
		errs = append(errs, validDataKey(key, path)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(path, "", corev1.MaxSecretSize))
	}
	need := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(path.Key(key), ""))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		errs = append(errs, validateJSON(s, corev1.DockerConfigKey)...)
	case corev1.SecretTypeDockerConfigJson:
		errs = append(errs, validateJSON(s, corev1.DockerConfigJsonKey)...)
	case corev1.SecretTypeBasicAuth:
		if _, ok := s.Data[corev1.BasicAuthPasswordKey]; !ok {
			if _, ok := s.Data[corev1.BasicAuthUsernameKey]; !ok {
				need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
			}
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(path.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return errs
}

func validateJSON(s *corev1.Secret, key string) field.ErrorList {
	path := field.NewPath("data").Key(key)
	value, ok := s.Data[key]
	if !ok {
		return field.ErrorList{field.Required(path, "")}
	}
	if err := json.Unmarshal(value, &map[string]any{}); err != nil {
		return field.ErrorList{field.Invalid(path, "<secret contents redacted>", err.Error())}
	}
	return nil
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	errs := rule.Immutable(s.Type, old.Type, field.NewPath("type"))
	if !deref(old.Immutable) {
		return errs
	}
	if !deref(s.Immutable) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
	}
	if !equality.Semantic.DeepEqual(s.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
	}
	return errs
}

package kinds

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	// dayInSeconds is how long a pod's certificate lives whose request does not say.
	dayInSeconds = 24 * 60 * 60
	// largestPodRequest is in bytes of DER.
	largestPodRequest = 10 << 10
	// longestUID is in characters.
	longestUID = 128
)

func podCertificateRequestKind() *Kind {
	return object[certificatesv1.PodCertificateRequest, certificatesv1.PodCertificateRequestList](Kind{
		Group: certificatesv1.GroupName, Version: "v1", Resource: "podcertificaterequests", Kind: "PodCertificateRequest", Singular: "podcertificaterequest",
		Namespaced:   true,
		Subresources: []string{"status"},
		Columns:      podCertificateColumns(),
		FieldNames:   []string{"spec.nodeName", "spec.podName", "spec.signerName"},
		WatchField:   "spec.nodeName",
		Fields: fields(func(r *certificatesv1.PodCertificateRequest) map[string]string {
			return map[string]string{"spec.nodeName": string(r.Spec.NodeName), "spec.podName": r.Spec.PodName, "spec.signerName": r.Spec.SignerName}
		}),
		NamedOnce: true,
		Strategy:  podCertificateStrategy(),
	})
}

func podCertificateColumns() []Column {
	doc := certificatesv1.PodCertificateRequestSpec{}.SwaggerDoc()
	type request = certificatesv1.PodCertificateRequest
	return columns(
		text("PodName", doc["podName"], func(r *request) string { return r.Spec.PodName }),
		text("ServiceAccountName", doc["serviceAccountName"], func(r *request) string { return r.Spec.ServiceAccountName }),
		text("NodeName", doc["nodeName"], func(r *request) string { return string(r.Spec.NodeName) }),
		text("SignerName", doc["signerName"], func(r *request) string { return r.Spec.SignerName }),
		text("State", "Is the request Pending, Issued, Denied, or Failed?", podCertificateState),
		wide(text("UnverifiedUserAnnotations", doc["unverifiedUserAnnotations"], func(r *request) string {
			return formatLabels(r.Spec.UnverifiedUserAnnotations)
		})),
	)
}

func podCertificateState(r *certificatesv1.PodCertificateRequest) string {
	if answer := podCertificateAnswer(r); answer != "" {
		return answer
	}
	return "Pending"
}

// podCertificateStrategy: what was asked for never changes, and is answered once.
func podCertificateStrategy() Strategy {
	return statusOnly(
		func(r *certificatesv1.PodCertificateRequest) *certificatesv1.PodCertificateRequestSpec {
			return &r.Spec
		},
		func(r *certificatesv1.PodCertificateRequest) *certificatesv1.PodCertificateRequestStatus {
			return &r.Status
		},
		rules[*certificatesv1.PodCertificateRequest]{
			statusUpdate: func(r, old *certificatesv1.PodCertificateRequest) { r.Annotations = old.Annotations },
			defaults: func(r *certificatesv1.PodCertificateRequest) {
				setPointer(&r.Spec.MaxExpirationSeconds, dayInSeconds)
			},
			validateCreate: validatePodCertificateRequest,
			validateUpdate: func(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
				return rule.Immutable(r.Spec, old.Spec, specPath())
			},
			validateStatus: validatePodCertificateAnswer,
		})
}

func validatePodCertificateRequest(r *certificatesv1.PodCertificateRequest) field.ErrorList {
	spec := &r.Spec
	form := func(name string, check validation.ValidateNameFunc, at *field.Path) field.ErrorList {
		return rule.Invalids(at, name, check(name, false))
	}
	return rule.Join(
		rule.Signer(spec.SignerName, specPath("signerName")),
		rule.SignerAnnotations(spec.UnverifiedUserAnnotations, specPath("unverifiedUserAnnotations")),
		form(spec.PodName, validation.NameIsDNSSubdomain, specPath("podName")),
		uidOf(spec.PodUID, specPath("podUID")),
		form(spec.ServiceAccountName, validation.ValidateServiceAccountName, specPath("serviceAccountName")),
		uidOf(spec.ServiceAccountUID, specPath("serviceAccountUID")),
		form(string(spec.NodeName), validation.NameIsDNSSubdomain, specPath("nodeName")),
		uidOf(spec.NodeUID, specPath("nodeUID")),
		rule.Optional(spec.MaxExpirationSeconds, specPath("maxExpirationSeconds"), func(seconds int32, at *field.Path) field.ErrorList {
			shortest, longest := rule.PodCertificateSeconds(spec.SignerName)
			if shortest <= seconds && seconds <= longest {
				return nil
			}
			return field.ErrorList{field.Invalid(at, seconds, fmt.Sprintf("must be in the range [%d, %d]", shortest, longest))}
		}),
		validateProof(spec.StubPKCS10Request, specPath("stubPKCS10Request")),
	)
}

func uidOf(uid types.UID, at *field.Path) field.ErrorList {
	switch {
	case uid == "":
		return field.ErrorList{field.Invalid(at, uid, "must not be empty")}
	case len(uid) > longestUID:
		return field.ErrorList{field.TooLong(at, "", longestUID)}
	}
	return nil
}

// validateProof: who asks has the key, since he has signed the request with it.
// What else the request says is for its signer to judge.
func validateProof(der []byte, at *field.Path) field.ErrorList {
	switch {
	case len(der) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(der) > largestPodRequest:
		return field.ErrorList{field.TooLong(at, "", largestPodRequest)}
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "must be a valid PKCS#10 CSR")}
	}
	if errs := validateKey(request.PublicKey, at); len(errs) > 0 {
		return errs
	}
	if request.CheckSignature() != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "invalid signature")}
	}
	return nil
}

// validateKey says that a key must be of one of the types that pods can have.
func validateKey(key any, at *field.Path) field.ErrorList {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return nil
		}
		return field.ErrorList{field.Invalid(at, "curve "+key.Curve.Params().Name, "elliptic public keys must use curve P256, P384, or P521")}
	case *rsa.PublicKey:
		bits := key.Size() * 8
		if bits == 3072 || bits == 4096 {
			return nil
		}
		return field.ErrorList{field.Invalid(at, fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096")}
	}
	return field.ErrorList{field.Invalid(at, field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA")}
}

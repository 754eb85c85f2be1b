package kinds

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// largestTrustBundle is in bytes of PEM.
const largestTrustBundle = 1 << 20

// omitted stands in causes for certificates, which would fill the screen.
const omitted = "<value omitted>"

func trustBundleKind() *Kind {
	return object[certificatesv1.ClusterTrustBundle, certificatesv1.ClusterTrustBundleList](Kind{
		Group: certificatesv1.GroupName, Version: "v1", Resource: "clustertrustbundles", Kind: "ClusterTrustBundle", Singular: "clustertrustbundle",
		// The rule depends on the signer, so the strategy has it.
		NameRule: func(string, bool) []string { return nil },
		Columns: columns(text("SignerName", certificatesv1.ClusterTrustBundleSpec{}.SwaggerDoc()["signerName"],
			func(b *certificatesv1.ClusterTrustBundle) string { return orNone(b.Spec.SignerName) })),
		FieldNames: []string{"spec.signerName"},
		Fields: fields(func(b *certificatesv1.ClusterTrustBundle) map[string]string {
			return map[string]string{"spec.signerName": b.Spec.SignerName}
		}),
		Strategy: trustBundleStrategy(),
	})
}

// trustBundleStrategy: whose certificates a bundle holds does not change, and a
// bundle that is not written anew is not read anew either.
func trustBundleStrategy() Strategy {
	certificates := func(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
		return validateTrustBundle(b.Spec.TrustBundle, specPath("trustBundle"))
	}
	return plain(rules[*certificatesv1.ClusterTrustBundle]{
		validate: func(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
			return rule.Join(validateTrustBundleName(b), signerIfSet(b.Spec.SignerName, specPath("signerName")))
		},
		validateCreate: certificates,
		validateUpdate: func(b, old *certificatesv1.ClusterTrustBundle) field.ErrorList {
			errs := rule.Immutable(b.Spec.SignerName, old.Spec.SignerName, specPath("signerName"))
			if b.Spec.TrustBundle != old.Spec.TrustBundle {
				errs = append(errs, certificates(b)...)
			}
			return errs
		},
	})
}

func signerIfSet(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	return rule.Signer(name, at)
}

func validateTrustBundleName(b *certificatesv1.ClusterTrustBundle) field.ErrorList {
	at := field.NewPath("metadata")
	var errs field.ErrorList
	if b.GenerateName != "" {
		errs = rule.Invalids(at.Child("generateName"), b.GenerateName, rule.TrustBundleName(b.Spec.SignerName, b.GenerateName, true))
	}
	if b.Name != "" { // what is missing is told for all kinds
		errs = append(errs, rule.Invalids(at.Child("name"), b.Name, rule.TrustBundleName(b.Spec.SignerName, b.Name, false))...)
	}
	return errs
}

// validateTrustBundle: a bundle holds certificates of authorities, each once,
// and nothing that readers would understand differently.
func validateTrustBundle(bundle string, at *field.Path) field.ErrorList {
	if len(bundle) > largestTrustBundle {
		return field.ErrorList{field.TooLong(at, "", largestTrustBundle)}
	}
	var errs field.ErrorList
	var order []string
	entries := make(map[string][]int)
	i := 0
	for block, rest := pem.Decode([]byte(bundle)); block != nil; block, rest = pem.Decode(rest) {
		if problem := anchorProblem(block); problem != "" {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf("entry %d %s", i, problem)))
		}
		der := string(block.Bytes)
		if len(entries[der]) == 0 {
			order = append(order, der)
		}
		entries[der] = append(entries[der], i)
		i++
	}
	switch {
	case len(errs) > 0:
		return errs
	case i == 0:
		return field.ErrorList{field.Invalid(at, omitted, "at least one trust anchor must be provided")}
	}
	for _, der := range order {
		if twice := entries[der]; len(twice) > 1 {
			errs = append(errs, field.Invalid(at, omitted, fmt.Sprintf("duplicate trust anchor (indices %v)", twice)))
		}
	}
	return errs
}

// anchorProblem says why a block is not the certificate of an authority.
func anchorProblem(block *pem.Block) string {
	switch {
	case block.Type != pemCertificate:
		return "has bad block type: " + block.Type
	case len(block.Headers) > 0:
		return "has PEM block headers"
	}
	switch certificate, err := x509.ParseCertificate(block.Bytes); {
	case err != nil:
		return "does not parse as X.509"
	case !certificate.IsCA:
		return "does not have the CA bit set"
	case !certificate.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}

// pemCertificate is the type of the PEM blocks of certificates.
const pemCertificate = "CERTIFICATE"

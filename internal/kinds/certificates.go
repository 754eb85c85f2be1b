package kinds

import (
	certificatesv1 "k8s.io/api/certificates/v1"
)

// certificatesKinds are the kinds of certificates.k8s.io/v1.
func certificatesKinds() []*Kind {
	return []*Kind{
		object[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](Kind{
			Group: "certificates.k8s.io", Version: "v1", Resource: "certificatesigningrequests", Kind: "CertificateSigningRequest", Singular: "certificatesigningrequest",
			ShortNames:   []string{"csr"},
			Subresources: []string{"status", "approval"},
			NameRule:     PathSegment,
			Columns:      certificateRequestColumns(),
			Fields:       fields(certificateRequestFields),
			FieldNames:   []string{"spec.signerName"},
			Strategy:     certificateRequestStrategy(),
		}),
		trustBundleKind(),
		podCertificateRequestKind(),
	}
}

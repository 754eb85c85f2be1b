package kinds

import authenticationv1 "k8s.io/api/authentication/v1"

// authenticationKinds are the kinds of authentication.k8s.io/v1.
func authenticationKinds() []*Kind {
	return []*Kind{
		review[authenticationv1.SelfSubjectReview](Kind{
			Group: "authentication.k8s.io", Version: "v1", Resource: "selfsubjectreviews", Kind: "SelfSubjectReview", Singular: "selfsubjectreview",
		}),
		review[authenticationv1.TokenReview](Kind{
			Group: "authentication.k8s.io", Version: "v1", Resource: "tokenreviews", Kind: "TokenReview", Singular: "tokenreview",
		}),
	}
}

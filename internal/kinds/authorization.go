package kinds

import authorizationv1 "k8s.io/api/authorization/v1"

// authorizationKinds are the kinds of authorization.k8s.io/v1.
func authorizationKinds() []*Kind {
	return []*Kind{
		review[authorizationv1.LocalSubjectAccessReview](Kind{
			Group: "authorization.k8s.io", Version: "v1", Resource: "localsubjectaccessreviews", Kind: "LocalSubjectAccessReview", Singular: "localsubjectaccessreview",
			Namespaced: true,
		}),
		review[authorizationv1.SelfSubjectAccessReview](Kind{
			Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews", Kind: "SelfSubjectAccessReview", Singular: "selfsubjectaccessreview",
		}),
		review[authorizationv1.SelfSubjectRulesReview](Kind{
			Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectrulesreviews", Kind: "SelfSubjectRulesReview", Singular: "selfsubjectrulesreview",
		}),
		review[authorizationv1.SubjectAccessReview](Kind{
			Group: "authorization.k8s.io", Version: "v1", Resource: "subjectaccessreviews", Kind: "SubjectAccessReview", Singular: "subjectaccessreview",
		}),
	}
}
